# What is wrong must be said by name, and nothing be left behind.
. "$(dirname "$0")/../lib.sh"

container -- true >/dev/null 2>&1
sleep 1
world >"$SCRATCH/before"

expect_error "unknown mount type" "$([ "$RUNTIME" = chitin ] && echo nosuchfs || echo 'no such device')" container --mount type=nosuchfs,src=none,dst=/x,options=rw -- true
expect_error "missing bind source" 'no/such/source' container --mount type=bind,src=/no/such/source,dst=/x,options=rbind -- true
leak_check "after bad mounts" "$SCRATCH/before"

# The bundle made wrong by hand, through the shim's own command line and chitin run.
if [ "$RUNTIME" = chitin ]; then
    bundle=$SCRATCH/bundle
    expect_error "missing bundle" 'no/such/bundle' limited chitin run /no/such/bundle -- true
    mkdir -p "$bundle/rootfs"
    echo '{ broken' >"$bundle/config.json"
    expect_error "broken config.json" 'config.json' limited chitin run "$bundle" -- true
    echo '{"ociVersion":"1.0.2","process":{"args":["true"],"cwd":"/"},"root":{"path":"nowhere"}}' >"$bundle/config.json"
    expect_error "missing rootfs" 'nowhere' limited chitin run "$bundle" -- true
    mkdir -p "$SCRATCH/empty"
    expect_error "empty rootfs" 'no such file|not found' limited chitin run "$SCRATCH/empty" -- /bin/true
    expect_error "rootfs is a file" 'lib.sh|not a directory' limited chitin run "$(dirname "$0")/../lib.sh" -- true
    leak_check "after bad bundles" "$SCRATCH/before"

    mv /dev/kvm /dev/kvm.away
    expect_error "no /dev/kvm" '/dev/kvm' container -- true
    expect_error "no /dev/kvm, by chitin run" '/dev/kvm' limited chitin run "$ROOTFS" -- true
    expect_error "doctor without /dev/kvm" '/dev/kvm' limited chitin doctor
    mv /dev/kvm.away /dev/kvm
    leak_check "after no /dev/kvm" "$SCRATCH/before"

    no_memory() { (ulimit -v 65536; limited chitin run "$ROOTFS" -- true); }
    expect_error "no memory" 'memory|allocate' no_memory
    leak_check "after no memory" "$SCRATCH/before"
fi
expect "containerd still works" 0 fine container -- echo fine
