//! What a hostile client gets.

use super::*;
use chitin_proto::fuse::*;
use std::os::unix::fs::symlink;

#[test]
fn bad_headers_end_the_sandbox() {
    let mut client = Client::new(Access::ReadWrite);
    for len in [0, 1, 39] {
        assert!(client.raw(&[&vec![0; len]], &[64]).is_err());
    }
    for claimed in [0, 39, 41, u32::MAX] {
        let header = InHeader { len: claimed, opcode: opcode::GETATTR, ..InHeader::default() };
        assert!(client.raw(&[header.as_bytes()], &[64]).is_err());
    }
    let header = client.header(opcode::GETATTR, 1, 0);
    for rooms in [[].as_slice(), &[15]] {
        assert!(client.raw(&[header.as_bytes()], rooms).is_err());
    }
}

#[test]
fn no_operation_with_any_garbage_does_harm() {
    let mut client = Client::new(Access::ReadWrite);
    std::fs::write(client.scratch.path("f"), "data").unwrap();
    let root = client.root();
    let file = client.lookup(root, "f").unwrap().node;
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let operation = u32::try_from(random() % 60).unwrap();
        let node = [0, ROOT_ID, root, file, 99, u64::MAX][usize::try_from(random() % 6).unwrap()];
        let len = usize::try_from(random() % 120).unwrap();
        let body: Vec<u8> = (0..len)
            .map(|_| match random() % 4 {
                0 => 0,
                1 => 0xff,
                2 => b'/',
                _ => random().to_le_bytes()[0],
            })
            .collect();
        let header = client.header(operation, node, len);
        let room = u32::try_from(random() % 300).unwrap();
        client.raw(&[header.as_bytes(), &body], &[16, room]).unwrap();
    }
    // Nothing above the share was reached, and the share is still a directory of plain things.
    for entry in std::fs::read_dir(&client.scratch.0).unwrap() {
        let kind = entry.unwrap().file_type().unwrap();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink());
    }
}

#[test]
fn names_do_not_lead_out() {
    let mut client = Client::new(Access::ReadWrite);
    symlink("/", client.scratch.path("abs")).unwrap();
    symlink("..", client.scratch.path("up")).unwrap();
    let root = client.root();
    for name in ["..", ".", "", "/", "a/b", "../x"] {
        assert_eq!(client.lookup(root, name).unwrap_err(), libc::EINVAL, "{name:?}");
        assert_eq!(client.lookup(ROOT_ID, name).unwrap_err(), libc::EINVAL, "{name:?}");
    }
    assert_eq!(client.lookup(root, &"x".repeat(256)).unwrap_err(), libc::ENAMETOOLONG);
    for name in ["abs", "up"] {
        let link = client.lookup(root, name).unwrap();
        assert_eq!(link.attr.mode & libc::S_IFMT, libc::S_IFLNK);
        assert_eq!(client.lookup(link.node, "etc").unwrap_err(), libc::ENOTDIR);
        let open = OpenIn::default();
        assert_eq!(client.call(opcode::OPENDIR, link.node, &[open.as_bytes()], 16).unwrap_err(), libc::ELOOP);
        let wish = SetattrIn { valid: setattr::MODE, mode: 0o777, ..SetattrIn::default() };
        let chmod = client.call(opcode::SETATTR, link.node, &[wish.as_bytes()], 104);
        assert_eq!(chmod.unwrap_err(), libc::EOPNOTSUPP);
        let create = CreateIn { flags: 1, mode: 0o644, ..CreateIn::default() };
        let body = [create.as_bytes(), name.as_bytes(), b"\0"].concat();
        assert!(client.call(opcode::CREATE, root, &[&body], 256).is_err());
    }
    let rename = Rename2In { newdir: root, ..Rename2In::default() };
    for names in ["up\0../x\0", "../x\0up\0", "up\0\0", "up", "up\0x"] {
        let body = [rename.as_bytes(), names.as_bytes()];
        assert_eq!(client.call(opcode::RENAME2, root, &body, 0).unwrap_err(), libc::EINVAL, "{names:?}");
    }
    let missing_end = client.call(opcode::LOOKUP, root, &[b"up"], 256);
    assert_eq!(missing_end.unwrap_err(), libc::EINVAL);
}

