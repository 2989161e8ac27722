//! What a well-behaved client sees.

use super::*;
use chitin_proto::fuse::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn open(client: &mut Client, node: u64, flags: u32) -> Result<u64, i32> {
    let body = OpenIn { flags, open_flags: 0 };
    client.call(opcode::OPEN, node, &[body.as_bytes()], 16).map(|bytes| take::<OpenOut>(&bytes).fh)
}

fn read(client: &mut Client, fh: u64, offset: u64, size: u32) -> Result<Vec<u8>, i32> {
    let body = ReadIn { fh, offset, size, ..ReadIn::default() };
    client.call(opcode::READ, 0, &[body.as_bytes()], size)
}

fn names(client: &mut Client, node: u64, operation: u32, room: u32) -> Vec<String> {
    let body = OpenIn::default();
    let opened = client.call(opcode::OPENDIR, node, &[body.as_bytes()], 16).unwrap();
    let (fh, mut offset, mut names) = (take::<OpenOut>(&opened).fh, 0, Vec::new());
    loop {
        let body = ReadIn { fh, offset, size: room, ..ReadIn::default() };
        let bytes = client.call(operation, node, &[body.as_bytes()], room).unwrap();
        let mut rest = bytes.as_slice();
        if rest.is_empty() {
            break;
        }
        while !rest.is_empty() {
            let skip = if operation == opcode::READDIRPLUS { size_of::<EntryOut>() } else { 0 };
            if skip > 0 {
                let entry: EntryOut = take(rest);
                client.server.nodes.forget(entry.node, 1);
            }
            let dirent: Dirent = take(&rest[skip..]);
            let start = skip + size_of::<Dirent>();
            let len = dirent.namelen as usize;
            names.push(String::from_utf8(rest[start..start + len].to_vec()).unwrap());
            offset = dirent.off;
            rest = &rest[start + len.next_multiple_of(8)..];
        }
    }
    let release = ReleaseIn { fh, ..ReleaseIn::default() };
    client.call(opcode::RELEASEDIR, node, &[release.as_bytes()], 0).unwrap();
    names.sort();
    names
}

#[test]
fn files_are_found_read_and_forgotten() {
    let mut client = Client::new(Access::ReadOnly);
    std::fs::create_dir(client.scratch.path("d")).unwrap();
    let data: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).take(200_000).collect();
    std::fs::write(client.scratch.path("d/f"), &data).unwrap();
    symlink("d/f", client.scratch.path("l")).unwrap();

    let root = client.root();
    let dir = client.lookup(root, "d").unwrap();
    let file = client.lookup(dir.node, "f").unwrap();
    assert_eq!(file.attr.size, 200_000);
    assert_eq!(file.entry_valid, u64::MAX);
    assert_eq!(client.lookup(dir.node, "f").unwrap().node, file.node);
    assert_eq!(client.lookup(dir.node, "none").unwrap().node, 0);
    assert_eq!(client.lookup(ROOT_ID, "none").unwrap_err(), libc::ENOENT);

    let fh = open(&mut client, file.node, 0).unwrap();
    assert_eq!(read(&mut client, fh, 0, 100_000).unwrap(), &data[..100_000]);
    assert_eq!(read(&mut client, fh, 150_000, 100_000).unwrap(), &data[150_000..]);
    assert!(read(&mut client, fh, 1 << 40, 10).unwrap().is_empty());

    let link = client.lookup(root, "l").unwrap();
    assert_eq!(client.call(opcode::READLINK, link.node, &[], 4096).unwrap(), b"d/f");
    assert_eq!(open(&mut client, link.node, 0).unwrap_err(), libc::ELOOP);
    assert_eq!(open(&mut client, dir.node, 0).unwrap_err(), libc::EISDIR);

    let release = ReleaseIn { fh, ..ReleaseIn::default() };
    client.call(opcode::RELEASE, file.node, &[release.as_bytes()], 0).unwrap();
    assert_eq!(read(&mut client, fh, 0, 1).unwrap_err(), libc::EBADF);
    let forget = ForgetIn { nlookup: 2 };
    let header = client.header(opcode::FORGET, file.node, 8);
    assert!(client.raw(&[header.as_bytes(), forget.as_bytes()], &[]).unwrap().is_empty());
    let getattr = GetattrIn::default();
    let gone = client.call(opcode::GETATTR, file.node, &[getattr.as_bytes()], 104);
    assert_eq!(gone.unwrap_err(), libc::ESTALE);
    let batch = BatchForgetIn { count: 3, dummy: 0 };
    let ones: Vec<ForgetOne> =
        [dir.node, link.node, root].map(|node| ForgetOne { node, nlookup: u64::MAX }).to_vec();
    let header = client.header(opcode::BATCH_FORGET, 0, 8 + 48);
    client.raw(&[header.as_bytes(), batch.as_bytes(), ones.as_bytes()], &[]).unwrap();
    assert_eq!((client.server.node_count(), client.server.handle_count()), (0, 0));
}

