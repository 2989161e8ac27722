//! A namespace of its own, where the machine lets us make one.

use super::*;
use oci_spec::runtime::LinuxNamespaceBuilder;
use rustix::thread::{UnshareFlags, gettid};
use std::process::Command;

fn spec(namespace: Option<Option<&str>>) -> Spec {
    let mut spec = Spec::default();
    let mut linux = spec.linux().clone().unwrap_or_default();
    let namespaces = namespace.map(|path| {
        let builder = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network);
        match path {
            Some(path) => builder.path(path).build().unwrap(),
            None => builder.build().unwrap(),
        }
    });
    linux.set_namespaces(Some(namespaces.into_iter().collect()));
    spec.set_linux(Some(linux));
    spec
}

#[test]
fn what_a_specification_wants() {
    assert_eq!(Wanted::of(&spec(None)), Wanted::Host);
    assert_eq!(Wanted::of(&spec(Some(None))), Wanted::New);
    assert_eq!(Wanted::of(&spec(Some(Some("/run/netns/x")))), Wanted::Namespace("/run/netns/x".into()));
}

#[test]
fn bad_namespaces_are_named() {
    let mut note = |_: &str| Ok(());
    for path in ["/no/such/namespace", "/dev/null", "/"] {
        let error = attach(Path::new(path), &mut note).unwrap_err().to_string();
        assert!(error.starts_with(&format!("network namespace {path}: ")), "{error}");
    }
    let own = attach(Path::new("/proc/self/ns/net"), &mut note);
    assert!(matches!(own, Err(NetworkError::Host { .. })), "{own:?}");
    detach(Path::new("/no/such/namespace"), "eth0").unwrap();
    detach(Path::new("/dev/null"), "eth0").unwrap();
}

fn leave_namespace() -> bool {
    // SAFETY: a new network namespace takes nothing away that this program's memory depends on.
    #[expect(unsafe_code, reason = "the call can unshare more than we ask for")]
    let done = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    done.is_ok()
}

/// Whether the kernel has what is needed, or loads it.
fn can_redirect() -> bool {
    let steps = [
        "qdisc add dev peer0 ingress",
        "filter add dev peer0 ingress matchall action mirred egress redirect dev lo",
        "qdisc delete dev peer0 ingress",
    ];
    let done =
        |step: &str| Command::new("tc").args(step.split(' ')).status().is_ok_and(|done| done.success());
    steps.iter().all(|step| done(step)) && std::fs::File::open("/dev/net/tun").is_ok()
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success())
}

fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn interfaces_are_taken_and_given_back() {
    // In a thread of its own: its namespace ends with it.
    let thread = std::thread::spawn(|| {
        if !leave_namespace()
            || !ip("link add eth0 mtu 9000 address 02:00:00:00:00:07 type veth peer name peer0")
            || !can_redirect()
        {
            eprintln!("skipped: no network namespace with a veth pair and a TAP can be made here");
            return;
        }
        for step in [
            "link add down0 type veth peer name peer1",
            "address add 10.1.0.2/24 dev eth0",
            "-6 address add fd00::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 10.1.0.1",
            "neighbour add 10.1.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
        ] {
            assert!(ip(step), "{step}");
        }
        let path = format!("/proc/self/task/{}/ns/net", gettid().as_raw_nonzero());
        let path = Path::new(&path);
        for round in 0..2 {
            let mut noted = Vec::new();
            let mut note = |name: &str| {
                noted.push(name.to_owned());
                Ok(())
            };
            let (pod, attached) = attach(path, &mut note).unwrap();
            assert_eq!(noted, ["eth0"]);
            let eth0 = pod.network.interfaces.first().unwrap();
            assert_eq!((eth0.name.as_str(), eth0.mac, eth0.mtu), ("eth0", [2, 0, 0, 0, 0, 7], 9000));
            let addresses: Vec<_> = eth0.addresses.iter().map(|a| format!("{}/{}", a.ip, a.prefix)).collect();
            assert!(addresses.contains(&"10.1.0.2/24".to_owned()), "{addresses:?}");
            assert!(addresses.contains(&"fd00::2/64".to_owned()), "{addresses:?}");
            let routes: Vec<_> =
                pod.network.routes.iter().map(|route| (route.to.prefix, route.gateway)).collect();
            assert_eq!(routes, [(0, Some("10.1.0.1".parse().unwrap()))]);
            assert_eq!(pod.network.neighbours.len(), 1);
            assert_eq!(
                pod.cards.first().unwrap().0,
                Card { mac: eth0.mac, mtu: 9000, limit: RateLimit::default() }
            );
            assert!(
                output("tc", "filter show dev eth0 ingress").contains("Egress Redirect to device chtap0")
            );
            assert!(
                output("tc", "filter show dev chtap0 ingress").contains("Egress Redirect to device eth0")
            );
            assert!(matches!(attach(path, &mut |_| Ok(())), Err(NetworkError::Busy { .. })));
            drop(pod);
            assert!(!output("ip", "-o link").contains("chtap"));
            if round == 0 {
                // As after a kill: the next one finds the qdisc and replaces it.
                std::mem::forget(attached);
                continue;
            }
            drop(attached);
            assert!(!output("tc", "qdisc show dev eth0").contains("ingress"));
            detach(path, "eth0").unwrap();
            detach(path, "missing0").unwrap();
        }
    });
    thread.join().unwrap();
}