#[test]
fn special_files_are_shown_but_never_opened() {
    let mut client = Client::new(Access::ReadWrite);
    let fifo = client.scratch.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o666), 0)
        .unwrap();
    let socket = std::os::unix::net::UnixListener::bind(client.scratch.path("socket")).unwrap();
    let root = client.root();
    for (name, kind) in [("fifo", libc::S_IFIFO), ("socket", libc::S_IFSOCK)] {
        let entry = client.lookup(root, name).unwrap();
        assert_eq!(entry.attr.mode & libc::S_IFMT, kind);
        for flags in [0, 1, 2] {
            let open = OpenIn { flags, open_flags: 0 };
            // A blocking open of the FIFO would hang here.
            let answer = client.call(opcode::OPEN, entry.node, &[open.as_bytes()], 16);
            assert_eq!(answer.unwrap_err(), libc::ENXIO);
            let create = CreateIn { flags, mode: 0o644, ..CreateIn::default() };
            let body = [create.as_bytes(), name.as_bytes(), b"\0"].concat();
            assert_eq!(client.call(opcode::CREATE, root, &[&body], 256).unwrap_err(), libc::ENXIO);
        }
        let wish = SetattrIn { valid: setattr::SIZE, ..SetattrIn::default() };
        assert_eq!(
            client.call(opcode::SETATTR, entry.node, &[wish.as_bytes()], 104).unwrap_err(),
            libc::ENXIO
        );
        let set = SetxattrIn { size: 0, flags: 0 };
        let body = [set.as_bytes(), b"user.a\0"];
        assert_eq!(client.call(opcode::SETXATTR, entry.node, &body, 0).unwrap_err(), libc::EOPNOTSUPP);
    }
    drop(socket);
}

#[test]
fn files_of_proc_are_not_opened() {
    let mut client = Client::new(Access::ReadOnly);
    let shares = Arc::clone(&client.shares);
    share(&shares, "proc", Path::new("/proc"), Access::ReadWrite);
    let proc = client.lookup(ROOT_ID, "proc").unwrap().node;
    let version = client.lookup(proc, "version").unwrap().node;
    let open = OpenIn::default();
    assert_eq!(client.call(opcode::OPEN, version, &[open.as_bytes()], 16).unwrap_err(), libc::EACCES);
    let me = client.lookup(proc, "self").unwrap();
    assert_eq!(me.attr.mode & libc::S_IFMT, libc::S_IFLNK);
    assert_eq!(client.lookup(me.node, "fd").unwrap_err(), libc::ENOTDIR);
    // A magic link is a link like any other: its text can be read, it leads nowhere.
    let pid = client.lookup(proc, &std::process::id().to_string()).unwrap().node;
    let root = client.lookup(pid, "root").unwrap();
    assert_eq!(root.attr.mode & libc::S_IFMT, libc::S_IFLNK);
    assert_eq!(client.lookup(root.node, "etc").unwrap_err(), libc::ENOTDIR);
}

#[test]
fn handles_and_nodes_of_nobody() {
    let mut client = Client::new(Access::ReadWrite);
    for fh in [0, 1, u64::MAX] {
        let read = ReadIn { fh, size: 10, ..ReadIn::default() };
        for operation in [opcode::READ, opcode::READDIR, opcode::READDIRPLUS] {
            assert_eq!(client.call(operation, ROOT_ID, &[read.as_bytes()], 100).unwrap_err(), libc::EBADF);
        }
        let write = WriteIn { fh, size: 1, ..WriteIn::default() };
        assert_eq!(client.call(opcode::WRITE, 1, &[write.as_bytes(), b"x"], 8).unwrap_err(), libc::EBADF);
        let too_much = WriteIn { fh, size: 2, ..WriteIn::default() };
        assert_eq!(client.call(opcode::WRITE, 1, &[too_much.as_bytes(), b"x"], 8).unwrap_err(), libc::EINVAL);
        let release = ReleaseIn { fh, ..ReleaseIn::default() };
        assert_eq!(client.call(opcode::RELEASE, 1, &[release.as_bytes()], 0).unwrap_err(), libc::EBADF);
    }
    let forget = ForgetIn { nlookup: u64::MAX };
    for node in [0, ROOT_ID, 77, u64::MAX] {
        let header = client.header(opcode::FORGET, node, 8);
        client.raw(&[header.as_bytes(), forget.as_bytes()], &[]).unwrap();
        assert!(client.lookup(node, "x").is_err());
    }
    let batch = BatchForgetIn { count: u32::MAX, dummy: 0 };
    let header = client.header(opcode::BATCH_FORGET, 0, 8);
    client.raw(&[header.as_bytes(), batch.as_bytes()], &[]).unwrap();
}

#[test]
fn descriptors_do_not_leak() {
    let mut client = Client::new(Access::ReadWrite);
    std::fs::write(client.scratch.path("f"), "data").unwrap();
    let root = client.root();
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let file = client.lookup(root, "f").unwrap().node;
    let before = count();
    for _ in 0..100 {
        let node = client.lookup(root, "f").unwrap().node;
        assert_eq!(node, file);
        // No room for the answer: what was opened for it must be closed again.
        let create = CreateIn { flags: 1, mode: 0o644, ..CreateIn::default() };
        assert!(client.call(opcode::CREATE, root, &[create.as_bytes(), b"f\0"], 100).is_err());
        assert!(client.call(opcode::OPEN, file, &[OpenIn::default().as_bytes()], 8).is_err());
        assert!(client.call(opcode::OPENDIR, root, &[OpenIn::default().as_bytes()], 8).is_err());
        assert!(client.call(opcode::LOOKUP, root, &[b"f\0"], 8).is_err());
    }
    // Other tests open files meanwhile: allow for a few, not for hundreds.
    assert!(count() < before + 60);
    assert_eq!(client.server.handle_count(), 0);
}
