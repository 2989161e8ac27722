# Block devices: images by `chitin run --block`, devices of the host by linux.devices of the bundle. BLOCK is a directory with
# the program tests/block.
. "$(dirname "$0")/../lib.sh"
[ "$RUNTIME" = chitin ] || exit 0
modprobe loop
run() { limited chitin run --mount "$BLOCK:/t:ro" "$@"; }
image() { rm -f "$SCRATCH/$1"; truncate -s "$2" "$SCRATCH/$1"; echo "$SCRATCH/$1"; }
losetup -f >/dev/null
container -- true
# losetup and mkfs keep their notes there.
mkdir -p /run/mount
world >"$SCRATCH/before"

# Images.
DISK=$(image disk 8M)
head -c 3145728 /dev/urandom >"$SCRATCH/data"
copied() { run --block "$DISK" --mount "$SCRATCH:/s:ro" "$ROOTFS" -- dd if=/s/data of=/dev/vda bs=64k conv=fsync 2>/dev/null; }
expect "a pattern is written and synced" 0 "" copied
expect "the host reads it back" 0 "" cmp -n 3145728 "$SCRATCH/data" "$DISK"
expect "it is read inside" 0 "$(md5sum <"$SCRATCH/data")" \
    run --block "$DISK:ro" "$ROOTFS" -- sh -c 'dd if=/dev/vda bs=1M count=3 2>/dev/null | md5sum'
direct() {
    local loop
    loop=$(losetup -f --show "$DISK")
    run --block "$loop:direct" "$ROOTFS" -- sh -c 'dd if=/dev/vda bs=1M count=3 iflag=direct 2>/dev/null | md5sum'
    losetup -d "$loop"
}
expect "direct on both sides" 0 "$(md5sum <"$SCRATCH/data")" direct
expect "what nobody synced is there after the end" 0 "" \
    run --block "$DISK" "$ROOTFS" -- sh -c 'printf unsynced >/dev/vda'
expect "the host sees that too" 0 unsynced head -c 8 "$DISK"
expect "names, numbers and sizes" 0 "fe:0 16384 1 254:0 disk
 254        0       8192 vda
 254       16       1024 vdb" run --block "$DISK" --block "$(image other 1M):ro" "$ROOTFS" -- sh -c '
    echo $(stat -c %t:%T /dev/vda) $(cat /sys/block/vda/size /sys/class/block/vdb/ro /sys/dev/block/254:0/dev /sys/block/vda/serial)
    tail -n +3 /proc/partitions'
dd_error() { run --block "$DISK:ro" "$ROOTFS" -- sh -c 'dd if=/dev/zero of=/dev/vda count=1 conv=notrunc,fsync 2>&1; cat /sys/block/vda/ro'; }
expect_match "a read-only image is not to be written" 0 'not permitted' dd_error
expect "and stays as it was" 0 unsynced head -c 8 "$DISK"

# Errors.
expect_error "no such image" 'block device /no/such/image: No such file' run --block /no/such/image "$ROOTFS" -- true
expect_error "an empty image" 'it is empty' run --block "$(image empty 0)" "$ROOTFS" -- true
expect_error "a directory" 'directory' run --block /tmp "$ROOTFS" -- true
expect_error "a character device" 'neither a block device nor' run --block /dev/null "$ROOTFS" -- true
expect_error "too many" 'at most 8' run $(for n in 1 2 3 4 5 6 7 8 9; do echo "--block $DISK:ro"; done) "$ROOTFS" -- true
in_use() { flock "$DISK" timeout 20 chitin run --block "$DISK" "$ROOTFS" -- true; }
expect_error "an image that another writes" 'in use' in_use
expect_match "another container's device cannot be opened" 0 'such device|No such' \
    run "$ROOTFS" -- sh -c 'mknod /b b 254 0; cat /b 2>&1; true'
mkdir "$SCRATCH/small"
mount -t tmpfs -o size=1M none "$SCRATCH/small"
truncate -s 4M "$SCRATCH/small/disk"
expect_match "a full disk of the host is ENOSPC at fsync" 0 'No space left' \
    run --block "$SCRATCH/small/disk" "$ROOTFS" -- sh -c 'dd if=/dev/zero of=/dev/vda bs=64k count=48 conv=fsync 2>&1; true'
umount "$SCRATCH/small"

