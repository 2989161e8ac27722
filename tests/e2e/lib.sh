# What the end-to-end suites share; sourced by each, inside the lab. A suite prints TAP lines: `ok NAME`, `not ok NAME`,
# `ok NAME # SKIP why`, and comments with `#`.
#
# RUNTIME is the runtime under test (chitin); RUNTIME=runc checks the suites themselves.
set -uo pipefail

RUNTIME=${RUNTIME:-chitin}
LIMIT=${LIMIT:-60}
IMAGE=chitin.local/busybox:latest
E2E=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
RECORDED=$(readlink -f "$E2E/../programs/recorded")
SCRATCH=$(mktemp -d /tmp/suite.XXXXXX)
trap 'end_containers; rm -rf "$SCRATCH"' EXIT

ok() { echo "ok $*"; }
not_ok() { echo "not ok $*"; }
note() { sed 's/^/#   /' | cut -c1-300 | head -n "${1:-15}"; }
skip() { echo "ok $1 # SKIP $2"; }

# limited CMD...: runs CMD under the suite's time limit.
limited() { timeout -k 5 "$LIMIT" "$@"; }

fresh_id() { echo "t-$$-$RANDOM$RANDOM"; }

# container [ctr options] -- CMD...: runs CMD in a new container of IMAGE and passes its exit status on.
container() {
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    limited ctr run --rm --runtime "io.containerd.$RUNTIME.v2" "${options[@]}" "$IMAGE" "$(fresh_id)" "$@"
}

# spec_run EDIT CMD...: runs CMD in a container whose specification EDIT, a line of Python, has changed (`spec`): for what ctr
# has no option for. Its root is a copy, for runtimes that write to it.
spec_run() {
    local edit=$1
    shift
    mkdir -p "$SCRATCH/bundle"
    [ -d "$SCRATCH/root" ] || cp -a "$ROOTFS" "$SCRATCH/root"
    rm -f "$SCRATCH/bundle/config.json"
    runc spec -b "$SCRATCH/bundle"
    python3 - "$SCRATCH/bundle/config.json" "$SCRATCH/root" "$edit" "$@" <<'END'
import json, sys
path, root, edit, *args = sys.argv[1:]
spec = json.load(open(path))
spec["root"] = {"path": root, "readonly": False}
spec["process"].update(terminal=False, args=args)
exec(edit)
json.dump(spec, open(path, "w"))
END
    limited ctr run --rm --runtime "io.containerd.$RUNTIME.v2" --config "$SCRATCH/bundle/config.json" "$(fresh_id)"
}

# expect NAME STATUS OUTPUT CMD...: CMD must exit with STATUS and print exactly OUTPUT on stdout.
expect() {
    local name=$1 status=$2 output=$3 got rc=0
    shift 3
    got=$("$@" 2>"$SCRATCH/stderr") || rc=$?
    if [ "$rc" = "$status" ] && [ "$got" = "$output" ]; then
        ok "$name"
    else
        not_ok "$name"
        { echo "wanted status $status, got $rc"; echo "wanted: $output"; echo "got:    $got"; cat "$SCRATCH/stderr"; } | note
    fi
}

# expect_match NAME STATUS PATTERN CMD...: stdout and stderr together must match the extended regular expression.
expect_match() {
    local name=$1 status=$2 pattern=$3 got rc=0
    shift 3
    got=$("$@" 2>&1) || rc=$?
    if [ "$rc" = "$status" ] && grep -Eq -- "$pattern" <<<"$got"; then
        ok "$name"
    else
        not_ok "$name"
        { echo "wanted status $status, got $rc; wanted to match: $pattern"; echo "got: $got"; } | note
    fi
}

