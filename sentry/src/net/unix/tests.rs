use super::*;
use crate::fs::FileBody;
use crate::net::SocketFile;
use crate::platform::hosted;
use std::vec;

const ME: Ucred = Ucred { pid: 7, uid: 1000, gid: 1000 };

fn send(socket: &Unix, bytes: &[u8]) -> Result<usize, Stop> {
    socket.try_send(&mut IoReader::kernel(bytes), &mut Outgoing { creds: ME, ..Outgoing::default() })
}

fn receive(socket: &Unix, len: usize) -> Result<Vec<u8>, Stop> {
    let mut bytes = vec![0; len];
    let got = socket.try_receive(&mut IoWriter::kernel(&mut bytes), MsgFlags::empty())?.len;
    bytes.truncate(got);
    Ok(bytes)
}

fn open(socket: Arc<Unix>) -> Arc<OpenFile> {
    OpenFile::new(FileBody::Stream(SocketFile::new(socket, ME), None), 2)
}

fn name(text: &str) -> Address {
    Address::Unix(Name::Abstract(text.as_bytes().to_vec()))
}

#[test]
fn streams_run_together_and_end() {
    hosted::install();
    let (one, other) = Unix::pair(SocketType::Stream, 0, ME);
    assert_eq!(receive(&other, 5), Err(Stop::WouldBlock));
    assert_eq!(send(&one, b"hello "), Ok(6));
    assert_eq!(send(&one, b"world"), Ok(5));
    assert_eq!(receive(&other, 3).unwrap(), b"hel");
    assert_eq!(receive(&other, 20).unwrap(), b"lo world");
    let data: Vec<u8> = (0..300_000u32).map(|at| at.to_le_bytes()[1]).collect();
    let sent = send(&one, &data).unwrap();
    assert!((200_000..300_000).contains(&sent));
    assert_eq!(send(&one, b"x"), Err(Stop::WouldBlock));
    assert!(!one.poll(None).contains(PollMask::OUT));
    let mut got = vec![];
    while let Ok(part) = receive(&other, 70_000) {
        got.extend(part);
    }
    assert_eq!(got, &data[..sent]);
    assert!(one.poll(None).contains(PollMask::OUT));
    one.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive(&other, 5), Ok(vec![]));
    assert_eq!(send(&one, b"x"), Err(Stop::Errno(Errno::EPIPE)));
    assert_eq!(send(&other, b"x"), Ok(1));
    other.released();
    assert_eq!(receive(&one, 5).unwrap(), b"x");
    assert_eq!(receive(&one, 5), Ok(vec![]));
    let all = PollMask::IN | PollMask::RDNORM | PollMask::RDHUP | PollMask::HUP;
    assert!(one.poll(None).contains(all));
}

#[test]
fn unread_bytes_at_close_are_a_reset() {
    hosted::install();
    let (one, other) = Unix::pair(SocketType::Stream, 0, ME);
    send(&one, b"x").unwrap();
    other.released();
    assert_eq!(receive(&one, 1), Err(Stop::Errno(Errno::ECONNRESET)));
    assert_eq!(receive(&one, 1), Ok(vec![]));
}

#[test]
fn datagrams_keep_their_borders() {
    hosted::install();
    let (server, client) = (Unix::new(SocketType::Datagram, 0), Unix::new(SocketType::Datagram, 0));
    server.bind(&name("datagrams")).unwrap();
    assert_eq!(client.bind(&name("datagrams")), Err(Errno::EADDRINUSE));
    assert_eq!(send(&client, b"x"), Err(Stop::Errno(Errno::ENOTCONN)));
    client.try_connect(&name("datagrams"), ME).unwrap();
    client.bind(&name("client")).unwrap();
    send(&client, b"first").unwrap();
    send(&client, b"second").unwrap();
    let mut bytes = [0; 3];
    let got = server.try_receive(&mut IoWriter::kernel(&mut bytes), MsgFlags::empty()).unwrap();
    assert_eq!((got.len, got.full_len, got.flags), (3, 5, MsgFlags::TRUNC));
    assert!(matches!(got.from, Some(Address::Unix(Name::Abstract(name))) if name == b"client"));
    assert_eq!(receive(&server, 9).unwrap(), b"second");
    for _ in 0..11 {
        assert_eq!(send(&client, b"x"), Ok(1));
    }
    assert_eq!(send(&client, b"x"), Err(Stop::WouldBlock));
    assert!(!client.poll(None).contains(PollMask::OUT));
    server.released();
    drop(server);
    assert_eq!(send(&client, b"x"), Err(Stop::Errno(Errno::ECONNREFUSED)));
}

