# The test programs under runc and under the runtime: the outputs must be equal, case by case.
. "$(dirname "$0")/../lib.sh"
IMAGE=chitin.local/tests:latest
export KNOWN=$(readlink -f "$(dirname "$0")/../../programs/known-differences")

for program in ${PROGRAMS:-process signal memory memory_calls files pipes_poll threads clocks schedule seccomp trace namespaces pi_locks sysv mqueue inotify unix_sockets mounts signal_io handles file_calls inet}; do
    # Under runc a container's loopback interface is down until somebody takes it up.
    options=()
    [ "$program" != inet ] || options=(--cap-add CAP_NET_ADMIN)
    RUNTIME=runc LIMIT=180 container "${options[@]}" -- "/tests/$program" >"$SCRATCH/linux" 2>&1 </dev/null
    LIMIT=180 container "${options[@]}" -- "/tests/$program" >"$SCRATCH/got" 2>"$SCRATCH/stderr" </dev/null
    rc=$?
    [ $rc = 0 ] || { echo "# $program ended with status $rc"; note 5 <"$SCRATCH/stderr"; }
    python3 "$(dirname "$0")/../compare.py" "$program" "$SCRATCH/linux" "$SCRATCH/got"
    end_containers
done
