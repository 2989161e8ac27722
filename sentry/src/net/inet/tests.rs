use super::*;
use crate::mm::Budget;
use crate::net::Address;
use crate::net::socket::{MsgFlags, Outgoing, Shutdown, Ucred};
use crate::platform::hosted;
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, Stop};
use std::net::SocketAddr;
use std::string::ToString;
use std::vec;

const ME: Ucred = Ucred { pid: 7, uid: 1000, gid: 1000 };
const ALL: PollMask = PollMask::all();

fn maker() -> Maker {
    Maker {
        creds: ME,
        budget: Budget::root().child(100_000),
        raw: Privilege::Granted,
        admin: Privilege::Granted,
    }
}

/// Runs a test with a fresh namespace, apart from tests that count frames or time.
fn check(test: fn(&Stack)) {
    hosted::for_seeds(1, move |_| test(&Stack::new()));
}

fn open(stack: &Stack, family: u16, kind: SocketType) -> Arc<dyn Socket> {
    stack.socket(family, kind, 0, maker()).unwrap()
}

fn tcp(stack: &Stack) -> Arc<dyn Socket> {
    open(stack, AF_INET, SocketType::Stream)
}

fn udp(stack: &Stack) -> Arc<dyn Socket> {
    open(stack, AF_INET, SocketType::Datagram)
}

fn at(text: &str) -> Address {
    Address::Inet(text.parse::<SocketAddr>().unwrap())
}

fn send(socket: &Arc<dyn Socket>, bytes: &[u8]) -> Result<usize, Stop> {
    socket.try_send(&mut IoReader::kernel(bytes), &mut Outgoing::default())
}

fn send_to(socket: &Arc<dyn Socket>, bytes: &[u8], to: Address) -> Result<usize, Stop> {
    socket.try_send(&mut IoReader::kernel(bytes), &mut Outgoing { to: Some(to), ..Outgoing::default() })
}

fn receive(socket: &Arc<dyn Socket>, len: usize) -> Result<Vec<u8>, Stop> {
    let mut bytes = vec![0; len];
    let got = socket.try_receive(&mut IoWriter::kernel(&mut bytes), MsgFlags::empty())?.len;
    bytes.truncate(got);
    Ok(bytes)
}

fn connect(socket: &Arc<dyn Socket>, to: &Address) -> Result<(), Stop> {
    match socket.try_connect(to, ME) {
        Err(Stop::WouldBlock) => socket.try_connect(to, ME),
        other => other,
    }
}

fn listener(stack: &Stack, address: &str, backlog: usize) -> (Arc<dyn Socket>, Address) {
    let socket = tcp(stack);
    socket.bind(&at(address)).unwrap();
    socket.listen(backlog, ME).unwrap();
    let local = socket.local();
    (socket, local)
}

/// A connection: what connected, what was accepted, and the listener.
fn pair(stack: &Stack) -> (Arc<dyn Socket>, Arc<dyn Socket>, Arc<dyn Socket>) {
    let (listener, to) = listener(stack, "127.0.0.1:0", 5);
    let client = tcp(stack);
    connect(&client, &to).unwrap();
    let server = listener.try_accept().unwrap();
    (client, server, listener)
}

fn errno<T: std::fmt::Debug>(result: Result<T, Stop>) -> Errno {
    match result.unwrap_err() {
        Stop::Errno(errno) => errno,
        other => panic!("{other:?}"),
    }
}

