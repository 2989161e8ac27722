# A pod's network: interfaces of a network namespace, taken into the sandbox and given back. The pods are namespaces with a
# veth pair to this machine, made here.
. "$(dirname "$0")/../lib.sh"
[ "$RUNTIME" = chitin ] || exit 0
chitin_run() { limited chitin run "$@"; }

# pod NAME NUMBER MTU: namespace NAME whose eth0 has 10.88.NUMBER.2/24 and fd88:NUMBER::2/64; this machine has .1.
pod() {
    local name=$1 number=$2 mtu=$3
    ip netns add "$name"
    ip link add "host$number" mtu "$mtu" type veth peer name eth0 mtu "$mtu" netns "$name"
    ip address add "10.88.$number.1/24" dev "host$number"
    ip address add "fd88:$number::1/64" dev "host$number" nodad
    ip link set "host$number" up
    ip -n "$name" link set lo up
    ip -n "$name" address add "10.88.$number.2/24" dev eth0
    ip -n "$name" address add "fd88:$number::2/64" dev eth0 nodad
    ip -n "$name" link set eth0 up
    ip -n "$name" route add default via "10.88.$number.1"
    ip -n "$name" route add default via "fd88:$number::1"
}

# enter POD ROOT CMD...: runs CMD, which says `ready`, in a sandbox of POD in the background; `leave` ends it.
enter() {
    local pod=$1 root=$2
    shift 2
    chitin run --netns "/run/netns/$pod" --stats --mount "$SCRATCH:/mnt:ro" "$root" -- "$@" \
        >"$SCRATCH/$pod.out" 2>"$SCRATCH/$pod.err" &
    SANDBOX=$!
    for _ in $(seq 150); do grep -q ready "$SCRATCH/$pod.out" && return; sleep 0.1; done
    note <"$SCRATCH/$pod.err"
}
leave() {
    kill -TERM "$SANDBOX" 2>/dev/null
    wait "$SANDBOX" 2>/dev/null
}
# What is left in a namespace of a sandbox that had it.
traces() {
    ip -n "$1" -o link | grep -c chtap
    tc -n "$1" qdisc show dev eth0 ingress | wc -l
}
clean=$'0\n0'

container -- true >/dev/null 2>&1
pod one 1 1500
pod two 2 9000
ip netns add empty
ip netns exec empty true
world >"$SCRATCH/before"

expect_error "a namespace that is missing" 'network namespace /run/netns/none: No such file' \
    chitin_run --netns /run/netns/none "$ROOTFS" -- true
expect_error "a file that is no namespace" 'network namespace /etc/passwd: Invalid argument' \
    chitin_run --netns /etc/passwd "$ROOTFS" -- true
expect_error "the host's own namespace" "is the host's own" chitin_run --netns /proc/self/ns/net "$ROOTFS" -- true
expect "a namespace without interfaces" 0 "lo" chitin_run --netns /run/netns/empty "$ROOTFS" -- ls /sys/class/net
expect "loopback without a namespace" 0 "lo" chitin_run "$ROOTFS" -- ls /sys/class/net

enter one "$ROOTFS" sh -c 'trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done'
expect "frames of the pod go to a TAP" 0 1 grep -c 'chtap0' <(tc -n one filter show dev eth0 ingress)
expect "and back" 0 1 grep -c 'eth0' <(tc -n one filter show dev chtap0 ingress)
expect_error "a namespace has one sandbox" 'belongs to a running sandbox' \
    chitin_run --netns /run/netns/one "$ROOTFS" -- true
busybox ping -c 2 -W 1 10.88.1.2 >/dev/null 2>&1
leave
expect_match "frames arrive at the card" 0 'card 0 received +[1-9]' cat "$SCRATCH/one.err"
expect "the interface is given back" 0 "$clean" traces one

killed() {
    enter one "$ROOTFS" sh -c 'echo ready; sleep 1000'
    kill -KILL "$SANDBOX"
    wait "$SANDBOX" 2>/dev/null
    for _ in $(seq 50); do pgrep -x chitin-vmm >/dev/null || break; sleep 0.1; done
    chitin_run --netns /run/netns/one "$ROOTFS" -- echo again
    traces one
}
expect "after a kill the next one has it" 0 "again"$'\n'"$clean" killed

unplugged() {
    pod gone 9 1500
    enter gone "$ROOTFS" sh -c 'trap "echo still; exit 0" TERM; echo ready; while :; do sleep 0.1; done'
    ip netns delete gone
    ip link delete host9 2>/dev/null
    sleep 0.5
    leave
    cat "$SCRATCH/gone.out"
}
expect "a namespace that vanishes leaves the sandbox alone" 0 $'ready\nstill' unplugged
leak_check "nothing left behind" "$SCRATCH/before"

