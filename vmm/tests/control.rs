//! The VMM as the shim sees it: a process with a socket on descriptor 3. Needs a `/dev/kvm` that opens; what the guest
//! does there is not looked at, so one that only half works will do.

#![expect(unsafe_code, reason = "places the socket on descriptor 3 of the child")]

use chitin_proto::frame::{Decoder, Kind, encode};
use chitin_proto::vmm::{
    Access, CachePolicy, Card, Direction, EndReason, Event, MachineConfig, RateLimit, Reply, Request, Share,
    Stats,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

struct Vmm {
    child: Child,
    socket: Option<UnixStream>,
    decoder: Decoder,
    events: Vec<Event>,
    id: u32,
}

fn has_kvm() -> bool {
    let found = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if !found {
        eprintln!("skipped: no usable /dev/kvm");
    }
    found
}

impl Vmm {
    fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_chitin-vmm"));
        let number = theirs.as_raw_fd();
        // SAFETY: dup2 and fcntl are async-signal-safe; descriptor 3 of the child belongs to nobody yet.
        unsafe {
            command.pre_exec(move || {
                // A descriptor that is 3 already keeps its close-on-exec flag through dup2.
                if libc::dup2(number, 3) != 3 || libc::fcntl(3, libc::F_SETFD, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        Self { child, socket: Some(ours), decoder: Decoder::default(), events: Vec::new(), id: 0 }
    }

    fn socket(&self) -> &UnixStream {
        self.socket.as_ref().unwrap()
    }

    fn send(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) {
        self.id += 1;
        let bytes = encode(Kind::Request, self.id, request).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let sent =
            rustix::net::sendmsg(self.socket(), &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::empty());
        // A VMM that has ended is noticed by the missing reply.
        assert!(matches!(sent, Err(rustix::io::Errno::PIPE)) || sent == Ok(bytes.len()));
    }

    /// Reads until the reply with the last id; `None` at the end of the socket.
    fn reply(&mut self) -> Option<Reply> {
        loop {
            while let Some(frame) = self.decoder.next_frame().unwrap() {
                match frame.kind {
                    Kind::Reply if frame.id == self.id => return Some(frame.decode().unwrap()),
                    Kind::Event => self.events.push(frame.decode().unwrap()),
                    _ => panic!("unexpected {frame:?}"),
                }
            }
            let mut bytes = [0; 4096];
            match self.socket().read(&mut bytes) {
                Ok(0) => return None,
                Ok(n) => self.decoder.feed(&bytes[..n]),
                // It ended before it read our last request.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn ask(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Reply {
        self.send(request, descriptors);
        self.reply().expect("the VMM closed its socket")
    }

    fn done(&mut self, request: &Request) {
        assert_eq!(self.ask(request, &[]), Reply::Done, "{request:?}");
    }

    fn refused(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> String {
        match self.ask(request, descriptors) {
            Reply::Failed(text) => text,
            other => panic!("{request:?} got {other:?}"),
        }
    }

    /// Counters; `None` when the machine has ended.
    fn stats(&mut self) -> Option<Stats> {
        self.send(&Request::Stats, &[]);
        match self.reply()? {
            Reply::Stats(stats) => Some(stats),
            other => panic!("{other:?}"),
        }
    }

    fn exit_status(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the VMM does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config() -> MachineConfig {
    MachineConfig {
        version: chitin_proto::VERSION,
        cpus: 2,
        ram_bytes: 64 << 20,
        log_bytes_per_second: 1 << 20,
    }
}

fn share(name: &str) -> Request {
    Request::AttachShare(Share {
        name: name.to_owned(),
        access: Access::ReadOnly,
        policy: CachePolicy::Immutable,
    })
}

fn directory() -> OwnedFd {
    std::fs::File::open("/").unwrap().into()
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let mut vmm = Vmm::start();
    assert!(vmm.refused(&Request::Start, &[]).contains("blank"));
    assert!(vmm.refused(&share("s"), &[]).contains("without its descriptor"));
    let root = directory();
    let stream = Request::AttachStream { port: 1, direction: Direction::Both };
    assert!(vmm.refused(&stream, &[root.as_fd()]).contains("blank"));
    for (config, word) in [
        (MachineConfig { version: 999, ..config() }, "version 999"),
        (MachineConfig { cpus: 0, ..config() }, "0 CPUs"),
        (MachineConfig { cpus: 1000, ..config() }, "1000 CPUs"),
        (MachineConfig { ram_bytes: 1, ..config() }, "1 bytes"),
        (MachineConfig { ram_bytes: (64 << 20) + 4096, ..config() }, "multiple of 2 MiB"),
        (MachineConfig { ram_bytes: 1 << 60, ..config() }, "256 GiB"),
    ] {
        let text = vmm.refused(&Request::Configure(config), &[]);
        assert!(text.contains(word), "{text}");
    }
    for name in ["", ".", "..", "a/b", &"x".repeat(65)] {
        assert!(vmm.refused(&share(name), &[root.as_fd()]).contains("cannot be the name"));
    }
    assert_eq!(vmm.ask(&share("s"), &[root.as_fd()]), Reply::Done);
    assert!(vmm.refused(&share("s"), &[root.as_fd()]).contains("exists"));
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(vmm.refused(&share("n"), &[null.as_fd()]).contains("neither a directory"));
    vmm.done(&Request::DetachShare { name: "s".to_owned() });
    let gone = Request::DetachShare { name: "s".to_owned() };
    assert!(vmm.refused(&gone, &[]).contains("does not exist"));
    let card = |mac, mtu| Request::AttachNetwork(Card { mac, mtu, limit: RateLimit::default() });
    assert!(vmm.refused(&card([2; 6], 1500), &[]).contains("without its descriptor"));
    assert!(vmm.refused(&card([2; 6], 1500), &[null.as_fd()]).contains("not that of a TAP"));
    assert!(vmm.refused(&card([3; 6], 1500), &[null.as_fd()]).contains("hardware address"));
    assert!(vmm.refused(&card([0; 6], 1500), &[null.as_fd()]).contains("hardware address"));
    assert!(vmm.refused(&card([2; 6], 67), &[null.as_fd()]).contains("MTU of 67"));
    vmm.done(&Request::Stop);
    assert!(vmm.exit_status().success());
}

#[test]
fn garbage_ends_the_process() {
    for bytes in [vec![0xff; 64], vec![4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]] {
        let mut vmm = Vmm::start();
        std::io::Write::write_all(&mut vmm.socket(), &bytes).unwrap();
        assert_eq!(vmm.exit_status().code(), Some(1));
    }
}

#[test]
fn a_machine_lives_and_stops() {
    if !has_kvm() {
        return;
    }
    let mut vmm = Vmm::start();
    vmm.done(&Request::Configure(config()));
    assert!(vmm.refused(&Request::Configure(config()), &[]).contains("attached"));
    let root = directory();
    assert_eq!(vmm.ask(&share("root"), &[root.as_fd()]), Reply::Done);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let control = Request::AttachStream { port: 1, direction: Direction::Both };
    assert_eq!(vmm.ask(&control, &[theirs.as_fd()]), Reply::Done);
    assert!(vmm.refused(&control, &[theirs.as_fd()]).contains("port 1"));
    assert!(vmm.refused(&Request::Pause, &[]).contains("attached"));
    vmm.done(&Request::Start);
    // The guest may have ended by itself by now; if so the socket says it.
    vmm.send(&Request::Pause, &[]);
    if let Some(Reply::Done) = vmm.reply()
        && let Some(before) = vmm.stats()
    {
        std::thread::sleep(Duration::from_millis(50));
        if let Some(after) = vmm.stats() {
            // Going to sleep costs the thread some microseconds after its answer.
            let used = after.vcpu_ns - before.vcpu_ns;
            assert!(used < 2_000_000, "a paused vCPU used {used} ns");
            assert!(vmm.refused(&Request::Pause, &[]).contains("paused"));
            vmm.done(&Request::Resume);
            vmm.send(&Request::Stop, &[]);
            assert!(matches!(vmm.reply(), Some(Reply::Done) | None));
        }
    }
    assert!(vmm.exit_status().success());
    drop(ours);
}

#[test]
fn a_closed_socket_ends_the_machine() {
    if !has_kvm() {
        return;
    }
    for start in [false, true] {
        let mut vmm = Vmm::start();
        vmm.done(&Request::Configure(config()));
        if start {
            vmm.done(&Request::Start);
        }
        vmm.socket = None;
        assert!(vmm.exit_status().success());
    }
}

#[test]
fn an_end_is_told_before_the_socket_closes() {
    if !has_kvm() {
        return;
    }
    // Without a control stream the sentry has nobody to serve; it may end or wait. Either way events stay decodable.
    let mut vmm = Vmm::start();
    vmm.done(&Request::Configure(config()));
    vmm.done(&Request::Start);
    vmm.socket().set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut bytes = [0; 4096];
    while let Ok(n) = vmm.socket().read(&mut bytes) {
        if n == 0 {
            while let Some(frame) = vmm.decoder.next_frame().unwrap() {
                vmm.events.push(frame.decode().unwrap());
            }
            let last = vmm.events.last().expect("an event before the end");
            assert!(matches!(last, Event::Ended(reason) if *reason != EndReason::Stopped), "{last:?}");
            assert!(vmm.exit_status().success());
            return;
        }
        vmm.decoder.feed(&bytes[..n]);
    }
}
