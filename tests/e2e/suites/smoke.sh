# The whole chain in few containers: the suite that every change must pass.
. "$(dirname "$0")/../lib.sh"

expect "echo and exit 7" 7 a container -- sh -c 'echo a; exit 7'
head -c 1048576 /dev/urandom >"$SCRATCH/data"
through() { container -- cat <"$SCRATCH/data" | md5sum; }
expect "1 MiB in and out intact" 0 "$(md5sum <"$SCRATCH/data")" through
pipeline() { container -- sh -c 'dd if=/dev/zero bs=1024 count=1024 2>/dev/null | cat | md5sum'; }
expect "1 MiB through a pipe inside" 0 "$(head -c 1048576 /dev/zero | md5sum)" pipeline
expect "killed by SIGKILL reports 137" 137 "" container -- sh -c 'sh -c "kill -9 \$\$"; exit $?'
expect_match "uname and dmesg name Chitin" 0 'Chitin' container -- sh -c 'uname -v; dmesg | head -n 2'
expect "root is writable" 0 x container -- sh -c 'echo x >/etc/new; cat /etc/new'
if [ "$RUNTIME" = chitin ]; then
    expect "chitin run" 7 a limited chitin run "$ROOTFS" -- sh -c 'echo a; exit 7'
    expect_match "doctor finds a working KVM" 0 'kvm' limited chitin doctor
fi