#[test]
fn connections_wait_to_be_accepted() {
    hosted::install();
    let listener = Unix::new(SocketType::Stream, 0);
    assert_eq!(listener.listen(1, ME), Err(Errno::EINVAL));
    listener.bind(&name("listener")).unwrap();
    let client = Unix::new(SocketType::Stream, 0);
    assert_eq!(client.try_connect(&name("listener"), ME), Err(Stop::Errno(Errno::ECONNREFUSED)));
    listener.listen(0, Ucred { pid: 9, ..ME }).unwrap();
    client.try_connect(&name("listener"), ME).unwrap();
    send(&client, b"early").unwrap();
    let second = Unix::new(SocketType::Stream, 0);
    assert_eq!(second.try_connect(&name("listener"), ME), Err(Stop::WouldBlock));
    assert!(Socket::poll(&*listener, None).contains(PollMask::IN));
    let accepted = listener.accept().unwrap();
    assert_eq!(receive(&accepted, 9).unwrap(), b"early");
    assert_eq!(client.option(1, 17).unwrap(), Ucred { pid: 9, ..ME }.to_bytes());
    assert_eq!(accepted.option(1, 17).unwrap(), ME.to_bytes());
    second.try_connect(&name("listener"), ME).unwrap();
    accepted.released();
    assert_eq!(receive(&client, 9), Ok(vec![]));
    listener.released();
    assert_eq!(receive(&second, 9), Err(Stop::Errno(Errno::ECONNRESET)));
    assert_eq!(client.try_connect(&name("listener"), ME), Err(Stop::Errno(Errno::ECONNREFUSED)));
}

fn pass(socket: &Unix, files: Vec<Arc<OpenFile>>) -> Result<usize, Stop> {
    let mut message = Outgoing { rights: files, creds: ME, ..Outgoing::default() };
    socket.try_send(&mut IoReader::kernel(b"f"), &mut message)
}

#[test]
fn descriptors_travel_and_circles_are_collected() {
    hosted::install();
    let (one, other) = Unix::pair(SocketType::Stream, 0, ME);
    let (one_file, other_file) = (open(one.clone()), open(other.clone()));
    let (third, fourth) = Unix::pair(SocketType::Stream, 0, ME);
    let third_file = open(third.clone());
    assert_eq!(pass(&one, vec![third_file.clone()]), Ok(1));
    send(&one, b"after").unwrap();
    let mut bytes = [0; 9];
    let got = other.try_receive(&mut IoWriter::kernel(&mut bytes), MsgFlags::empty()).unwrap();
    assert_eq!((got.len, got.rights.len()), (1, 1));
    assert!(Arc::ptr_eq(&got.rights[0], &third_file));
    drop(got);
    assert_eq!(receive(&other, 9).unwrap(), b"after");

    // The third waits in the other's inbox, and the other in the third's.
    assert_eq!(pass(&one, vec![third_file.clone()]), Ok(1));
    assert_eq!(pass(&fourth, vec![other_file.clone()]), Ok(1));
    let (weak_other, weak_third) = (Arc::downgrade(&other_file), Arc::downgrade(&third_file));
    drop(third_file);
    rights::collect();
    assert!(weak_third.upgrade().is_some(), "the other can still be read");
    drop(other_file);
    drop(one_file);
    // Another test's thread may be collecting: it looks once more then.
    let gone = || weak_other.strong_count() == 0 && weak_third.strong_count() == 0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !gone() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(gone());
}
