# Everyday software from Debian, under runc and under the runtime: the outputs must be equal. APPS names the scripts of
# tests/apps; MODULES, EACH, STRESSORS and SECONDS_EACH are passed on to those of python_tests and stress.
. "$(dirname "$0")/../lib.sh"
HERE=$(readlink -f "$(dirname "$0")/../../apps")
ROOT=$(readlink -f "${APPS_ROOT:?}")

# runc gets a new root over the same directory for each.
fresh_root() {
    umount -l "$SCRATCH/bundle/rootfs" 2>/dev/null
    rm -rf "$SCRATCH/upper" "$SCRATCH/work"
    mkdir -p "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/bundle/rootfs"
    mount -t overlay -o "lowerdir=$ROOT,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" root "$SCRATCH/bundle/rootfs"
}
trap 'end_containers; umount -l "$SCRATCH/bundle/rootfs"; rm -rf "$SCRATCH"' EXIT

under_runc() {
    (
        cd "$SCRATCH/bundle" || exit
        rm -f config.json
        runc spec
        python3 - "$HERE" "$@" <<'P'
import json, sys
spec = json.load(open("config.json"))
spec["process"].update(terminal=False, args=sys.argv[2:], env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"])
spec["root"]["readonly"] = False
every = [f"CAP_{name}" for name in "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE".split()]
spec["process"]["capabilities"] = {kind: every for kind in ("bounding", "effective", "permitted")}
spec["process"]["rlimits"] = []
spec["mounts"].append({"destination": "/apps", "type": "bind", "source": sys.argv[1], "options": ["bind", "ro"]})
json.dump(spec, open("config.json", "w"))
P
        limited runc run "$(fresh_id)"
    ) </dev/null
}
under_chitin() { limited chitin run --mem 3072 --mount "$HERE:/apps:ro" "$ROOT" -- "$@" </dev/null; }

passed_on=()
for name in MODULES EACH STRESSORS SECONDS_EACH; do [ -z "${!name:-}" ] || passed_on+=("$name=${!name}"); done
for app in ${APPS:-archives bash dpkg gcc git perl python sqlite openssl tmux}; do
    case $app in python_tests | stress) LIMIT=${APP_LIMIT:-900} ;; *) LIMIT=${APP_LIMIT:-400} ;; esac
    fresh_root
    under_runc env "${passed_on[@]}" sh "/apps/$app" >"$SCRATCH/linux" 2>"$SCRATCH/linux-stderr"
    begin=$SECONDS
    under_chitin env "${passed_on[@]}" sh "/apps/$app" >"$SCRATCH/got" 2>"$SCRATCH/stderr"
    rc=$?
    if [ $rc != 124 ] && [ $rc != 137 ] && diff "$SCRATCH/linux" "$SCRATCH/got" >"$SCRATCH/difference"; then
        ok "$app"
    else
        not_ok "$app"
        { echo "status $rc after $((SECONDS - begin)) s"; cat "$SCRATCH/difference"; cat "$SCRATCH/stderr"; } | note 60
    fi
done
