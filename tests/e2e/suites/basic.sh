# One container by ctr: output, exit status, stdin, signals, options.
. "$(dirname "$0")/../lib.sh"

expect "echo and exit 7" 7 a container -- sh -c 'echo a; exit 7'
expect "exit 0" 0 "" container -- true
expect "exit 255" 255 "" container -- sh -c 'exit 255'
expect "pipeline" 0 "3" container -- sh -c 'printf "a\nb\nc\n" | sort | wc -l'
expect "argument with spaces and quotes" 0 'a "b"  c' container -- echo 'a "b"  c'
expect "stderr is apart from stdout" 0 out container -- sh -c 'echo out; echo err >&2'
expect_match "stderr arrives" 0 '^err$' container -- sh -c 'echo err >&2'

# ctr 1.6 loses an end of input that comes before the task is created, with every runtime; so the writers linger.
stdin_through_cat() { { echo "through cat"; sleep 10; } | container -- cat; }
expect "stdin through cat" 0 "through cat" stdin_through_cat
empty_stdin() { sleep 10 | container -- cat; }
expect "empty stdin" 0 "" empty_stdin
line_by_line() { { echo one; sleep 2; echo two; } | container -- sh -c 'read a; echo "$a"; read b; echo "$b"'; }
expect "stdin line by line" 0 $'one\ntwo' line_by_line

head -c 1048576 /dev/urandom >"$SCRATCH/data"
want=$(md5sum <"$SCRATCH/data")
megabyte_through() { container -- cat <"$SCRATCH/data" | md5sum; }
expect "1 MiB in and out intact" 0 "$want" megabyte_through
megabyte_in() { container -- md5sum <"$SCRATCH/data"; }
expect "1 MiB in intact" 0 "$want" megabyte_in
megabyte_pipe() { container -- sh -c 'dd if=/dev/zero bs=1024 count=1024 2>/dev/null | cat | md5sum'; }
expect "1 MiB through a pipe inside" 0 "$(head -c 1048576 /dev/zero | md5sum)" megabyte_pipe
much_output() { container -- sh -c 'yes chitin | head -n 500000' | md5sum; }
expect "much output" 0 "$(yes chitin | head -n 500000 | md5sum)" much_output

EATER='a=xxxxxxxx; while :; do a=$a$a; done'
memory_limit() {
    ctr events >"$SCRATCH/events" &
    local events=$! rc=0
    container --memory-limit 67108864 -- sh -c "$EATER" || rc=$?
    for _ in $(seq 25); do grep -q /tasks/oom "$SCRATCH/events" && break; sleep 0.2; done
    kill $events
    echo "$rc $(grep -c /tasks/oom "$SCRATCH/events")"
}
expect "memory limit: 137, and an event that says why" 0 "137 1" memory_limit

killed() {
    local id rc=0
    id=$(fresh_id)
    limited ctr run --rm --runtime "io.containerd.$RUNTIME.v2" "$IMAGE" "$id" sh -c 'echo ready; exec sleep 1000' >"$SCRATCH/ready" &
    for _ in $(seq 100); do grep -q ready "$SCRATCH/ready" && break; sleep 0.2; done
    limited ctr task kill -s "$1" "$id" || echo "kill failed"
    wait $! || rc=$?
    echo "$rc"
}
expect "killed by SIGKILL reports 137" 0 137 killed SIGKILL
trapped() { killed_with_trap; }
killed_with_trap() {
    local id rc=0
    id=$(fresh_id)
    limited ctr run --rm --runtime "io.containerd.$RUNTIME.v2" "$IMAGE" "$id" \
        sh -c 'trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done' >"$SCRATCH/ready" &
    for _ in $(seq 100); do grep -q ready "$SCRATCH/ready" && break; sleep 0.2; done
    limited ctr task kill -s SIGTERM "$id" || echo "kill failed"
    wait $! || rc=$?
    echo "$rc"
}
expect "SIGTERM reaches a handler" 0 9 trapped

expect "environment" 0 "1 two words" container --env A=1 --env "B=two words" -- sh -c 'echo $A $B'
expect "working directory" 0 /etc container --cwd /etc -- pwd
expect "read-only root" 1 "" container --read-only -- sh -c 'echo x >/file'
expect "pid 1" 0 1 container -- sh -c 'echo $$'
expect "root is writable" 0 x container -- sh -c 'echo x >/etc/file; cat /etc/file'
expect "writes do not reach the image" 1 "" container -- cat /etc/file
mkdir "$SCRATCH/volume"
echo given >"$SCRATCH/volume/in"
expect "bind mount, read-only" 0 given container --mount "type=bind,src=$SCRATCH/volume,dst=/v,options=rbind:ro" -- \
    sh -c 'cat /v/in; echo x >/v/out 2>/dev/null'$'\n''exit 0'
expect "read-only bind mount was not written" 2 "" ls "$SCRATCH/volume/out"
expect "bind mount, read-write" 0 "" container --mount "type=bind,src=$SCRATCH/volume,dst=/v,options=rbind:rw" -- \
    sh -c 'echo back >/v/out'
