//! File system calls as programs make them.

use crate::fs::tmpfs::{Options, TmpFs};
use crate::fs::{FdTable, FsContext, FsCx, Mount, MountFlags, MountNamespace, dev};
use crate::mm::{Budget, Limits as MmLimits, Mm};
use crate::platform::hosted::{self, User, program};
use crate::security::Creds;
use crate::task::{Container, ExitStatus, Limits, NewProcess};
use crate::user::UserAddr;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Runs `init` as the first process of a container with a tmpfs as root and `/dev`; it is to return 0.
fn check(seeds: u64, init: impl Fn(&mut User) -> i32 + Send + Sync + Clone + 'static) {
    hosted::for_seeds(seeds, move |sleeper| {
        let budget = Budget::root().child(8192);
        let container = Container::new(
            "test".into(),
            b"host".to_vec(),
            Vec::new(),
            budget.clone(),
            crate::net::inet::Stack::new(),
        );
        let options = Options { size: Some(1 << 20), mode: 0o755, ..Options::default() };
        let root = Mount::of(TmpFs::new(&budget, &options), b"root", MountFlags::RELATIME);
        let namespace = MountNamespace::new(root);
        let creds = Creds::root();
        let cx = FsCx::kernel(sleeper, &creds);
        let dev = namespace.mkdir_all(&cx, b"/dev").unwrap();
        dev::tree::populate(&cx, &dev).unwrap();
        let process = container
            .start(NewProcess {
                creds: Creds::root(),
                mm: Mm::with(budget, MmLimits::default()).unwrap(),
                entry: UserAddr::new(program(init.clone())),
                stack_pointer: UserAddr::NULL,
                files: FdTable::new(),
                fs: FsContext::new(namespace),
                name: b"init".to_vec(),
                limits: Limits::new(),
                oom_score_adj: 0,
                held: false,
            })
            .unwrap();
        assert_eq!(process.wait_exit(sleeper), ExitStatus::Exited(0));
    });
}

const CREAT: u64 = 0o100;
const EXCL: u64 = 0o200;
const TRUNC: u64 = 0o1000;
const APPEND: u64 = 0o2000;
const NONBLOCK: u64 = 0o4000;
const RDWR: u64 = 2;
const WRONLY: u64 = 1;

fn signed(value: i64) -> u64 {
    value.cast_unsigned()
}

fn open(user: &mut User, path: &str, flags: u64) -> i64 {
    let path = user.string(path);
    user.syscall(2, [path, flags, 0o644, 0, 0, 0])
}

fn write(user: &mut User, fd: i64, bytes: &[u8]) -> i64 {
    let at = user.place(bytes);
    user.syscall(1, [signed(fd), at, bytes.len() as u64, 0, 0, 0])
}

fn read(user: &mut User, fd: i64, len: usize) -> Result<Vec<u8>, i64> {
    let at = user.map(len.max(1) as u64);
    let done = user.syscall(0, [signed(fd), at, len as u64, 0, 0, 0]);
    let mut bytes = vec![0; usize::try_from(done).map_err(|_| done)?];
    user.load(at, &mut bytes);
    Ok(bytes)
}

fn close(user: &mut User, fd: i64) -> i64 {
    user.syscall(3, [signed(fd), 0, 0, 0, 0, 0])
}

fn seek(user: &mut User, fd: i64, offset: i64, whence: u64) -> i64 {
    user.syscall(8, [signed(fd), signed(offset), whence, 0, 0, 0])
}

fn path_call(user: &mut User, number: u64, path: &str, argument: u64) -> i64 {
    let path = user.string(path);
    user.syscall(number, [path, argument, 0, 0, 0, 0])
}

fn mkdir(user: &mut User, path: &str) -> i64 {
    path_call(user, 83, path, 0o755)
}