# Killed while it writes: what was synced is there.
LOG=$(image log 64M)
run --block "$LOG" "$ROOTFS" -- /t/block /dev/vda log >"$SCRATCH/numbers" 2>/dev/null &
JOB=$!
for _ in $(seq 100); do [ "$(wc -l <"$SCRATCH/numbers")" -ge 20 ] && break; sleep 0.2; done
kill -KILL $(pgrep -x chitin-vmm)
wait $JOB 2>/dev/null
survived() {
    python3 - "$SCRATCH/numbers" "$LOG" <<'END'
import struct, sys
numbers = [int(line) for line in open(sys.argv[1]).read().split("\n")[:-1]]
image = open(sys.argv[2], "rb").read()
good = [n for n in numbers if struct.unpack_from("<512Q", image, n * 4096) == tuple(range(n * 512, n * 512 + 512))]
print("all there" if len(numbers) >= 20 and good == numbers else f"{len(good)} of {len(numbers)}")
END
}
expect "VMM killed: everything that was synced is there" 0 "all there" survived

# Devices of the host.
LOOP=$(losetup -f --show "$(image loop 4M)")
NUMBERS=$(lsblk -dno MAJ:MIN "$LOOP" | tr -d ' ')
# device ACCESS CMD...: CMD in a container that has the device as /dev/xvda.
device() {
    local access=$1
    shift
    spec_run "
number = dict(major=${NUMBERS%:*}, minor=${NUMBERS#*:})
spec['linux']['devices'] = [dict(path='/dev/xvda', type='b', fileMode=0o640, uid=0, gid=6, **number)]
spec['linux'].setdefault('resources', {}).setdefault('devices', []).append(dict(allow=True, type='b', access='$access', **number))
spec['mounts'].append({'destination': '/t', 'type': 'bind', 'source': '$BLOCK', 'options': ['bind', 'ro']})" "$@"
}
expect "a raw block volume is written" 0 "640 0:6" \
    device rwm sh -c 'echo volume >/dev/xvda; sync; stat -c "%a %u:%g" /dev/xvda'
expect "the host reads the device" 0 volume head -c 6 "$LOOP"
expect_match "a volume that may only be read" 0 'volume.*(not permitted|denied)' \
    device rm sh -c 'head -c 6 /dev/xvda | tr -d "\n"; dd if=/dev/zero of=/dev/xvda count=1 2>&1 | tr "\n" " "; true'
expect "and stays as it was" 0 volume head -c 6 "$LOOP"
unknown() { NUMBERS=259:1000 device rwm true; }
expect_error "a device that the host does not have" 'the host has none' unknown

# The same as Linux says of the same device.
compare() {
    local label=$1
    shift
    "$BLOCK/block" "$LOOP" "$@" >"$SCRATCH/linux" 2>&1
    run --block "$LOOP" "$ROOTFS" -- /t/block /dev/vda "$@" >"$SCRATCH/got" 2>&1
    if diff "$SCRATCH/linux" "$SCRATCH/got" >"$SCRATCH/difference" && [ -s "$SCRATCH/got" ]; then
        ok "$label ($(wc -l <"$SCRATCH/got") lines)"
    else
        not_ok "$label"
        note 40 <"$SCRATCH/difference"
    fi
}
compare "calls on a device behave as on Linux"
blockdev --setro "$LOOP"
compare "calls on a read-only device behave as on Linux" read-only
losetup -d "$LOOP"
leftover() { losetup -a; }
expect "the device is free again" 0 "" leftover

# A file system of Linux's own.
FS=$(image fs 16M)
expect_match "mkfs inside" 0 '' run --block "$FS" / -- mke2fs -q -t ext4 /dev/vda
expect_match "fsck outside" 0 'clean|non-contiguous' e2fsck -fn "$FS"
# An image of EROFS.
if command -v mkfs.erofs >/dev/null; then
    mkdir "$SCRATCH/tree"
    cp -a "$ROOTFS/etc" "$SCRATCH/data" "$SCRATCH/tree"
    for n in $(seq 300); do echo $n >"$SCRATCH/tree/etc/file-$n"; done
    sums() { (cd "$1" && find . -type f -exec md5sum {} + | sort -k 2 | md5sum); }
    for kind in flat chunks; do
        rm -f "$SCRATCH/erofs"
        mkfs.erofs $([ $kind = flat ] || echo --chunksize=65536) "$SCRATCH/erofs" "$SCRATCH/tree" >/dev/null 2>&1
        expect "an EROFS image ($kind) is read as it was written" 0 "$(sums "$SCRATCH/tree")" \
            run --block "$SCRATCH/erofs:ro" "$ROOTFS" -- sh -c \
            'mkdir /m; mount -t erofs /dev/vda /m && cd /m && find . -type f -exec md5sum {} + | sort -k 2 | md5sum'
    done
    expect_match "what is no image is not mounted" 0 'Invalid argument' \
        run --block "$DISK:ro" "$ROOTFS" -- sh -c 'mkdir /m; mount -t erofs /dev/vda /m 2>&1; true'
else
    skip "EROFS images" "no mkfs.erofs here"
fi
leak_check "nothing left behind" "$SCRATCH/before"