expect "read-write bind mount was written" 0 back cat "$SCRATCH/volume/out"
expect "tmpfs mount" 0 x container --mount type=tmpfs,src=tmpfs,dst=/t,options=size=1m -- sh -c 'echo x >/t/f; cat /t/f'
expect_error "command not found" 'no such file|not found' container -- /no/such/command
expect_error "command not executable" 'permission denied|exec format' container -- /etc/passwd

if [ "$RUNTIME" = chitin ]; then
    expect_match "uname names Chitin" 0 '^Linux .*[Cc]hitin' container -- uname -a
    expect_match "dmesg names Chitin" 0 '[Cc]hitin' container -- dmesg
fi

expect "user and groups" 0 "1000 100 100 5 7" spec_run \
    'spec["process"]["user"] = {"uid": 1000, "gid": 100, "additionalGids": [5, 7]}' sh -c 'echo $(id -u) $(id -g) $(id -G)'
expect "host name" 0 shell spec_run 'spec["hostname"] = "shell"' hostname
expect "umask" 0 0077 spec_run 'spec["process"]["user"]["umask"] = 0o77' sh -c umask
expect "resource limits" 0 33 spec_run \
    'spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 33, "hard": 44}]' sh -c 'ulimit -n'
seccomp() { # DEFAULT RULES: a profile.
    echo "spec['linux']['seccomp'] = {'defaultAction': 'SCMP_ACT_$1', 'architectures': ['SCMP_ARCH_X86_64'], 'syscalls': [$2]}"
}
refused="{'names': ['mkdir', 'mkdirat'], 'action': 'SCMP_ACT_ERRNO'}, {'names': ['sync', 'nonsense'], 'action': 'SCMP_ACT_ERRNO', 'errnoRet': 38}"
killed="{'names': ['kill'], 'action': 'SCMP_ACT_KILL_PROCESS', 'args': [{'index': 1, 'value': 12, 'op': 'SCMP_CMP_EQ'}]}"
expect "seccomp profile" 0 $'mkdir: Operation not permitted\n2\ncontinues\n159' spec_run "$(seccomp ALLOW "$refused, $killed")" sh -c \
    'mkdir /tmp/new 2>&1 | sed "s/can.t create.*: //"; sed -n "s/^Seccomp:\t//p" /proc/self/status; sh -c "kill -10 \$\$; echo no"; [ $? = 138 ] && echo continues; sh -c "kill -12 \$\$"; echo $?'
expect_error "seccomp action that nobody knows" 'SCMP_ACT_WINK|seccomp' spec_run "$(seccomp WINK '')" true
expect "default seccomp profile" 0 $'2\nworks' container --seccomp -- sh -c 'sed -n "s/^Seccomp:\t//p" /proc/self/status; (sleep 0; date >/dev/null; ls / >/dev/null) && echo works'
expect "effective capabilities" 0 0000000020000420 spec_run 'pass' sh -c "sed -n 's/^CapEff:\t//p' /proc/self/status"

lifecycle() {
    local id
    id=$(fresh_id)
    limited ctr run -d --runtime "io.containerd.$RUNTIME.v2" "$IMAGE" "$id" sh -c 'sleep 1000 & sleep 1000' || return
    ctr task ls | awk -v id="$id" '$1 == id { print $3, ($2 > 1 ? "pid" : "no pid") }'
    limited ctr task exec --exec-id one "$id" sh -c 'echo in exec; exit 4'
    echo "exec: $?"
    echo piped | limited ctr task exec --exec-id one "$id" cat
    limited ctr task ps "$id" | tail -n +2 | wc -l | awk '{ print ($1 >= 1 ? "ps" : "no ps") }'
    limited ctr task metrics "$id" >/dev/null && echo metrics
    limited ctr task kill -s SIGKILL "$id"
    sleep 1
    ctr task ls | awk -v id="$id" '$1 == id { print $3 }'
    limited ctr task delete "$id" >/dev/null 2>&1
    echo "delete: $?"
    limited ctr container delete "$id"
    ctr task ls -q | grep -c "$id"
}
expect "run detached, exec, kill, delete" 0 $'RUNNING pid\nin exec\nexec: 4\npiped\nps\nmetrics\nSTOPPED\ndelete: 0\n0' eval 'lifecycle; true'
debugged() {
    local id
    id=$(fresh_id)
    limited ctr run -d --runtime "io.containerd.$RUNTIME.v2" "$IMAGE" "$id" sh -c 'sleep 1000 & while :; do :; done' || return
    sleep 1
    limited chitin --namespace default debug "$id"
    limited ctr task kill -s SIGKILL "$id"
    sleep 1
    limited ctr container delete "$id"
}
if [ "$RUNTIME" = chitin ]; then
    expect_match "debug tells of a task that waits" 0 'S "sleep" .*: in (clock_)?nanosleep\(' debugged
    expect_match "debug tells of a task that runs" 0 'R "sh" .*: runs' debugged
fi
terminal() { limited script -qec "ctr run --rm -t --runtime io.containerd.$RUNTIME.v2 $IMAGE $(fresh_id) sh -c 'tty; stty size >/dev/null && echo sized'" /dev/null </dev/null | tr -d '\r'; }
case $(terminal 2>&1) in
    *"terminal are not supported yet"*) skip "terminal" "the runtime says that it has none yet" ;;
    *) expect_match "terminal" 0 '/dev/(pts/0|console)' terminal ;;
esac