#[test]
fn read_and_write_at_positions() {
    check(3, |user| {
        let fd = open(user, "/f", CREAT | EXCL | RDWR);
        assert_eq!(fd, 0);
        assert_eq!(open(user, "/f", CREAT | EXCL | RDWR), -17);
        assert_eq!(write(user, fd, b"hello world"), 11);
        assert_eq!(seek(user, fd, 6, 0), 6);
        assert_eq!(read(user, fd, 100).unwrap(), b"world");
        assert_eq!(read(user, fd, 100).unwrap(), b"");
        assert_eq!(seek(user, fd, -5, 2), 6);
        assert_eq!(seek(user, fd, -50, 1), -22);
        let at = user.place(b"WORLD");
        assert_eq!(user.syscall(18, [signed(fd), at, 5, 6, 0, 0]), 5, "pwrite64");
        assert_eq!(read(user, fd, 5).unwrap(), b"WORLD");
        assert_eq!(user.syscall(18, [signed(fd), at, 5, signed(-1), 0, 0]), -22);
        // Holes, and where they are.
        assert_eq!(seek(user, fd, 100_000, 0), 100_000);
        assert_eq!(write(user, fd, b"end"), 3);
        assert_eq!(seek(user, fd, 0, 4), 4096, "SEEK_HOLE");
        assert_eq!(seek(user, fd, 5000, 3), 98304, "SEEK_DATA");
        assert_eq!(seek(user, fd, 200_000, 3), -6);
        assert_eq!(seek(user, fd, 50_000, 0), 50_000);
        assert_eq!(read(user, fd, 4).unwrap(), [0; 4]);
        // Appending ignores the position.
        let other = open(user, "/f", APPEND | WRONLY);
        assert_eq!(write(user, other, b"!"), 1);
        assert_eq!(seek(user, other, 0, 1), 100_004);
        assert_eq!(read(user, other, 1), Err(-9));
        let truncating = open(user, "/f", TRUNC | WRONLY);
        assert_eq!(seek(user, truncating, 0, 2), 0);
        for (fd, wanted) in [(other, 0), (truncating, 0), (99, -9), (-1, -9)] {
            assert_eq!(close(user, fd), wanted);
        }
        0
    });
}

#[test]
fn bad_memory_is_efault_and_partial_work_counts() {
    check(2, |user| {
        let fd = open(user, "/f", CREAT | RDWR);
        assert_eq!(user.syscall(1, [signed(fd), 8, 10, 0, 0, 0]), -14);
        assert_eq!(user.syscall(1, [signed(fd), u64::MAX - 4, 10, 0, 0, 0]), -14);
        assert_eq!(user.syscall(1, [99, 8, 10, 0, 0, 0]), -9, "the descriptor is looked at first");
        // Two pages, the second taken away: what is before it is written.
        let at = user.map(8192);
        user.store(at, &[7; 4096]);
        assert_eq!(user.syscall(11, [at + 4096, 4096, 0, 0, 0, 0]), 0, "munmap");
        assert_eq!(user.syscall(1, [signed(fd), at + 4000, 200, 0, 0, 0]), 96);
        assert_eq!(user.syscall(1, [signed(fd), at + 4096, 200, 0, 0, 0]), -14);
        assert_eq!(seek(user, fd, 0, 0), 0);
        assert_eq!(user.syscall(0, [signed(fd), at + 4090, 50, 0, 0, 0]), 6);
        // A vector with a bad element.
        let vector: Vec<u8> = [at, 10, 8, 10].iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        let vector = user.place(&vector);
        assert_eq!(user.syscall(20, [signed(fd), vector, 2, 0, 0, 0]), 10);
        assert_eq!(user.syscall(20, [signed(fd), vector, 1025, 0, 0, 0]), -22);
        assert_eq!(user.syscall(2, [8, 0, 0, 0, 0, 0]), -14, "a bad path");
        0
    });
}

