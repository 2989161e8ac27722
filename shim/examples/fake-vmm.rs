//! A stand-in for `chitin-vmm` with no virtual machine: it speaks the protocols of VMM and sentry, and runs the
//! processes of "containers" on the host. Tests of the shim use it where no KVM works.
//!
//! `FAKE_VMM` in the environment asks for faults: `no-kvm` refuses to configure, `die-in-create` exits during the first
//! creation, `old-guest` tells another version, `panic-in-start` ends with a panic report.

use chitin_proto::frame::{Decoder, Frame, Kind, encode};
use chitin_proto::{VERSION, control, vmm};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Serialize;
use std::collections::HashMap;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio, exit};
use std::sync::{Arc, Mutex};

type Shared = Arc<Mutex<State>>;

struct State {
    vmm: UnixStream,
    control: Option<UnixStream>,
    streams: HashMap<u32, OwnedFd>,
    /// Not started yet.
    created: HashMap<String, control::ProcessSpec>,
    pids: HashMap<(String, Option<String>), u32>,
    shares: Vec<String>,
    fault: String,
}

fn send<T: Serialize>(mut to: &UnixStream, kind: Kind, id: u32, message: &T) {
    // The shim may be gone already.
    let _ = to.write_all(&encode(kind, id, message).unwrap());
}

fn main() {
    // SAFETY: descriptor 3 is the control socket by contract, and nothing else in this program owns it.
    #[expect(unsafe_code, reason = "an inherited descriptor")]
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(3) });
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).unwrap();
    let state = Arc::new(Mutex::new(State {
        vmm: socket.try_clone().unwrap(),
        control: None,
        streams: HashMap::new(),
        created: HashMap::new(),
        pids: HashMap::new(),
        shares: Vec::new(),
        fault: std::env::var("FAKE_VMM").unwrap_or_default(),
    }));
    eprintln!("fake vmm is up");
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 4096];
    let mut descriptors = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&socket, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC);
        let length = received.map_or(0, |received| received.bytes);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if length == 0 {
            end(&state, 0);
        }
        decoder.feed(&buffer[..length]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            serve_vmm(&state, &frame, &mut descriptors);
        }
    }
}

fn serve_vmm(state: &Shared, frame: &Frame, descriptors: &mut Vec<OwnedFd>) {
    let mut guard = state.lock().unwrap();
    let reply = match frame.decode().unwrap() {
        vmm::Request::Configure(config) if config.version != VERSION => {
            vmm::Reply::Failed(format!("protocol version {}", config.version))
        }
        vmm::Request::Configure(_) if guard.fault == "no-kvm" => {
            vmm::Reply::Failed("open /dev/kvm: No such file or directory".to_owned())
        }
        vmm::Request::AttachShare(share) => {
            descriptors.remove(0);
            guard.shares.push(share.name);
            vmm::Reply::Done
        }
        vmm::Request::AttachNetwork(_) | vmm::Request::AttachBlock(_) => {
            descriptors.remove(0);
            vmm::Reply::Done
        }
        vmm::Request::DetachBlock { .. } => vmm::Reply::Done,
        vmm::Request::DetachShare { name } => {
            guard.shares.retain(|share| *share != name);
            vmm::Reply::Done
        }
        vmm::Request::AttachStream { port, .. } => {
            let descriptor = descriptors.remove(0);
            guard.streams.insert(port, descriptor);
            vmm::Reply::Done
        }
        vmm::Request::DetachStream { port } => {
            guard.streams.remove(&port);
            vmm::Reply::Done
        }
        vmm::Request::Start => {
            let control = UnixStream::from(guard.streams.remove(&1).unwrap());
            guard.control = Some(control.try_clone().unwrap());
            let state = Arc::clone(state);
            std::thread::spawn(move || sentry(&state, control));
            let line = vmm::Event::Log("fake guest boots\n".to_owned());
            send(&guard.vmm, Kind::Event, 0, &line);
            vmm::Reply::Done
        }
        vmm::Request::Stats => vmm::Reply::Stats(vmm::Stats::default()),
        vmm::Request::Stop => {
            send(&guard.vmm, Kind::Reply, frame.id, &vmm::Reply::Done);
            let ended = vmm::Event::Ended(vmm::EndReason::Stopped);
            send(&guard.vmm, Kind::Event, 0, &ended);
            drop(guard);
            end(state, 0);
        }
        _ => vmm::Reply::Done,
    };
    send(&guard.vmm, Kind::Reply, frame.id, &reply);
}

/// Kills every "container" and exits.
fn end(state: &Shared, status: i32) -> ! {
    let guard = state.lock().unwrap();
    for pid in guard.pids.values() {
        kill(*pid, 9);
    }
    exit(status)
}

fn kill(pid: u32, signal: u32) {
    let _ = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
}

