# Many containers: ten at once, and one after another with nothing left behind. SEQUENTIAL says how many of the latter.
. "$(dirname "$0")/../lib.sh"
SEQUENTIAL=${SEQUENTIAL:-20}

container -- true >/dev/null 2>&1
sleep 1
world >"$SCRATCH/before"

ten_at_once() {
    local i
    for i in 0 1 2 3 4 5 6 7 8 9; do
        container -- sh -c "sleep 1; echo number $i; exit $i" >"$SCRATCH/out-$i" 2>"$SCRATCH/err-$i" &
        eval "pid_$i=$!"
    done
    for i in 0 1 2 3 4 5 6 7 8 9; do
        eval "wait \$pid_$i"
        echo "$? $(cat "$SCRATCH/out-$i")"
        head -n 3 "$SCRATCH/err-$i" >&2
    done
}
LIMIT=180 expect "ten at once" 0 "$(for i in 0 1 2 3 4 5 6 7 8 9; do echo "$i number $i"; done)" ten_at_once
leak_check "ten at once leave nothing" "$SCRATCH/before"

available() { sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1; awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo; }
before=$(available)
failures=0
for i in $(seq "$SEQUENTIAL"); do
    [ "$(container -- sh -c "echo run $i" 2>"$SCRATCH/stderr")" = "run $i" ] || { failures=$((failures + 1)); note 3 <"$SCRATCH/stderr"; }
    [ $failures -lt 3 ] || break
done
if [ $failures = 0 ]; then ok "$SEQUENTIAL one after another"; else not_ok "$SEQUENTIAL one after another"; fi
leak_check "one after another leave nothing" "$SCRATCH/before"
after=$(available)
limit=$((20480 + 100 * SEQUENTIAL))
if [ $((before - after)) -lt $limit ]; then
    ok "memory is as before"
else
    not_ok "memory is as before"
    echo "#   $((before - after)) KiB less than before, allowed $limit"
fi
