# The applets of busybox under runc and under the runtime: the outputs must be equal.
. "$(dirname "$0")/../lib.sh"
CASES_LIMIT=400 compare_program applet -- sh -c "$(cat "$(dirname "$0")/../../applets/applets.sh")"
