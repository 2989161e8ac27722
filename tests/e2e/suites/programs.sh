# The test programs under runc and under the runtime: the outputs must be equal, case by case.
. "$(dirname "$0")/../lib.sh"
IMAGE=chitin.local/tests:latest
export KNOWN=$(readlink -f "$(dirname "$0")/../../programs/known-differences")

for program in ${PROGRAMS:-process signal memory memory_calls files pipes_poll threads clocks schedule seccomp trace namespaces net_spaces pid_spaces pi_locks sysv mqueue inotify unix_sockets mounts signal_io handles file_calls system fdinfo proc_files aio old_calls rare_calls new_calls keys inet packet_sockets sockets}; do
    # Under runc a container's loopback interface is down until somebody takes it up.
    options=()
    [[ "$program" != inet && "$program" != packet_sockets && "$program" != sockets ]] || options=(--cap-add CAP_NET_ADMIN)
    [ "$program" != pid_spaces ] || options=(--cap-add CAP_SYS_ADMIN --cap-add CAP_SYS_BOOT)
    [ "$program" != mounts ] || options=(--cap-add CAP_SYS_ADMIN)
    compare_program "$program" "${options[@]}" -- "/tests/$program"
done