#[test]
fn descriptors_share_and_leave() {
    check(3, |user| {
        let fd = open(user, "/f", CREAT | RDWR);
        let copy = user.syscall(32, [signed(fd), 0, 0, 0, 0, 0]);
        assert_eq!(write(user, fd, b"abc"), 3);
        assert_eq!(seek(user, copy, 0, 1), 3, "one position");
        assert_eq!(user.syscall(33, [signed(fd), 50, 0, 0, 0, 0]), 50);
        assert_eq!(user.syscall(292, [signed(fd), signed(fd), 0, 0, 0, 0]), -22);
        assert_eq!(user.syscall(72, [50, 0, 60, 0, 0, 0]), 60, "F_DUPFD");
        assert_eq!(user.syscall(72, [60, 1, 0, 0, 0, 0]), 0);
        assert_eq!(user.syscall(72, [60, 2, 1, 0, 0, 0]), 0);
        assert_eq!(user.syscall(72, [60, 1, 0, 0, 0, 0]), 1);
        assert_eq!(user.syscall(72, [60, 3, 0, 0, 0, 0]), 0o100_002, "F_GETFL");
        assert_eq!(user.syscall(72, [60, 4, APPEND, 0, 0, 0]), 0);
        assert_eq!(user.syscall(72, [signed(fd), 3, 0, 0, 0, 0]), 0o102_002, "flags are shared");
        assert_eq!(user.syscall(436, [50, 55, 0, 0, 0, 0]), 0, "close_range");
        assert_eq!(close(user, 50), -9);
        assert_eq!(close(user, 60), 0);
        let child = user.fork(move |user| {
            assert_eq!(seek(user, fd, 1, 0), 1);
            0
        });
        assert_eq!(user.syscall(61, [signed(child), 0, 0, 0, 0, 0]), child);
        assert_eq!(seek(user, fd, 0, 1), 1, "a child shares the position");
        0
    });
}

#[test]
fn names_and_listings() {
    check(2, |user| {
        assert_eq!(mkdir(user, "/d"), 0);
        assert_eq!(mkdir(user, "/d"), -17);
        assert_eq!(path_call(user, 80, "/d", 0), 0, "chdir");
        for name in ["one", "two", "three"] {
            let fd = open(user, name, CREAT | WRONLY);
            assert_eq!(close(user, fd), 0);
        }
        let fd = open(user, ".", 0);
        let at = user.map(4096);
        let len = user.syscall(217, [signed(fd), at, 4096, 0, 0, 0]);
        let mut records = vec![0; usize::try_from(len).unwrap()];
        user.load(at, &mut records);
        let mut names = Vec::new();
        let mut rest = &records[..];
        while !rest.is_empty() {
            let (record, more) = rest.split_at(usize::from(u16::from_le_bytes([rest[16], rest[17]])));
            let name = record[19..].split(|byte| *byte == 0).next().unwrap();
            names.push((String::from_utf8(name.to_vec()).unwrap(), record[18]));
            rest = more;
        }
        let names: Vec<_> = names.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
        assert_eq!(names, [(".", 4), ("..", 4), ("one", 8), ("two", 8), ("three", 8)]);
        assert_eq!(user.syscall(217, [signed(fd), at, 4096, 0, 0, 0]), 0);
        assert_eq!(seek(user, fd, 0, 0), 0);
        assert_eq!(user.syscall(217, [signed(fd), at, 10, 0, 0, 0]), -22, "no room for one");
        let len = user.syscall(79, [at, 4096, 0, 0, 0, 0]);
        assert_eq!(len, 3);
        let (one, link) = (user.string("one"), user.string("/link"));
        assert_eq!(user.syscall(88, [one, link, 0, 0, 0, 0]), 0, "symlink");
        assert_eq!(path_call(user, 89, "/link", at), -22, "readlink of nothing");
        assert_eq!(user.syscall(89, [link, at, 100, 0, 0, 0]), 3);
        let new = user.string("/d/renamed");
        assert_eq!(user.syscall(82, [one, new, 0, 0, 0, 0]), 0);
        assert_eq!(open(user, "/link", 0), -2, "the link is from the root");
        assert_eq!(path_call(user, 84, "/d", 0), -39);
        for name in ["renamed", "two", "three"] {
            assert_eq!(path_call(user, 87, name, 0), 0);
        }
        assert_eq!(path_call(user, 84, "/d", 0), 0);
        assert_eq!(user.syscall(79, [at, 4096, 0, 0, 0, 0]), -2, "the working directory is gone");
        assert_eq!(open(user, "new", CREAT | WRONLY), -2);
        assert_eq!(user.syscall(217, [signed(fd), at, 4096, 0, 0, 0]), -2);
        0
    });
}

