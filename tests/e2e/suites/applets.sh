# The applets of busybox under runc and under the runtime: the outputs must be equal.
. "$(dirname "$0")/../lib.sh"
LIMIT=400
script=$(dirname "$0")/../../applets/applets.sh

RUNTIME=runc container -- sh -c "$(cat "$script")" >"$SCRATCH/linux" 2>&1 </dev/null
container -- sh -c "$(cat "$script")" >"$SCRATCH/got" 2>"$SCRATCH/stderr" </dev/null
rc=$?
[ $rc = 0 ] || { echo "# the script ended with status $rc"; note 5 <"$SCRATCH/stderr"; }
python3 "$(dirname "$0")/../compare.py" applet "$SCRATCH/linux" "$SCRATCH/got"
end_containers
