# The shim and the VMM killed at work: containerd cleans up, and the next container runs.
. "$(dirname "$0")/../lib.sh"
[ "$RUNTIME" = chitin ] || exit 0

container -- true >/dev/null 2>&1
sleep 1
world >"$SCRATCH/before"

start() {
    id=$(fresh_id)
    limited ctr run -d --runtime "io.containerd.$RUNTIME.v2" "$IMAGE" "$id" sleep 1000
}
finish() {
    timeout 20 ctr task kill -s SIGKILL "$id" >/dev/null 2>&1
    timeout 20 ctr task delete -f "$id" >/dev/null 2>&1
    limited ctr container delete "$id"
}
after_kill() {
    start || return
    sleep 0.5
    pkill -KILL -f "$1" || echo "nothing to kill"
    sleep 2
    echo "left: $(pgrep -cf 'chitin-vmm|containerd-shim-chitin')"
    finish
    echo "deleted: $?"
    # The client's own: with the shim gone it does not find the task, and leaves its FIFOs, under runc too.
    rm -rf /run/containerd/fifo/*
}
vmm_gone() {
    start || return
    sleep 0.5
    pkill -KILL -x chitin-vmm || echo "nothing to kill"
    sleep 2
    ctr task ls | awk -v id="$id" '$1 == id { print $3 }'
    echo "left: $(pgrep -c chitin-vmm)"
    finish
    echo "deleted: $?"
}
expect "VMM killed: the task stops" 0 $'STOPPED\nleft: 0\ndeleted: 0' vmm_gone
leak_check "after the VMM's end" "$SCRATCH/before"
expect "shim killed: all of it goes" 0 $'left: 0\ndeleted: 0' after_kill 'containerd-shim-chitin'
leak_check "after the shim's end" "$SCRATCH/before"

# Kills a VMM at about 0, 60, 120, … ms of its life.
during_create() {
    local i
    for i in 0 1 2 3 4 5 6 7; do
        (
            until pgrep -x chitin-vmm >/dev/null; do sleep 0.01; done
            sleep "$(printf 0.%03d $((i * 60)))"
            pkill -KILL -x chitin-vmm
        ) &
        killer=$!
        container -- sleep 3 >/dev/null 2>"$SCRATCH/stderr" && echo "succeeded"
        wait "$killer"
    done
    true
}
expect "VMM killed during create and start" 0 "" during_create
end_containers
leak_check "after kills during create" "$SCRATCH/before"
expect "the next container runs" 0 fine container -- echo fine