#[test]
fn devices_and_fifos() {
    check(10, |user| {
        let null = open(user, "/dev/null", RDWR);
        assert_eq!(write(user, null, b"gone"), 4);
        assert_eq!(read(user, null, 10).unwrap(), b"");
        assert_eq!(seek(user, null, 5, 0), 0);
        let zero = open(user, "/dev/zero", RDWR);
        assert_eq!(read(user, zero, 5000).unwrap(), vec![0; 5000]);
        let full = open(user, "/dev/full", RDWR);
        assert_eq!(write(user, full, b"x"), -28);
        let random = open(user, "/dev/urandom", 0);
        assert_eq!(read(user, random, 300).unwrap().len(), 300);
        let path = user.string("/fifo");
        assert_eq!(user.syscall(133, [path, 0o010_644, 0, 0, 0, 0]), 0, "mknod");
        assert_eq!(open(user, "/fifo", WRONLY | NONBLOCK), -6);
        let child = user.fork(|user| {
            let fd = open(user, "/fifo", WRONLY);
            assert_eq!(write(user, fd, b"through"), 7);
            0
        });
        let fd = open(user, "/fifo", 0);
        assert_eq!(read(user, fd, 100).unwrap(), b"through");
        assert_eq!(read(user, fd, 100).unwrap(), b"");
        assert_eq!(user.syscall(61, [signed(child), 0, 0, 0, 0, 0]), child);
        assert_eq!(seek(user, fd, 0, 0), -29);
        0
    });
}

#[test]
fn a_full_file_system_says_so() {
    check(2, |user| {
        let fd = open(user, "/big", CREAT | RDWR);
        let at = user.map(1 << 16);
        let mut total = 0;
        let failure = loop {
            match user.syscall(1, [signed(fd), at, 1 << 16, 0, 0, 0]) {
                done @ 1.. => total += done,
                other => break other,
            }
        };
        assert_eq!((failure, total), (-28, 1 << 20));
        assert_eq!(user.syscall(77, [signed(fd), 0, 0, 0, 0, 0]), 0, "ftruncate");
        assert_eq!(seek(user, fd, 0, 0), 0);
        assert_eq!(user.syscall(1, [signed(fd), at, 1 << 16, 0, 0, 0]), 1 << 16);
        assert_eq!(user.syscall(285, [signed(fd), 0, 0, 2 << 20, 0, 0]), -28, "fallocate");
        assert_eq!(user.syscall(285, [signed(fd), 0, 0, 1 << 17, 0, 0]), 0);
        assert_eq!(seek(user, fd, 0, 2), 1 << 17);
        0
    });
}