# expect_error NAME PATTERN CMD...: CMD must fail, quickly and not by the time limit, and say what matches PATTERN.
expect_error() {
    local name=$1 pattern=$2 got rc=0
    shift 2
    got=$("$@" 2>&1) || rc=$?
    if [ "$rc" != 0 ] && [ "$rc" != 124 ] && [ "$rc" != 137 ] && grep -Eiq -- "$pattern" <<<"$got"; then
        ok "$name"
    else
        not_ok "$name"
        { echo "wanted an error that matches: $pattern"; echo "status $rc: $got"; } | note
    fi
}

# Ends every container and everything that belongs to one, whatever state it is in.
end_containers() {
    local id pid
    for id in $(timeout 10 ctr task ls -q 2>/dev/null); do
        timeout 10 ctr task kill -s SIGKILL "$id" >/dev/null 2>&1
        timeout 10 ctr task delete -f "$id" >/dev/null 2>&1
    done
    for id in $(timeout 10 ctr container ls -q 2>/dev/null); do timeout 10 ctr container delete "$id" >/dev/null 2>&1; done
    for pid in $(helper_pids); do kill -KILL "$pid" 2>/dev/null; done
}

helper_pids() { pgrep -f 'containerd-shim|chitin-vmm|^[^ ]*chitin run' || true; }

# Everything of the machine that a container might leave behind, as text to compare.
world() {
    echo "helper processes: $(helper_pids | wc -l)"
    echo "zombies: $(ps -e -o stat= | grep -c '^Z')"
    echo "mounts: $(wc -l </proc/mounts)"
    echo "sockets: $(awk 'NF == 8 { print $8 }' /proc/net/unix | grep -vc 'sock.ttrpc$\|containerd.sock$')"
    echo "links: $(ip -o link | wc -l)"
    echo "snapshots: $(timeout 10 ctr snapshot ls | wc -l)"
    echo "containers: $(timeout 10 ctr container ls -q | wc -l) tasks: $(timeout 10 ctr task ls -q | wc -l)"
    find /run /tmp "$CONTAINERD_ROOT/io.containerd.runtime.v2.task" /dev/shm -mindepth 1 \
        -not -path '/run/lab*' -not -path "$SCRATCH*" -not -path '/run/with-containerd*' 2>/dev/null | sort
    find /sys/fs/cgroup -mindepth 1 -type d | sort
}

# leak_check NAME BEFORE-FILE: the world must be as it was, after a few seconds of grace.
leak_check() {
    local name=$1 before=$2 try
    for try in 1 2 3 4 5 6 7 8; do
        world >"$SCRATCH/after"
        if diff "$before" "$SCRATCH/after" >"$SCRATCH/difference"; then ok "$name"; return; fi
        sleep 0.5
    done
    not_ok "$name"
    note 30 <"$SCRATCH/difference"
}

# compare_program LABEL [ctr options] -- PROGRAM: the program must print the same under runc and under the runtime, case by
# case, within CASES_LIMIT seconds. Where the lab's Linux is too old for the calls of a program, tests/programs/recorded has
# what a newer one printed in its place. Cases that differ get a second chance, since some of them race with a clock; both differences are shown.
compare_program() {
    local label=$1 report
    shift
    report=$(compare_once "$label" "$@")
    if grep -q '^not ok' <<<"$report"; then
        grep -A 20 '^not ok' <<<"$report" | grep -v '^ok' | sed 's/^not ok/# differed once:/'
        report=$(compare_once "$label" "$@")
    fi
    echo "$report"
}

compare_once() {
    local label=$1 rc LIMIT=${CASES_LIMIT:-180}
    shift
    if [ -e "$RECORDED/$label" ]; then
        cp "$RECORDED/$label" "$SCRATCH/linux"
    else
        RUNTIME=runc container "$@" >"$SCRATCH/linux" 2>&1 </dev/null
    fi
    container "$@" >"$SCRATCH/got" 2>"$SCRATCH/stderr" </dev/null
    rc=$?
    [ $rc = 0 ] || { echo "# $label ended with status $rc"; note 5 <"$SCRATCH/stderr"; }
    python3 "$E2E/compare.py" "$label" "$SCRATCH/linux" "$SCRATCH/got"
    end_containers
}