#[test]
fn connections_carry_bytes_and_end_in_halves() {
    check(|stack| {
        let (client, server, _listener) = pair(stack);
        assert_eq!(client.peer().unwrap().to_bytes(), server.local().to_bytes());
        assert_eq!(server.peer().unwrap().to_bytes(), client.local().to_bytes());
        assert_eq!(receive(&server, 5), Err(Stop::WouldBlock));
        assert_eq!(send(&client, b"hello"), Ok(5));
        assert_eq!(receive(&server, 3).unwrap(), b"hel");
        assert_eq!(client.poll(None), PollMask::OUT | PollMask::WRNORM);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receive(&server, 9).unwrap(), b"lo");
        assert_eq!(receive(&server, 9).unwrap(), b"");
        let ended = PollMask::IN | PollMask::RDNORM | PollMask::RDHUP | PollMask::OUT | PollMask::WRNORM;
        assert_eq!(server.poll(None), ended);
        assert_eq!(send(&server, b"back"), Ok(4));
        assert_eq!(errno(send(&client, b"x")), Errno::EPIPE);
        server.released();
        assert_eq!(receive(&client, 9).unwrap(), b"back");
        assert_eq!(receive(&client, 9).unwrap(), b"");
        assert_eq!(client.poll(None) & PollMask::HUP, PollMask::HUP);
        assert_eq!(client.shutdown(Shutdown::Both), Err(Errno::ENOTCONN));
    });
}

