# A container that does its worst: the sandbox survives or dies alone, and host and containerd do not notice.
# STORM_SECONDS says for how long, STORM_SEED with which seed, STORM_KINDS which storms.
. "$(dirname "$0")/../lib.sh"
[ "$RUNTIME" = chitin ] || exit 0
IMAGE=chitin.local/tests:latest
SECONDS_EACH=$(( ${STORM_SECONDS:-60} / 6 ))
[ "$SECONDS_EACH" -ge 5 ] || SECONDS_EACH=5

container -- true >/dev/null 2>&1
sleep 1
world >"$SCRATCH/before"
dmesg --clear
ctr events >>"$SCRATCH/events" &
EVENTS=$!
# storm KIND: bombs under a pids limit, for without one they end only when the sandbox's memory does.
storm() {
    local run=(/tests/storm "${STORM_SEED:-1}" "$SECONDS_EACH" "$1") tests
    tests="spec['mounts'].append({'destination': '/tests', 'type': 'bind', 'source': '$TESTS', 'options': ['bind', 'ro']})"
    if [ "$1" = bomb ] || [ "$1" = outrun ]; then
        spec_run "$(pids_limit 2000); $tests" "${run[@]}"
    else
        container -- "${run[@]}"
    fi
}
pids_limit() { echo "spec['linux']['resources']['pids'] = {'limit': $1}"; }

for kind in ${STORM_KINDS:-calls faults overflow bomb outrun threads files}; do
    : >"$SCRATCH/events"
    LIMIT=$((SECONDS_EACH + 180)) storm $kind >"$SCRATCH/out" 2>"$SCRATCH/err" </dev/null
    rc=$?
    # That memory ran out is told by an event.
    [ $rc != 137 ] || { sleep 2; grep /tasks/oom "$SCRATCH/events" >>"$SCRATCH/err" && rc=oom; }
    if [ $rc = 0 ] && grep -q survived "$SCRATCH/out"; then
        ok "storm of $kind: survived"
        tail -n 1 "$SCRATCH/out" | note 1
    elif [ $rc != 124 ] && [ $rc != 137 ] && [ -s "$SCRATCH/err" ]; then
        ok "storm of $kind: the sandbox died alone, with a reason"
        tail -n 5 "$SCRATCH/err" | note 5
    else
        not_ok "storm of $kind"
        { echo "status $rc"; tail -n 3 "$SCRATCH/out"; tail -n 5 "$SCRATCH/err"; } | note
    fi
    end_containers
    expect "after the storm of $kind a container runs" 0 fine container -- echo fine
done
expect "a pids limit is told" 0 64 spec_run "$(pids_limit 64)" cat /sys/fs/cgroup/pids.max
expect "fork bomb under a pids limit" 0 "" spec_run "$(pids_limit 64)" sh -c 'bomb() { bomb | bomb & }; bomb; exec sleep 3'
# Without a limit: whoever wants to end it from outside still gets through.
bomb=$(fresh_id)
limited ctr run -d --runtime io.containerd.chitin.v2 "$IMAGE" "$bomb" sh -c 'bomb() { bomb | bomb & }; bomb; exec sleep 600' \
    >/dev/null 2>&1 </dev/null
sleep 3
expect "a fork bomb without a limit is killed from outside" 0 "" timeout 60 ctr task kill -s SIGKILL "$bomb"
# On an emulated machine tens of thousands of them take minutes to end.
for i in {1..500}; do ctr task ls | grep -q "^$bomb .*RUNNING" || break; sleep 0.5; done
expect "and ends" 1 "" eval 'ctr task ls | grep "^$bomb .*RUNNING"'
end_containers
kill $EVENTS
leak_check "after all storms" "$SCRATCH/before"
expect "no complaint of the host's kernel" 0 "" eval 'dmesg | grep -Ei "BUG|oops|panic|kvm.*(error|unexpected)|hung task"; true'
