//! Interfaces, routes, neighbours.

use super::*;

#[test]
fn interfaces_and_routes_are_told() {
    check(|_| {
        let lab = Lab::new(1);
        let stack = &lab.hosts[0].stack;
        let links = stack.interfaces();
        assert_eq!(links[1].name, "eth0");
        assert_eq!((links[1].index, links[1].mtu, links[1].flags & 0x1_1043), (2, 1500, 0x1_1043));
        let local: std::net::IpAddr = "fe80::ff:fe00:1".parse().unwrap();
        assert!(links[1].addresses.iter().any(|own| own.ip == local && own.prefix == 64));
        let to = |ip: &str| stack.route_to(ip.parse().unwrap()).unwrap();
        assert_eq!(to("8.8.8.8").gateway, Some("10.0.0.254".parse().unwrap()));
        assert_eq!(to("8.8.8.8").source, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(to("10.0.0.7").gateway, None);
        assert_eq!(to("2001:db8::1").source, Some("fd00::1".parse().unwrap()));
        assert_eq!(to("10.0.0.1").device, 1);
        let text = stack.report("route").unwrap();
        assert!(text.contains("eth0\t00000000\tFE00000A\t0003\t0\t0\t0\t00000000"), "{text}");
        assert!(text.contains("eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF"), "{text}");
        assert!(stack.report("if_inet6").unwrap().contains("02 40 20 80     eth0"));
        let own = Assigned { ip: "10.9.0.1".parse().unwrap(), prefix: 16 };
        stack.add_address(2, own).unwrap();
        assert_eq!(to("10.9.3.3").source, Some(own.ip));
        let route = Route { metric: 5, gateway: None, ..to("10.9.3.3") };
        let route = Route { to: Assigned { ip: "10.9.3.0".parse().unwrap(), prefix: 24 }, ..route };
        stack.add_route(Route { gateway: Some("10.0.0.9".parse().unwrap()), ..route }).unwrap();
        assert_eq!(to("10.9.3.3").gateway, Some("10.0.0.9".parse().unwrap()));
        stack.add_route(Route { metric: 1, ..route }).unwrap();
        assert_eq!(to("10.9.3.3").gateway, None, "less is preferred");
        assert_eq!(stack.add_route(Route { metric: 1, ..route }), Err(Errno::EEXIST));
        let far = Route { gateway: Some("9.9.9.9".parse().unwrap()), metric: 9, ..route };
        assert_eq!(stack.add_route(far), Err(Errno::ENETUNREACH));
        stack.change_link(2, Some(0), None).unwrap();
        assert!(stack.route_to("8.8.8.8".parse().unwrap()).is_none());
        assert_eq!(stack.change_link(2, None, Some(9001)), Err(Errno::EINVAL));
    });
}

#[test]
fn a_network_that_cannot_be_is_refused() {
    check(|_| {
        let good = Wanted { name: "eth0".into(), device: 0, mac: mac(0), mtu: 1500, addresses: vec![] };
        let refused = |interfaces: Vec<Wanted>| {
            let network = Network { interfaces, ..Network::default() };
            let port: Port = Lab::new(1).port();
            Stack::new()
                .set_up(&network, |device| (device == 0).then(|| port.clone()))
                .err()
                .map(|why| why.errno)
        };
        assert_eq!(refused(vec![good.clone()]), None);
        assert_eq!(refused(vec![Wanted { name: "a/b".into(), ..good.clone() }]), Some(Errno::EINVAL));
        assert_eq!(refused(vec![Wanted { device: 1, ..good.clone() }]), Some(Errno::ENODEV));
        assert_eq!(refused(vec![Wanted { mtu: 9001, ..good.clone() }]), Some(Errno::EINVAL));
        let second = Wanted { name: "eth1".into(), ..good.clone() };
        assert_eq!(refused(vec![good.clone(), second]), Some(Errno::EINVAL), "the same hardware address");
        let address = |text: &str| Wanted { addresses: vec![subnet(text)], ..good.clone() };
        assert_eq!(refused(vec![address("10.0.0.1/33")]), Some(Errno::EINVAL));
        assert_eq!(refused(vec![address("224.0.0.1/8")]), Some(Errno::EINVAL));
    });
}

impl Lab {
    fn port(&self) -> Port {
        Arc::new(TestPort { wire: self.wire.clone(), at: 0, mac: mac(0), offloads: false })
    }
}

#[test]
fn neighbours_are_asked_for_and_age() {
    check(|sleeper| {
        let lab = Lab::new(2);
        let (client, server) = (lab.udp(0), lab.udp(1));
        server.bind(&at("10.0.0.2:53")).unwrap();
        lab.take_seen();
        send_to(&client, b"one", "10.0.0.2:53").unwrap();
        send_to(&client, b"two", "10.0.0.2:53").unwrap();
        lab.pump();
        assert_eq!(
            (receive(&server, 9).unwrap(), receive(&server, 9).unwrap()),
            (b"one".to_vec(), b"two".to_vec())
        );
        let frames = lab.take_seen();
        let arps = frames.iter().filter(|frame| frame[12..14] == [8, 6]).count();
        assert_eq!((frames.len(), arps), (4, 2));
        assert_eq!(&frames[0][..6], &[0xff; 6]);
        let known = lab.hosts[0].stack.neighbours();
        let found = known.iter().find(|known| known.ip == "10.0.0.2".parse::<IpAddr>().unwrap()).unwrap();
        assert_eq!((found.mac, found.state), (mac(1), 2));
        assert!(lab.hosts[0].stack.report("arp").unwrap().contains("02:00:00:00:00:02     *        eth0"));
        lab.run(sleeper, 31 * SECOND);
        lab.take_seen();
        send_to(&client, b"x", "10.0.0.2:53").unwrap();
        let frames = lab.take_seen();
        assert_eq!((&frames[0][..6], &frames[0][12..14]), (&mac(1)[..], &[8, 6][..]), "asked alone, not all");
        lab.pump();
        // One that is not there is asked three times; then what waited is told of.
        let other = lab.udp(0);
        other.set_option(0, 11, &1i32.to_ne_bytes()).unwrap();
        other.try_connect(&at("10.0.0.77:9"), ME).unwrap();
        send(&other, b"x").unwrap();
        lab.take_seen();
        lab.run(sleeper, 4 * SECOND);
        assert_eq!(lab.take_seen().iter().filter(|frame| frame[12..14] == [8, 6]).count(), 2);
        assert_eq!(errno(receive(&other, 9)), Errno::EHOSTUNREACH);
        // Who goes by the router asks for the router.
        send_to(&client, b"x", "8.8.8.8:53").unwrap();
        let frames = lab.take_seen();
        assert_eq!(&frames[0][38..42], &[10, 0, 0, 254]);
        for host in 10..250 {
            for net in 0..9 {
                let _ = send_to(&client, &[1; 1000], &std::format!("10.0.0.{host}:{}", 1000 + net));
            }
        }
        let (entries, bytes) = lab.hosts[0].card.neighbour_figures();
        assert!(entries <= 1024 && bytes <= 512 << 10, "{entries} {bytes}");
    });
}