#[test]
fn much_goes_through_and_a_full_connection_stops() {
    check(|stack| {
        let (client, server, _listener) = pair(stack);
        let data: Vec<u8> = (0..6_000_000u32).map(|at| at.to_le_bytes()[1]).collect();
        let mut from = IoReader::kernel(&data);
        let mut got = vec![];
        loop {
            match client.try_send(&mut from, &mut Outgoing::default()) {
                Ok(_) => {}
                Err(Stop::WouldBlock) => {
                    assert!(!client.poll(None).contains(PollMask::OUT));
                    assert!(from.done() > 500_000);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        while let Ok(part) = receive(&server, 100_000) {
            got.extend(part);
            let _ = client.try_send(&mut from, &mut Outgoing::default());
            if from.remaining() == 0 && got.len() == data.len() {
                break;
            }
        }
        assert!(got == data);
        assert!(client.poll(None).contains(PollMask::OUT));
    });
}

#[test]
fn nobody_listening_is_refused_and_unread_bytes_are_a_reset() {
    check(|stack| {
        let client = tcp(stack);
        assert_eq!(client.poll(None), PollMask::OUT | PollMask::WRNORM | PollMask::HUP);
        assert_eq!(client.try_connect(&at("127.0.0.1:9"), ME), Err(Stop::WouldBlock));
        assert!(client.poll(None).contains(PollMask::ERR | PollMask::HUP | PollMask::IN | PollMask::OUT));
        assert_eq!(errno(client.try_connect(&at("127.0.0.1:9"), ME)), Errno::ECONNREFUSED);
        assert_eq!(errno(connect(&client, &at("10.0.0.1:9"))), Errno::ENETUNREACH);
        let (client, server, _listener) = pair(stack);
        send(&client, b"unread").unwrap();
        send(&server, b"before").unwrap();
        server.released();
        assert!(client.poll(None).contains(PollMask::ERR | PollMask::HUP | PollMask::RDHUP));
        assert_eq!(receive(&client, 9).unwrap(), b"before");
        assert_eq!(errno(receive(&client, 9)), Errno::ECONNRESET);
        assert_eq!(receive(&client, 9).unwrap(), b"");
        assert_eq!(errno(send(&client, b"x")), Errno::EPIPE);
        let (client, server, _listener) = pair(stack);
        server.released();
        assert_eq!(send(&client, b"first"), Ok(5), "nothing is known of the end but FIN");
        assert_eq!(errno(send(&client, b"second")), Errno::EPIPE);
        assert_eq!(receive(&client, 9).unwrap(), b"");
        let (client, server, _listener) = pair(stack);
        client.set_option(1, 13, &[1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        client.released();
        assert_eq!(errno(receive(&server, 9)), Errno::ECONNRESET);
    });
}

#[test]
fn a_full_backlog_makes_connects_wait() {
    check(|stack| {
        let (listener, to) = listener(stack, "127.0.0.1:0", 1);
        let clients: Vec<_> = (0..4).map(|_| tcp(stack)).collect();
        assert_eq!(connect(&clients[0], &to), Ok(()));
        assert_eq!(connect(&clients[1], &to), Ok(()));
        assert_eq!(connect(&clients[2], &to), Err(Stop::WouldBlock));
        assert_eq!(connect(&clients[3], &to), Err(Stop::WouldBlock));
        assert!(clients[2].poll(None).is_empty());
        listener.try_accept().unwrap();
        assert!(clients[2].poll(None).contains(PollMask::OUT));
        assert_eq!(connect(&clients[2], &to), Ok(()));
        listener.released();
        assert_eq!(errno(connect(&clients[3], &to)), Errno::ECONNREFUSED);
        assert_eq!(errno(receive(&clients[1], 1)), Errno::ECONNRESET);
    });
}

#[test]
fn ports_are_shared_as_options_say() {
    check(|stack| {
        let (first, to) = listener(stack, "127.0.0.1:0", 1);
        let other = tcp(stack);
        assert_eq!(other.bind(&to), Err(Errno::EADDRINUSE));
        other.set_option(1, 2, &1i32.to_ne_bytes()).unwrap();
        assert_eq!(other.bind(&to), Err(Errno::EADDRINUSE));
        first.set_option(1, 2, &1i32.to_ne_bytes()).unwrap();
        assert_eq!(other.bind(&to), Err(Errno::EADDRINUSE), "it listens");
        let client = tcp(stack);
        connect(&client, &to).unwrap();
        let server = first.try_accept().unwrap();
        first.released();
        server.released();
        client.released();
        assert_eq!(tcp(stack).bind(&to), Err(Errno::EADDRINUSE), "the server ended it first");
        assert_eq!(other.bind(&to), Ok(()));
        assert!(stack.report("tcp").unwrap().contains(" 06 "));
        let shared = |stack: &Stack| {
            let socket = udp(stack);
            socket.set_option(1, 15, &1i32.to_ne_bytes()).unwrap();
            socket
        };
        let one = shared(stack);
        one.bind(&at("127.0.0.1:5000")).unwrap();
        assert_eq!(udp(stack).bind(&at("0.0.0.0:5000")), Err(Errno::EADDRINUSE));
        assert_eq!(shared(stack).bind(&at("127.0.0.1:5000")), Ok(()));
        assert_eq!(udp(stack).bind(&at("127.0.0.2:5000")), Ok(()));
        assert_eq!(udp(stack).bind(&at("10.1.1.1:5000")), Err(Errno::EADDRNOTAVAIL));
    });
}

#[test]
fn both_families_meet_at_a_dual_listener() {
    check(|stack| {
        let listener = open(stack, AF_INET6, SocketType::Stream);
        listener.bind(&at("[::]:8080")).unwrap();
        listener.listen(5, ME).unwrap();
        assert_eq!(tcp(stack).bind(&at("0.0.0.0:8080")), Err(Errno::EADDRINUSE));
        let client = tcp(stack);
        connect(&client, &at("127.0.0.1:8080")).unwrap();
        let server = listener.try_accept().unwrap();
        let Address::Inet(peer) = server.peer().unwrap() else { panic!() };
        assert!(peer.to_string().starts_with("[::ffff:127.0.0.1]:"));
        let client6 = open(stack, AF_INET6, SocketType::Stream);
        connect(&client6, &at("[::1]:8080")).unwrap();
        let Address::Inet(peer) = listener.try_accept().unwrap().peer().unwrap() else { panic!() };
        assert!(peer.to_string().starts_with("[::1]:"));
        let only = open(stack, AF_INET6, SocketType::Stream);
        only.set_option(41, 26, &1i32.to_ne_bytes()).unwrap();
        only.bind(&at("[::]:8081")).unwrap();
        assert_eq!(only.set_option(41, 26, &0i32.to_ne_bytes()), Err(Errno::EINVAL));
        assert_eq!(tcp(stack).bind(&at("0.0.0.0:8081")), Ok(()));
    });
}

#[test]
fn datagrams_are_queued_refused_and_dropped() {
    check(|stack| {
        let server = udp(stack);
        server.bind(&at("127.0.0.1:53")).unwrap();
        let client = udp(stack);
        assert_eq!(errno(send(&client, b"x")), Errno::EDESTADDRREQ);
        assert_eq!(send_to(&client, b"question", at("127.0.0.1:53")), Ok(8));
        let mut bytes = [0; 4];
        let got = server.try_receive(&mut IoWriter::kernel(&mut bytes), MsgFlags::empty()).unwrap();
        assert_eq!((got.len, got.full_len, got.flags), (4, 8, MsgFlags::TRUNC));
        assert_eq!(got.from.unwrap().to_bytes()[2..], {
            let Address::Inet(local) = client.local() else { panic!() };
            at(&std::format!("127.0.0.1:{}", local.port())).to_bytes()[2..].to_vec()
        });
        client.try_connect(&at("127.0.0.1:54"), ME).unwrap();
        assert_eq!(send(&client, b"nobody"), Ok(6));
        assert!(client.poll(None).contains(PollMask::ERR));
        assert_eq!(errno(receive(&client, 9)), Errno::ECONNREFUSED);
        assert_eq!(errno(send_to(&client, b"x", at("8.8.8.8:53"))), Errno::ENETUNREACH);
        assert_eq!(errno(send_to(&client, b"x", at("127.255.255.255:53"))), Errno::EACCES);
        assert_eq!(errno(send_to(&client, &[0; 65_508], at("127.0.0.1:53"))), Errno::EMSGSIZE);
        let sent = (0..2000).filter(|_| send_to(&client, b"flood", at("127.0.0.1:53")).is_ok()).count();
        assert_eq!(sent, 2000);
        let taken = std::iter::from_fn(|| receive(&server, 9).ok()).count();
        assert!((100..500).contains(&taken), "{taken}");
        assert_eq!(server.poll(None) & ALL & PollMask::IN, PollMask::empty());
    });
}

#[test]
fn echo_requests_are_answered() {
    check(|stack| {
        let ping = stack.socket(AF_INET, SocketType::Datagram, ICMP, maker()).unwrap();
        assert_eq!(send_to(&ping, &[8, 0, 0, 0, 0, 0, 0, 1, 7, 7], at("127.0.0.1:0")), Ok(10));
        let reply = receive(&ping, 99).unwrap();
        assert_eq!((reply[0], reply[7], &reply[8..]), (0, 1, [7, 7].as_slice()));
        assert_eq!(packet::checksum(&[&reply]), 0);
        let raw = stack.socket(AF_INET, SocketType::Raw, ICMP, maker()).unwrap();
        assert_eq!(send_to(&raw, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0], at("127.0.0.1:0")), Ok(8));
        let (first, second) = (receive(&raw, 99).unwrap(), receive(&raw, 99).unwrap());
        assert_eq!((first.len(), first[20], second[20], second[9]), (28, 8, 0, 1));
        let six = stack.socket(AF_INET6, SocketType::Raw, ICMPV6, maker()).unwrap();
        assert_eq!(send_to(&six, &[128, 0, 0, 0, 0, 1, 0, 1], at("[::1]:0")), Ok(8));
        assert_eq!(receive(&six, 99).unwrap()[0], 128);
        assert_eq!(receive(&six, 99).unwrap()[0], 129);
        let denied = Maker { raw: Privilege::Denied, ..maker() };
        assert_eq!(stack.socket(AF_INET, SocketType::Raw, ICMP, denied).err(), Some(Errno::EPERM));
    });
}

#[test]
fn buffers_come_back_to_their_budget() {
    check(|stack| {
        let budget = Budget::root().child(64);
        let make =
            || stack.socket(AF_INET, SocketType::Stream, 0, Maker { budget: budget.clone(), ..maker() });
        let (server, client) = (make().unwrap(), make().unwrap());
        server.listen(1, ME).unwrap();
        let Address::Inet(local) = server.local() else { panic!() };
        let to = at(&std::format!("127.0.0.1:{}", local.port()));
        connect(&client, &to).unwrap();
        let accepted = server.try_accept().unwrap();
        assert!(send(&client, &[1; 1 << 20]).unwrap() <= 64 * 4096);
        assert_eq!(send(&client, b"x"), Err(Stop::WouldBlock));
        assert_eq!(budget.used(), 64);
        assert_eq!(receive(&accepted, 1 << 20).unwrap().len(), 64 * 4096);
        for socket in [&client, &accepted, &server] {
            socket.released();
        }
        drop((client, accepted, server));
        assert_eq!(budget.used(), 0);
    });
}

/// Everything that a packet socket has, without the link's header: kind, bytes.
fn captured(socket: &Arc<dyn Socket>) -> Vec<(u8, Vec<u8>)> {
    let mut all = vec![];
    let mut bytes = vec![0; 70_000];
    while let Ok(got) = socket.try_receive(&mut IoWriter::kernel(&mut bytes), MsgFlags::empty()) {
        let Some(Address::Link(from)) = got.from else { panic!("no address") };
        all.push((from.kind, bytes[..got.len].to_vec()));
    }
    all
}

fn packet_socket(stack: &Stack, kind: SocketType, protocol: u16) -> Arc<dyn Socket> {
    stack.socket(crate::net::address::AF_PACKET, kind, i32::from(protocol.to_be()), maker()).unwrap()
}

#[test]
fn packet_sockets_see_what_stays_here() {
    check(|stack| {
        assert!(!stack.is_observed());
        let all = packet_socket(stack, SocketType::Datagram, 3);
        let six = packet_socket(stack, SocketType::Datagram, 0x86dd);
        assert!(stack.is_observed());
        let (from, to) = (udp(stack), udp(stack));
        to.bind(&at("127.0.0.1:0")).unwrap();
        send_to(&from, b"hello", to.local()).unwrap();
        let seen = captured(&all);
        assert_eq!(seen.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [4, 0]);
        let packet = &seen[0].1;
        assert_eq!((packet[0], packet[9], &packet[28..]), (0x45, 17, &b"hello"[..]));
        assert_eq!(checksum::Sum::new().add(&packet[..20]).finish(), 0);
        assert!(captured(&six).is_empty());
        // A connection: its numbers run on, its checksums are right.
        let (client, server, _listener) = pair(stack);
        send(&client, b"abc").unwrap();
        receive(&server, 9).unwrap();
        send(&client, b"de").unwrap();
        client.released();
        server.released();
        let incoming = |(kind, bytes): (u8, Vec<u8>)| (kind == 0).then_some(bytes);
        let segments: Vec<Vec<u8>> = captured(&all).into_iter().filter_map(incoming).collect();
        let port = u16::from_be_bytes(segments[0][20..22].try_into().unwrap());
        let mut next = None;
        let mut data = vec![];
        for segment in &segments {
            let tcp = &segment[20..];
            let ends = [12, 16]
                .map(|at| std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&segment[at..at + 4]).unwrap()));
            let sum = checksum::Sum::pseudo(ends[0].into(), ends[1].into(), 6, tcp.len()).add(tcp).finish();
            assert_eq!(sum, 0);
            if u16::from_be_bytes([tcp[0], tcp[1]]) != port {
                continue;
            }
            let seq = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
            let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
            assert_eq!(next.unwrap_or(seq), seq, "{tcp:?}");
            next = Some(seq + payload.len() as u32 + u32::from(tcp[13] & 3 != 0));
            data.extend_from_slice(payload);
        }
        assert_eq!(data, b"abcde");
        all.released();
        six.released();
        assert!(!stack.is_observed());
    });
}

fn receive_urgent(socket: &Arc<dyn Socket>) -> Result<u8, Stop> {
    let mut byte = [0];
    socket.try_receive(&mut IoWriter::kernel(&mut byte), MsgFlags::OOB).map(|_| byte[0])
}

fn send_urgent(socket: &Arc<dyn Socket>, bytes: &[u8]) {
    let mut message = Outgoing { flags: MsgFlags::OOB, ..Outgoing::default() };
    assert_eq!(socket.try_send(&mut IoReader::kernel(bytes), &mut message), Ok(bytes.len()));
}

#[test]
fn urgent_bytes_go_apart() {
    check(|stack| {
        let (client, server, _listener) = pair(stack);
        assert_eq!(receive_urgent(&server), Err(Stop::Errno(Errno::EINVAL)));
        send_urgent(&client, b"abc");
        assert!(server.poll(None).contains(PollMask::PRI));
        assert_eq!(receive(&server, 9).unwrap(), b"ab");
        assert!(!server.poll(None).contains(PollMask::IN));
        assert_eq!(receive_urgent(&server), Ok(b'c'));
        assert_eq!(receive(&server, 9), Err(Stop::WouldBlock));
        send_urgent(&client, b"1");
        send(&client, b"23").unwrap();
        assert_eq!(receive(&server, 9).unwrap(), b"23");
        assert_eq!(receive_urgent(&server), Err(Stop::Errno(Errno::EINVAL)));
        server.set_option(1, 10, &1i32.to_ne_bytes()).unwrap();
        send_urgent(&client, b"xy");
        send(&client, b"z").unwrap();
        assert_eq!(receive(&server, 9).unwrap(), b"x");
        assert_eq!(receive(&server, 9).unwrap(), b"yz");
    });
}

#[test]
fn a_socket_connects_to_itself() {
    check(|stack| {
        let socket = tcp(stack);
        socket.bind(&at("127.0.0.1:0")).unwrap();
        let own = socket.local();
        connect(&socket, &own).unwrap();
        send(&socket, b"hello").unwrap();
        assert_eq!(receive(&socket, 9).unwrap(), b"hello");
        socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receive(&socket, 9).unwrap(), b"");
        socket.released();
        assert!(stack.tcp.connections().is_empty());
    });
}

#[test]
fn sources_of_groups_are_chosen() {
    check(|stack| {
        let (from, to) = (udp(stack), udp(stack));
        to.bind(&at("0.0.0.0:0")).unwrap();
        let Address::Inet(local) = to.local() else { panic!() };
        let group = at(&std::format!("239.1.2.3:{}", local.port()));
        let lo = [127, 0, 0, 1];
        from.set_option(0, 32, &lo).unwrap();
        let request = |source: [u8; 4]| [[239, 1, 2, 3], lo, source].concat();
        assert_eq!(to.set_option(0, 40, &request(lo)), Err(Errno::EINVAL));
        to.set_option(0, 39, &request([127, 0, 0, 9])).unwrap();
        send_to(&from, b"a", group.clone()).unwrap();
        assert_eq!(receive(&to, 9), Err(Stop::WouldBlock));
        to.set_option(0, 39, &request(lo)).unwrap();
        assert_eq!(to.set_option(0, 39, &request(lo)), Err(Errno::EADDRNOTAVAIL));
        send_to(&from, b"b", group.clone()).unwrap();
        assert_eq!(receive(&to, 9).unwrap(), b"b");
        to.set_option(0, 40, &request(lo)).unwrap();
        to.set_option(0, 40, &request([127, 0, 0, 9])).unwrap();
        assert_eq!(to.set_option(0, 38, &request(lo)), Err(Errno::EINVAL));
        to.set_option(0, 35, &[[239, 1, 2, 3], lo].concat()).unwrap();
        to.set_option(0, 38, &request(lo)).unwrap();
        send_to(&from, b"c", group).unwrap();
        assert_eq!(receive(&to, 9), Err(Stop::WouldBlock));
    });
}
