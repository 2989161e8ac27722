use super::*;
use crate::mm::Budget;
use crate::net::inet::Stack;
use crate::platform::hosted;

fn maker() -> Maker {
    Maker {
        creds: Ucred { pid: 7, uid: 0, gid: 0 },
        budget: Budget::root().child(1000),
        raw: Privilege::Granted,
        admin: Privilege::Denied,
    }
}

fn ask(kind: u16, flags: u16, body: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let stack = Stack::new();
    let socket = stack.socket(AF_NETLINK, SocketType::Raw, ROUTE, maker()).unwrap();
    let header = Header { len: HEADER + body.len(), kind, flags, sequence: 5, port: 0 };
    let request = [header.to_bytes(), body.to_vec()].concat();
    let mut reader = IoReader::kernel(&request);
    assert_eq!(socket.try_send(&mut reader, &mut Outgoing::default()), Ok(request.len()));
    let mut found = Vec::new();
    let mut bytes = alloc::vec![0; 16384];
    while let Ok(incoming) = socket.try_receive(&mut IoWriter::kernel(&mut bytes), MsgFlags::empty()) {
        let mut rest = &bytes[..incoming.len];
        while let Some(header) = Header::read(rest) {
            assert_eq!((header.sequence, header.port), (5, 7));
            found.push((header, rest[HEADER..header.len].to_vec()));
            rest = &rest[header.len.next_multiple_of(4)..];
        }
    }
    found
}

#[test]
fn dumps_tell_of_loopback() {
    hosted::for_seeds(1, |_| {
        let links = ask(route::GET_LINK, REQUEST | 0x300, &[0; 16]);
        assert_eq!(links.iter().map(|(header, _)| header.kind).collect::<Vec<_>>(), [route::NEW_LINK, DONE]);
        let found = message::attributes(&links[0].1[16..]);
        assert!(found.contains(&(3, b"lo\0".as_slice())));
        let addresses = ask(22, REQUEST | 0x300, &[0; 8]);
        assert_eq!(addresses.len(), 3);
        assert!(message::attributes(&addresses[0].1[8..]).contains(&(1, [127, 0, 0, 1].as_slice())));
        assert_eq!(ask(26, REQUEST | 0x300, &[0; 12]).len(), 6);
    });
}

#[test]
fn changes_take_a_privilege_and_bad_requests_are_told() {
    hosted::for_seeds(1, |_| {
        let errors = ask(20, REQUEST | ACK, &[0; 8]);
        assert_eq!(errors[0].1[..4], (-1i32).to_ne_bytes());
        let unknown = ask(18, REQUEST, &[[0; 4], 9u32.to_ne_bytes(), [0; 4], [0; 4]].concat());
        assert_eq!(unknown[0].1[..4], (-19i32).to_ne_bytes());
        assert!(Header::read(&[1, 2, 3]).is_none());
        assert!(message::attributes(&[255, 255, 1, 0, 2]).is_empty());
        assert!(message::attributes(&[0; 64]).is_empty());
    });
}