#[test]
fn directories_are_listed_whole_in_any_portions() {
    let mut client = Client::new(Access::ReadOnly);
    let mut expected: Vec<String> = (0..500).map(|n| format!("file-with-a-name-{n}")).collect();
    for name in &expected {
        std::fs::write(client.scratch.path(name), "").unwrap();
    }
    expected.sort();
    let root = client.root();
    for room in [300, 1000, 65536] {
        assert_eq!(names(&mut client, root, opcode::READDIR, room), expected);
        assert_eq!(names(&mut client, root, opcode::READDIRPLUS, room), expected);
    }
    assert_eq!(names(&mut client, ROOT_ID, opcode::READDIRPLUS, 4096), ["s"]);
    assert_eq!(client.server.node_count(), 1);
}

#[test]
fn a_writable_share_changes() {
    let mut client = Client::new(Access::ReadWrite);
    let root = client.root();
    let create = CreateIn { flags: 0o2 | 0o100, mode: 0o100_640, ..CreateIn::default() };
    let made = client.call(opcode::CREATE, root, &[create.as_bytes(), b"new\0"], 256).unwrap();
    let (entry, opened): (EntryOut, OpenOut) = (take(&made), take(&made[size_of::<EntryOut>()..]));
    let write = WriteIn { fh: opened.fh, offset: 5, size: 5, ..WriteIn::default() };
    let out = client.call(opcode::WRITE, entry.node, &[write.as_bytes(), b"hello"], 8).unwrap();
    assert_eq!(take::<WriteOut>(&out).size, 5);
    assert_eq!(std::fs::read(client.scratch.path("new")).unwrap(), b"\0\0\0\0\0hello");
    assert_eq!(std::fs::metadata(client.scratch.path("new")).unwrap().mode() & 0o7777, 0o640);

    let exclusive = CreateIn { flags: 0o2 | 0o100 | 0o200, mode: 0o644, ..CreateIn::default() };
    let again = client.call(opcode::CREATE, root, &[exclusive.as_bytes(), b"new\0"], 256);
    assert_eq!(again.unwrap_err(), libc::EEXIST);
    let again = client.call(opcode::CREATE, root, &[create.as_bytes(), b"new\0"], 256).unwrap();
    assert_eq!(take::<EntryOut>(&again).node, entry.node);

    let wish = SetattrIn {
        valid: setattr::SIZE | setattr::MODE | setattr::MTIME,
        size: 3,
        mode: 0o600,
        mtime: 1_000_000,
        mtime_nsec: 5,
        ..SetattrIn::default()
    };
    let out = client.call(opcode::SETATTR, entry.node, &[wish.as_bytes()], 104).unwrap();
    let attr = take::<AttrOut>(&out).attr;
    assert_eq!((attr.size, attr.mode & 0o7777, attr.mtime, attr.mtime_nsec), (3, 0o600, 1_000_000, 5));

    let mkdir = MkdirIn { mode: 0o755, umask: 0 };
    let dir: EntryOut = take(&client.call(opcode::MKDIR, root, &[mkdir.as_bytes(), b"dir\0"], 256).unwrap());
    let rename = Rename2In { newdir: dir.node, flags: 0, padding: 0 };
    client.call(opcode::RENAME2, root, &[rename.as_bytes(), b"new\0moved\0"], 0).unwrap();
    assert_eq!(client.lookup(dir.node, "moved").unwrap().node, entry.node);
    let link = LinkIn { oldnode: entry.node };
    client.call(opcode::LINK, root, &[link.as_bytes(), b"hard\0"], 256).unwrap();
    assert_eq!(std::fs::metadata(client.scratch.path("hard")).unwrap().nlink(), 2);
    client.call(opcode::SYMLINK, root, &[b"sym\0../target\0"], 256).unwrap();
    assert_eq!(std::fs::read_link(client.scratch.path("sym")).unwrap(), Path::new("../target"));
    assert_eq!(client.call(opcode::RMDIR, root, &[b"dir\0"], 0).unwrap_err(), libc::ENOTEMPTY);
    client.call(opcode::UNLINK, dir.node, &[b"moved\0"], 0).unwrap();
    client.call(opcode::RMDIR, root, &[b"dir\0"], 0).unwrap();
    let mknod = MknodIn { mode: libc::S_IFIFO | 0o644, ..MknodIn::default() };
    assert_eq!(client.call(opcode::MKNOD, root, &[mknod.as_bytes(), b"p\0"], 256).unwrap_err(), libc::EPERM);
}

