# The debian image: dynamic glibc programs, bash, coreutils, python3.
. "$(dirname "$0")/../lib.sh"
IMAGE=chitin.local/debian:latest
LIMIT=120

expect "bash" 0 "5 b" container -- bash -c 'a=(a b c); echo $((2 + 3)) ${a[1]}'
expect "bash features" 0 $'x-y\n3\nmatched' container -- bash -c 'declare -A m=([k]=x-y); echo ${m[k]}; mapfile -t l < <(seq 3); echo ${#l[@]}; [[ abc =~ ^a(.)c$ ]] && echo matched'
expect "coreutils" 0 $'3\n55' container -- bash -c 'printf "c\na\nb\n" | sort | nl | wc -l; seq 10 | paste -sd+ | tr -d "\n" | { read -r e; echo $((e)); }'
expect_match "ls -l" 0 '^-rw-r--r-- 1 root root .* /etc/passwd$' container -- ls -l /etc/passwd
expect_match "ps" 0 'ps -ef' container -- ps -ef
expect "python3" 0 $'45\nLinux' container -- python3 -c 'import platform; print(sum(range(10))); print(platform.system())'
expect "python3 subprocess and threads" 0 $'child\n10' container -- python3 -c '
import subprocess, threading
print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout.strip())
results = []
threads = [threading.Thread(target=results.append, args=(i,)) for i in range(10)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(results))'
expect "python3 files and hashes" 0 "$(head -c 100000 /dev/zero | sha256sum | cut -d' ' -f1)" container -- python3 -c '
import hashlib, tempfile
with tempfile.TemporaryFile() as f:
    f.write(bytes(100000)); f.seek(0)
    print(hashlib.sha256(f.read()).hexdigest())'
expect "python3 multiprocessing" 0 "[0, 1, 4, 9]" container -- python3 -c '
import os, time
r = []
for i in range(4):
    a, b = os.pipe()
    if os.fork() == 0:
        os.write(b, str(i * i).encode()); os._exit(0)
    r.append(int(os.read(a, 10)))
    os.wait()
print(r)'
mount="type=bind,src=$TESTS/dynamic,dst=/dynamic,options=rbind:ro"
for program in ${PROGRAMS:-process signal memory threads}; do
    compare_program "dynamic $program" --mount "$mount" -- "/dynamic/$program"
done
