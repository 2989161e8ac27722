# The guest kernel's tests of itself, on one and on two CPUs: boots a kernel built with its feature `selftest`.
. "$(dirname "$0")/../lib.sh"

# The other end of the guest's network card.
ip tuntap add dev st0 mode tap vnet_hdr
ip link set st0 mtu 9000 up
ip address add 10.99.0.1/24 dev st0

# What its block devices are: the second one is not to be written.
selftest_disks() {
    head -c 1048576 /dev/zero >"$SCRATCH/disk"
    tr '\0' R </dev/zero | head -c 65536 >"$SCRATCH/read-only"
}

selftest() {
    local cpus=$1 rc=0
    selftest_disks
    timeout -k 5 120 chitin-vmm boot --cpus "$cpus" --mem 256 --timeout 100 --tap st0 --block "$SCRATCH/disk" \
        --block "$SCRATCH/read-only:ro" --guest "$SELFTEST" >"$SCRATCH/log" 2>&1 || rc=$?
    # After a failure the report repeats the log.
    sed '/^chitin-vmm: guest panic:/,$d' "$SCRATCH/log" | sed -nE "s/^(ok|not ok) (.*)/\1 on $cpus CPUs: \2/p; s/^measure /# /p"
    if [ $rc = 0 ]; then ok "orderly end on $cpus CPUs"; else not_ok "orderly end on $cpus CPUs"; note 40 <"$SCRATCH/log"; fi
    if [ "$(od -An -tx1 -j 69632 -N 4 "$SCRATCH/disk")" = " 00 01 02 03" ]; then
        ok "what the guest wrote is in the image on $cpus CPUs"
    else
        not_ok "what the guest wrote is in the image on $cpus CPUs"
    fi
}

selftest 1
selftest 2