#[test]
fn a_read_only_share_refuses_every_change() {
    let mut client = Client::new(Access::ReadOnly);
    std::fs::write(client.scratch.path("f"), "data").unwrap();
    let root = client.root();
    let file = client.lookup(root, "f").unwrap().node;
    for flags in [1, 2, 0o1000, 0o1001] {
        assert_eq!(open(&mut client, file, flags).unwrap_err(), libc::EROFS);
    }
    let create = CreateIn { flags: 1, mode: 0o644, ..CreateIn::default() };
    let wish = SetattrIn { valid: setattr::SIZE, ..SetattrIn::default() };
    let rename = Rename2In { newdir: root, ..Rename2In::default() };
    let bodies: [(u32, u64, Vec<u8>); 9] = [
        (opcode::CREATE, root, [create.as_bytes(), b"n\0"].concat()),
        (opcode::MKNOD, root, [MknodIn::default().as_bytes(), b"n\0"].concat()),
        (opcode::MKDIR, root, [MkdirIn::default().as_bytes(), b"n\0"].concat()),
        (opcode::SYMLINK, root, b"n\0t\0".to_vec()),
        (opcode::LINK, root, [LinkIn { oldnode: file }.as_bytes(), b"n\0"].concat()),
        (opcode::UNLINK, root, b"f\0".to_vec()),
        (opcode::RMDIR, root, b"f\0".to_vec()),
        (opcode::RENAME2, root, [rename.as_bytes(), b"f\0g\0"].concat()),
        (opcode::SETATTR, file, wish.as_bytes().to_vec()),
    ];
    for (operation, node, body) in bodies {
        assert_eq!(client.call(operation, node, &[&body], 256).unwrap_err(), libc::EROFS, "{operation}");
        assert_eq!(client.call(operation, ROOT_ID, &[&body], 256).unwrap_err(), libc::EROFS, "{operation}");
    }
    assert_eq!(std::fs::read(client.scratch.path("f")).unwrap(), b"data");
}

#[test]
fn more_nodes_than_descriptors() {
    let mut client = Client::with_budget(Access::ReadWrite, 16);
    for n in 0..200 {
        std::fs::create_dir_all(client.scratch.path(&format!("d{}", n % 20))).unwrap();
        std::fs::write(client.scratch.path(&format!("d{}/f{n}", n % 20)), n.to_string()).unwrap();
    }
    let root = client.root();
    let mut files = Vec::new();
    for n in 0..200 {
        let dir = client.lookup(root, &format!("d{}", n % 20)).unwrap().node;
        files.push(client.lookup(dir, &format!("f{n}")).unwrap().node);
    }
    assert!(client.server.nodes.held() < 40, "{} held", client.server.nodes.held());
    // Renamed through the server, a node is still found.
    let dir = client.lookup(root, "d3").unwrap().node;
    let rename = Rename2In { newdir: root, ..Rename2In::default() };
    client.call(opcode::RENAME2, dir, &[rename.as_bytes(), b"f3\0elsewhere\0"], 0).unwrap();
    for (n, file) in files.iter().enumerate() {
        let fh = open(&mut client, *file, 0).unwrap();
        assert_eq!(read(&mut client, fh, 0, 100).unwrap(), n.to_string().as_bytes());
    }
    // Replaced behind the server's back, a node is stale, never another file.
    std::fs::remove_file(client.scratch.path("d5/f5")).unwrap();
    std::fs::write(client.scratch.path("d5/f5"), "other").unwrap();
    if let Ok(fh) = open(&mut client, files[5], 0) {
        assert_eq!(read(&mut client, fh, 0, 100).unwrap(), b"5");
    }
}

#[test]
fn a_single_file_is_a_share() {
    let mut client = Client::new(Access::ReadOnly);
    let path = client.scratch.path("one");
    std::fs::write(&path, "alone").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    let shares = Arc::clone(&client.shares);
    share(&shares, "file", &path, Access::ReadOnly);
    let entry = client.lookup(ROOT_ID, "file").unwrap();
    assert_eq!((entry.attr.mode, entry.entry_valid), (0o100_604, 0));
    let fh = open(&mut client, entry.node, 0).unwrap();
    shares.detach("file").unwrap();
    assert_eq!(client.lookup(ROOT_ID, "file").unwrap_err(), libc::ENOENT);
    assert_eq!(read(&mut client, fh, 0, 10).unwrap(), b"alone");
    assert_eq!(client.lookup(entry.node, "x").unwrap_err(), libc::ENOTDIR);
}

#[test]
fn extended_attributes() {
    let mut client = Client::new(Access::ReadWrite);
    std::fs::write(client.scratch.path("f"), "").unwrap();
    let root = client.root();
    let file = client.lookup(root, "f").unwrap().node;
    let set = SetxattrIn { size: 5, flags: 0 };
    match client.call(opcode::SETXATTR, file, &[set.as_bytes(), b"user.a\0", b"value"], 0) {
        // Not every temporary directory has them.
        Err(libc::EOPNOTSUPP) => return,
        other => other.unwrap(),
    };
    let ask = GetxattrIn::default();
    let size = client.call(opcode::GETXATTR, file, &[ask.as_bytes(), b"user.a\0"], 8).unwrap();
    assert_eq!(take::<GetxattrOut>(&size).size, 5);
    let ask = GetxattrIn { size: 100, padding: 0 };
    assert_eq!(client.call(opcode::GETXATTR, file, &[ask.as_bytes(), b"user.a\0"], 100).unwrap(), b"value");
    assert_eq!(client.call(opcode::LISTXATTR, file, &[ask.as_bytes()], 100).unwrap(), b"user.a\0");
    client.call(opcode::REMOVEXATTR, file, &[b"user.a\0"], 0).unwrap();
    let gone = client.call(opcode::GETXATTR, file, &[ask.as_bytes(), b"user.a\0"], 100);
    assert_eq!(gone.unwrap_err(), libc::ENODATA);
}