#[test]
fn locks_exclude_and_end_with_their_owner() {
    check(20, |user| {
        let fd = open(user, "/f", CREAT | RDWR);
        assert_eq!(user.syscall(73, [signed(fd), 2, 0, 0, 0, 0]), 0, "flock LOCK_EX");
        let ends = user.map(8);
        assert_eq!(user.syscall(22, [ends, 0, 0, 0, 0, 0]), 0);
        let (reader, writer) = (i64::from(user.load_u32(ends)), i64::from(user.load_u32(ends + 4)));
        let child = user.fork(move |user| {
            let own = open(user, "/f", RDWR);
            assert_eq!(user.syscall(73, [signed(own), 2 | 4, 0, 0, 0, 0]), -11);
            // A record lock on the first ten bytes.
            let lock = user.place(&[
                1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0,
            ]);
            assert_eq!(user.syscall(72, [signed(own), 6, lock, 0, 0, 0]), 0);
            assert_eq!(write(user, writer, b"x"), 1);
            assert_eq!(user.syscall(73, [signed(own), 2, 0, 0, 0, 0]), 0, "waits");
            0
        });
        assert_eq!(read(user, reader, 1).unwrap(), b"x");
        assert_eq!(user.syscall(73, [signed(fd), 8, 0, 0, 0, 0]), 0);
        let lock = user.place(&[
            1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(user.syscall(72, [signed(fd), 7, lock, 0, 0, 0]), 0, "waits for the child's record");
        assert_eq!(user.syscall(61, [signed(child), 0, 0, 0, 0, 0]), child);
        0
    });
}

#[test]
fn data_moves_between_descriptors() {
    check(3, |user| {
        let from = open(user, "/from", CREAT | RDWR);
        let bytes: Vec<u8> = (0..100_000u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        assert_eq!(write(user, from, &bytes), 100_000);
        let to = open(user, "/to", CREAT | RDWR);
        let offset = user.place(&10u64.to_le_bytes());
        assert_eq!(user.syscall(40, [signed(to), signed(from), offset, 99_990, 0, 0]), 99_990, "sendfile");
        assert_eq!(user.load_u64(offset), 100_000);
        assert_eq!(seek(user, to, 0, 0), 0);
        assert_eq!(read(user, to, 200_000).unwrap(), bytes[10..]);
        let copy = open(user, "/copy", CREAT | RDWR);
        assert_eq!(seek(user, from, 0, 0), 0);
        assert_eq!(user.syscall(326, [signed(from), 0, signed(copy), 0, 200_000, 0]), 100_000);
        let ends = user.map(8);
        assert_eq!(user.syscall(22, [ends, 0, 0, 0, 0, 0]), 0);
        let (reader, writer) = (u64::from(user.load_u32(ends)), u64::from(user.load_u32(ends + 4)));
        let zero = user.place(&0u64.to_le_bytes());
        assert_eq!(user.syscall(275, [signed(from), zero, writer, 0, 5000, 0]), 5000, "splice into a pipe");
        assert_eq!(seek(user, to, 0, 0), 0);
        assert_eq!(user.syscall(275, [reader, 0, signed(to), 0, 9000, 0]), 5000, "splice out of it");
        assert_eq!(seek(user, to, 0, 0), 0);
        assert_eq!(read(user, to, 5000).unwrap(), bytes[..5000]);
        0
    });
}

#[test]
fn a_sealed_memfd_stays_as_it_is() {
    check(2, |user| {
        let name = user.string("seal");
        let fd = user.syscall(319, [name, 2, 0, 0, 0, 0]);
        assert_eq!(write(user, fd, b"fixed"), 5);
        assert_eq!(user.syscall(72, [signed(fd), 1034, 0, 0, 0, 0]), 0);
        assert_eq!(user.syscall(72, [signed(fd), 1033, 2 | 4 | 8, 0, 0, 0]), 0);
        assert_eq!(write(user, fd, b"x"), -1);
        assert_eq!(user.syscall(77, [signed(fd), 1, 0, 0, 0, 0]), -1);
        assert_eq!(user.syscall(77, [signed(fd), 100, 0, 0, 0, 0]), -1);
        assert_eq!(user.syscall(72, [signed(fd), 1033, 1, 0, 0, 0]), 0);
        assert_eq!(user.syscall(72, [signed(fd), 1033, 16, 0, 0, 0]), -1);
        assert_eq!(seek(user, fd, 0, 0), 0);
        assert_eq!(read(user, fd, 10).unwrap(), b"fixed");
        0
    });
}
