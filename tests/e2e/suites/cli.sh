# The chitin command without containerd. ROOTFS is an unpacked busybox image.
. "$(dirname "$0")/../lib.sh"
[ "$RUNTIME" = chitin ] || exit 0
chitin_run() { limited chitin run "$@"; }

world >"$SCRATCH/before"
expect_match "doctor finds a working KVM" 0 'kvm' limited chitin doctor
expect "echo and exit 7" 7 a chitin_run "$ROOTFS" -- sh -c 'echo a; exit 7'
from_stdin() { echo "line in" | chitin_run "$ROOTFS" -- cat; }
expect "stdin" 0 "line in" from_stdin
head -c 1048576 /dev/urandom >"$SCRATCH/data"
through() { chitin_run "$ROOTFS" -- cat <"$SCRATCH/data" | md5sum; }
expect "1 MiB in and out intact" 0 "$(md5sum <"$SCRATCH/data")" through
expect_match "stderr" 0 '^err$' chitin_run "$ROOTFS" -- sh -c 'echo err >&2'
with_environment() { CHITIN_TEST_VARIABLE="x y" chitin_run "$ROOTFS" -- sh -c 'echo "$CHITIN_TEST_VARIABLE"'; }
expect "environment passes through" 0 "x y" with_environment
in_directory() { (cd /etc && chitin_run "$ROOTFS" -- pwd); }
expect "working directory passes through" 0 /etc in_directory
expect "killed by a signal" 137 "" chitin_run "$ROOTFS" -- sh -c 'sh -c "kill -9 \$\$"; exit $?'
expect "writes stay in memory" 0 x chitin_run "$ROOTFS" -- sh -c 'echo x >/etc/chitin-new; cat /etc/chitin-new'
expect "root directory was not written" 2 "" ls "$ROOTFS/etc/chitin-new"
mkdir "$SCRATCH/mount"
echo given >"$SCRATCH/mount/f"
expect "mount" 0 given chitin_run --mount "$SCRATCH/mount:/m" "$ROOTFS" -- cat /m/f
cp -a "$ROOTFS" "$SCRATCH/own"
expect "writable root" 0 "" chitin_run --writable "$SCRATCH/own" -- sh -c 'echo x >/written'
expect "writable root was written" 0 x cat "$SCRATCH/own/written"
expect "this machine's own root" 0 "$(head -n 1 /etc/os-release)" chitin_run / -- head -n 1 /etc/os-release
expect_match "command not found" 127 'no/such/command' chitin_run "$ROOTFS" -- /no/such/command
expect_match "not executable" 126 'passwd' chitin_run "$ROOTFS" -- /etc/passwd
rm -rf "$SCRATCH/own"
EATER='a=xxxxxxxx; while :; do a=$a$a; done'
expect "who eats the memory is killed, not init" 0 137 chitin_run --mem 64 "$ROOTFS" -- sh -c "sh -c '$EATER'; echo \$?"
expect_match "init that eats the memory: the reason is told" 137 'out of memory' chitin_run --mem 64 "$ROOTFS" -- sh -c "$EATER"
leak_check "nothing left behind" "$SCRATCH/before"

vmm_killed() {
    chitin_run "$ROOTFS" -- sleep 1000 >/dev/null 2>"$SCRATCH/stderr" &
    local run=$! pid
    for _ in $(seq 50); do pid=$(pgrep -x chitin-vmm) && break; sleep 0.2; done
    sleep 1
    kill -KILL $pid
    wait $run
    [ $? != 0 ] && grep -qi 'vmm\|sandbox' "$SCRATCH/stderr" && echo told
}
expect "VMM killed: an error that says so" 0 told vmm_killed
run_killed() {
    chitin_run "$ROOTFS" -- sleep 1000 >/dev/null 2>&1 &
    local pid
    for _ in $(seq 50); do pgrep -x chitin-vmm >/dev/null && break; sleep 0.2; done
    sleep 1
    pkill -KILL -f '^[^ ]*chitin run'
    sleep 1
    pgrep -c chitin-vmm
    true
}
expect "chitin run killed: its VMM ends" 0 0 run_killed