with_containerd() { container --with-ns network:/run/netns/one -- "$@"; }
expect "containerd" 0 up with_containerd echo up
expect "the interface is given back after a task" 0 "$clean" traces one
shim_killed() {
    local id
    id=$(fresh_id)
    limited ctr run -d --runtime io.containerd.chitin.v2 --with-ns network:/run/netns/one "$IMAGE" "$id" sleep 1000
    pkill -KILL -f containerd-shim-chitin
    for _ in $(seq 50); do [ "$(traces one)" = "$clean" ] && break; sleep 0.2; done
    traces one
    timeout 20 ctr container delete "$id" >/dev/null 2>&1
}
expect "the interface is given back after a killed shim" 0 "$clean" shim_killed
end_containers
rm -rf /run/containerd/fifo/*

cat >"$SCRATCH/serve.py" <<'PY'
import os, signal, socket, threading, time
# Echoes TCP and UDP at port 7.
def tcp(family, address):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((address, 7))
    listener.listen(16)
    def serve(connection):
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.close()
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
def udp(family, address):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, 7))
    while True:
        data, peer = sock.recvfrom(65536)
        sock.sendto(data, peer)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    for serve in (tcp, udp):
        threading.Thread(target=serve, args=(family, address), daemon=True).start()
time.sleep(0.2)
print("ready", flush=True)
while True:
    time.sleep(1)
PY
cat >"$SCRATCH/ask.py" <<'PY'
import hashlib, os, socket, sys, threading
# tcp|udp ADDRESS BYTES: sends bytes, and says whether the same come back.
kind, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
data = os.urandom(count)
family = socket.AF_INET6 if ":" in address else socket.AF_INET
sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
sock.settimeout(20)
sock.connect((address, 7))
if kind == "udp":
    sock.send(data)
    got = sock.recv(65536)
else:
    def send():
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    threading.Thread(target=send).start()
    got = b""
    while piece := sock.recv(65536):
        got += piece
print("same" if got == data else f"sent {len(data)}, got {len(got)}")
PY
python3 "$SCRATCH/serve.py" >"$SCRATCH/serve.out" 2>&1 &
SERVER=$!
limited bash -c "until grep -q ready '$SCRATCH/serve.out'; do sleep 0.1; done"

PYTHON=(/usr/bin/env PATH=/usr/bin:/bin python3)
ask() { limited python3 "$SCRATCH/ask.py" "$@"; }
for place in "one 1 1472" "two 2 8972"; do
    read -r where number payload <<<"$place"
    host=10.88.$number.1 pod=10.88.$number.2 host6=fd88:$number::1 pod6=fd88:$number::2
    enter "$where" / "${PYTHON[@]}" /mnt/serve.py
    expect_match "$where: ping from the host" 0 ' 0% packet loss' busybox ping -c 3 -W 5 "$pod"
    expect_match "$where: ping of a whole frame" 0 ' 0% packet loss' busybox ping -c 3 -W 5 -s "$payload" "$pod"
    expect_match "$where: ping of fragments" 0 ' 0% packet loss' busybox ping -c 2 -W 5 -s 20000 "$pod"
    expect_match "$where: ping by IPv6" 0 ' 0% packet loss' busybox ping -c 3 -W 5 "$pod6"
    for what in "tcp $pod 1" "tcp $pod 3000000" "tcp $pod6 1000000" "udp $pod 1000" "udp $pod $payload" "udp $pod6 1000"; do
        expect "$where: $what from the host" 0 same ask $what
    done
    leave
    grep card "$SCRATCH/$where.err" | note
    from_pod() { chitin_run --netns "/run/netns/$where" --mount "$SCRATCH:/mnt:ro" "$@"; }
    expect_match "$where: ping from the pod" 0 ' 0% packet loss' from_pod "$ROOTFS" -- ping -c 3 -W 5 "$host"
    expect_match "$where: ping by IPv6 from the pod" 0 ' 0% packet loss' from_pod "$ROOTFS" -- ping -c 3 -W 5 "$host6"
    for what in "tcp $host 1" "tcp $host 3000000" "tcp $host6 1000000" "udp $host 1000" "udp $host $payload"; do
        expect "$where: $what from the pod" 0 same from_pod / -- "${PYTHON[@]}" /mnt/ask.py $what
    done
    expect_error "$where: a closed port" 'refused' from_pod "$ROOTFS" -- nc -w 5 "$host" 9
    expect "$where: the interface is given back after traffic" 0 "$clean" traces "$where"
done

# With loss, delay and reordering on the way.
enter one / "${PYTHON[@]}" /mnt/serve.py
tc qdisc add dev host1 root netem loss 2% delay 3ms 2ms reorder 20% duplicate 1%
expect "a bad line: tcp from the host" 0 same ask tcp 10.88.1.2 500000
tc qdisc delete dev host1 root
leave
kill "$SERVER"
expect_match "containerd: ping from a task" 0 ' 0% packet loss' with_containerd ping -c 2 -W 5 10.88.2.1
leak_check "nothing left behind after traffic" "$SCRATCH/before"