fn sentry(state: &Shared, mut control: UnixStream) {
    let version = if state.lock().unwrap().fault == "old-guest" { VERSION + 1 } else { VERSION };
    send(&control, Kind::Event, 0, &control::Event::Ready { version });
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 4096];
    while let Ok(length @ 1..) = control.read(&mut buffer) {
        decoder.feed(&buffer[..length]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            let reply = serve_sentry(state, frame.decode().unwrap());
            send(&control, Kind::Reply, frame.id, &reply);
        }
    }
}

fn serve_sentry(state: &Shared, request: control::Request) -> control::Reply {
    use control::Request;
    let failed = |errno, message: &str| control::Reply::Failed { errno, message: message.into() };
    let mut guard = state.lock().unwrap();
    match request {
        Request::CreateContainer(spec) => {
            if guard.fault == "die-in-create" {
                exit(3);
            }
            if spec.root.shares.iter().any(|share| !guard.shares.contains(share)) {
                return failed(2, "a share of the root file system is not attached");
            }
            if spec.process.args[0] == "missing-program" {
                return failed(2, "exec missing-program: not found in PATH");
            }
            guard.created.insert(spec.id, spec.process);
            control::Reply::Process { pid: 1 }
        }
        Request::StartContainer { id } => {
            if guard.fault == "panic-in-start" {
                let reason = vmm::EndReason::Panic("index out of range at mm.rs:7".to_owned());
                send(&guard.vmm, Kind::Event, 0, &vmm::Event::Ended(reason));
                exit(0);
            }
            let Some(process) = guard.created.remove(&id) else { return failed(3, "no such container") };
            run(state, &mut guard, id, None, &process)
        }
        Request::Exec { id, exec_id, process } => run(state, &mut guard, id, Some(exec_id), &process),
        Request::Signal { id, exec_id, signal, .. } => match guard.pids.get(&(id, exec_id)) {
            Some(pid) => {
                kill(*pid, signal);
                control::Reply::Done
            }
            None => failed(3, "no such process"),
        },
        Request::Pids { id } => {
            let pids = guard.pids.iter().filter(|((owner, _), _)| *owner == id);
            control::Reply::Pids(pids.map(|(_, pid)| *pid).collect())
        }
        Request::Stats { .. } => control::Reply::Stats(control::Stats::default()),
        _ => control::Reply::Done,
    }
}

fn run(
    state: &Shared,
    guard: &mut State,
    id: String,
    exec_id: Option<String>,
    process: &control::ProcessSpec,
) -> control::Reply {
    let mut take = |port: Option<u32>| match port.and_then(|port| guard.streams.remove(&port)) {
        Some(stream) => {
            // The host's programs want streams that block.
            let _ = rustix::io::ioctl_fionbio(&stream, false);
            Stdio::from(stream)
        }
        None => Stdio::null(),
    };
    let (stdin, stdout, stderr, outputs) = match process.stdio {
        control::Stdio::Null => (Stdio::null(), Stdio::null(), Stdio::null(), vec![]),
        control::Stdio::Streams { stdin, stdout, stderr } => {
            let outputs = stdout.into_iter().chain(stderr).collect();
            (take(stdin), take(stdout), take(stderr), outputs)
        }
        control::Stdio::Terminal { port, .. } => {
            let stream = guard.streams.remove(&port).unwrap();
            let copy = || Stdio::from(stream.try_clone().unwrap());
            (copy(), copy(), copy(), vec![port])
        }
    };
    let mut command = Command::new(&process.args[0]);
    command.args(&process.args[1..]).stdin(stdin).stdout(stdout).stderr(stderr);
    // Containers end with their VMM, however it ends.
    // SAFETY: between fork and exec only one system call is made.
    #[expect(unsafe_code, reason = "a call between fork and exec")]
    unsafe {
        command.pre_exec(|| {
            let kill = Some(rustix::process::Signal::KILL);
            Ok(rustix::process::set_parent_process_death_signal(kill)?)
        });
    }
    let child = command.spawn();
    match child {
        Ok(child) => {
            let pid = child.id();
            guard.pids.insert((id.clone(), exec_id.clone()), pid);
            let state = Arc::clone(state);
            std::thread::spawn(move || watch(&state, child, id, exec_id, &outputs));
            control::Reply::Process { pid }
        }
        Err(error) => control::Reply::Failed {
            errno: error.raw_os_error().unwrap_or(5),
            message: format!("exec {}: {error}", process.args[0]),
        },
    }
}

fn watch(state: &Shared, mut child: Child, id: String, exec_id: Option<String>, outputs: &[u32]) {
    let status = child.wait().unwrap();
    let mut guard = state.lock().unwrap();
    guard.pids.remove(&(id.clone(), exec_id.clone()));
    for port in outputs {
        send(&guard.vmm, Kind::Event, 0, &vmm::Event::StreamClosed { port: *port });
    }
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let status = u32::try_from(code).unwrap();
    let exited = control::Event::Exited { id, exec_id, status, at_ns: 1_700_000_000_000_000_000 };
    send(guard.control.as_ref().unwrap(), Kind::Event, 0, &exited);
}
