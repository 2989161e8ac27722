//! Block special files as programs use them.

use crate::fs::lookup::{Last, Tail};
use crate::fs::node::NewNode;
use crate::fs::tmpfs::{Options, TmpFs};
use crate::fs::{FdTable, FsContext, FsCx, Mount, MountFlags, MountNamespace, block, names};
use crate::mm::{Budget, Limits as MmLimits, Mm};
use crate::platform::hosted::disk::MemoryDisk;
use crate::platform::hosted::{self, User, program};
use crate::platform::{BlockError, BlockGeometry};
use crate::security::Creds;
use crate::task::{Container, ExitStatus, Limits, NewProcess};
use crate::user::UserAddr;
use std::boxed::Box;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

const SECTORS: u64 = 2052;
const SIZE: u64 = SECTORS * 512;
const RDONLY: u64 = 0;
const RDWR: u64 = 2;
const EXCL: u64 = 0o200;
const APPEND: u64 = 0o2000;
const DIRECT: u64 = 0o40000;

const GEOMETRY: BlockGeometry = BlockGeometry {
    sectors: SECTORS,
    block_size: 512,
    physical_block_size: 4096,
    is_read_only: false,
    max_discard_sectors: 100,
    max_zero_sectors: 100,
};

/// Runs `init` as the first process of a container that has `disk` as `/disk`; it is to return 0.
fn check(
    seeds: u64,
    geometry: BlockGeometry,
    init: impl Fn(&mut User, &'static MemoryDisk) -> i32 + Send + Sync + Clone + 'static,
) {
    hosted::for_seeds(seeds, move |sleeper| {
        let disk: &'static MemoryDisk = Box::leak(Box::new(MemoryDisk::new(geometry)));
        let budget = Budget::root().child(8192);
        let container = Container::new(
            "test".into(),
            b"host".to_vec(),
            Vec::new(),
            budget.clone(),
            crate::net::inet::Stack::new(),
        );
        let owner = Arc::as_ptr(&container).addr();
        block::attach(0, disk, owner, &budget).unwrap();
        let options = Options { size: Some(1 << 20), mode: 0o755, ..Options::default() };
        let root = Mount::of(TmpFs::new(&budget, &options), b"root", MountFlags::RELATIME);
        let namespace = MountNamespace::new(root);
        let creds = Creds::root();
        let cx = FsCx::kernel(sleeper, &creds);
        let last = Last::Name(b"disk".as_slice().into());
        let node = NewNode::BlockDevice(block::number(0));
        names::create(&cx, &namespace.root(), &last, Tail::Plain, &node, 0o660).unwrap();
        let init = init.clone();
        let process = container
            .start(NewProcess {
                creds: Creds::root(),
                mm: Mm::with(budget, MmLimits::default()).unwrap(),
                entry: UserAddr::new(program(move |user| init(user, disk))),
                stack_pointer: UserAddr::NULL,
                files: FdTable::new(),
                fs: FsContext::new(namespace),
                name: b"init".to_vec(),
                limits: Limits::new(),
                oom_score_adj: 0,
                held: false,
            })
            .unwrap();
        let status = process.wait_exit(sleeper);
        block::detach(sleeper, owner);
        assert_eq!(status, ExitStatus::Exited(0));
        assert!(block::find(block::number(0)).is_none());
    });
}

fn signed(value: i64) -> u64 {
    value.cast_unsigned()
}

fn open(user: &mut User, flags: u64) -> i64 {
    let path = user.string("/disk");
    user.syscall(2, [path, flags, 0, 0, 0, 0])
}

fn pwrite(user: &mut User, fd: i64, bytes: &[u8], at: u64) -> i64 {
    let from = user.place(bytes);
    user.syscall(18, [signed(fd), from, bytes.len() as u64, at, 0, 0])
}

fn pread(user: &mut User, fd: i64, len: usize, at: u64) -> Result<Vec<u8>, i64> {
    let to = user.map(len.max(1) as u64);
    let done = user.syscall(17, [signed(fd), to, len as u64, at, 0, 0]);
    let mut bytes = vec![0; usize::try_from(done).map_err(|_| done)?];
    user.load(to, &mut bytes);
    Ok(bytes)
}

fn fsync(user: &mut User, fd: i64) -> i64 {
    user.syscall(74, [signed(fd), 0, 0, 0, 0, 0])
}

fn ioctl(user: &mut User, fd: i64, command: u64, argument: [u64; 2]) -> (i64, u64) {
    let at = user.place(&[argument[0].to_le_bytes(), argument[1].to_le_bytes()].concat());
    let done = user.syscall(16, [signed(fd), command, at, 0, 0, 0]);
    (done, user.load_u64(at))
}

fn page(value: u8) -> Vec<u8> {
    vec![value; 4096]
}

#[test]
fn reads_and_writes_go_through_the_cache_to_the_device() {
    check(5, GEOMETRY, |user, disk| {
        let fd = open(user, RDWR);
        assert_eq!(fd, 0);
        assert_eq!(pwrite(user, fd, b"hello", 5000), 5);
        assert_eq!(pread(user, fd, 7, 4999).unwrap(), b"\0hello\0");
        assert_eq!(disk.state().bytes[5000], 0, "not yet");
        assert_eq!(fsync(user, fd), 0);
        assert_eq!(&disk.state().durable[5000..5005], b"hello");
        // The end of the device.
        assert_eq!(pread(user, fd, 4096, SIZE - 100).unwrap().len(), 100);
        assert_eq!(pread(user, fd, 10, SIZE).unwrap(), b"");
        assert_eq!(pread(user, fd, 10, SIZE + 5000).unwrap(), b"");
        assert_eq!(pwrite(user, fd, &page(7), SIZE - 100), 100);
        assert_eq!(pwrite(user, fd, &page(7), SIZE), -28, "ENOSPC");
        assert_eq!(pwrite(user, fd, b"", SIZE), 0);
        assert_eq!(fsync(user, fd), 0);
        assert_eq!(disk.state().durable.len() as u64, SIZE);
        assert_eq!(disk.state().durable[SIZE as usize - 1], 7);
        // Appending is ignored.
        let other = open(user, RDWR | APPEND);
        let from = user.place(b"at the start");
        assert_eq!(user.syscall(1, [signed(other), from, 12, 0, 0, 0]), 12);
        assert_eq!(pread(user, fd, 12, 0).unwrap(), b"at the start");
        for (offset, whence, wanted) in [
            (0, 2, SIZE.cast_signed()),
            (1, 2, -22),
            (SIZE, 0, SIZE.cast_signed()),
            (SIZE + 1, 0, -22),
            (100, 3, -22),
            (100, 4, -22),
        ] {
            assert_eq!(user.syscall(8, [signed(fd), offset, whence, 0, 0, 0]), wanted, "{offset} {whence}");
        }
        assert_eq!(user.syscall(77, [signed(fd), 0, 0, 0, 0, 0]), -22, "ftruncate");
        0
    });
}

#[test]
fn direct_io_goes_around_the_cache_and_stays_coherent() {
    check(5, GEOMETRY, |user, disk| {
        let (fd, direct) = (open(user, RDWR), open(user, RDWR | DIRECT));
        assert_eq!(pwrite(user, fd, &page(1), 0), 4096);
        assert_eq!(pread(user, direct, 4096, 0).unwrap(), page(1), "what is cached is written first");
        assert_eq!(disk.state().bytes[0], 1);
        assert_eq!(pwrite(user, direct, &[2; 1024], 512), 1024);
        assert_eq!(disk.state().bytes[512], 2);
        assert_eq!(pread(user, fd, 513, 0).unwrap()[512], 2, "the cache is up to date");
        let big: Vec<u8> = (0..300_000u32 / 512 * 512).map(|at| at as u8).collect();
        assert_eq!(pwrite(user, direct, &big, 4096), big.len().cast_signed() as i64);
        assert_eq!(pread(user, direct, big.len(), 4096).unwrap(), big);
        assert_eq!(pread(user, fd, big.len(), 4096).unwrap(), big);
        for (len, at) in [(100, 0), (512, 100), (513, 512)] {
            assert_eq!(pread(user, direct, len, at), Err(-22), "{len} at {at}");
            assert_eq!(pwrite(user, direct, &vec![1; len], at), -22, "{len} at {at}");
        }
        let room = user.map(8192);
        assert_eq!(user.syscall(17, [signed(direct), room + 1, 512, 0, 0, 0]), -22, "misaligned memory");
        assert_eq!(pread(user, direct, 4096, SIZE - 512).unwrap().len(), 512);
        assert_eq!(pread(user, direct, 512, SIZE).unwrap(), b"");
        assert_eq!(pwrite(user, direct, &[1; 512], SIZE), -28);
        // A bad address, even after a good page.
        let last = user.map(4096) + 4096;
        user.syscall(11, [last, 4096, 0, 0, 0, 0]);
        assert_eq!(user.syscall(17, [signed(direct), last - 4096, 8192, 0, 0, 0]), -14);
        assert_eq!(user.syscall(17, [signed(direct), last, 4096, 0, 0, 0]), -14);
        assert_eq!(user.syscall(18, [signed(direct), last, 4096, 0, 0, 0]), -14);
        0
    });
}

#[test]
fn an_error_is_told_once_to_everyone_who_has_it_open() {
    check(5, GEOMETRY, |user, disk| {
        let (one, two) = (open(user, RDWR), open(user, RDWR));
        assert_eq!(pwrite(user, one, &page(1), 0), 4096);
        disk.state().failure = Some(BlockError::NoSpace);
        assert_eq!(fsync(user, one), -28);
        disk.state().failure = None;
        assert_eq!(fsync(user, one), 0, "told already");
        assert_eq!(fsync(user, two), -28, "told to the other as well");
        assert_eq!(fsync(user, two), 0);
        let three = open(user, RDWR);
        assert_eq!(fsync(user, three), 0, "opened after it was told");
        disk.state().failure = Some(BlockError::Io);
        assert_eq!(pwrite(user, one, &page(2), 4096), 4096);
        assert_eq!(fsync(user, one), -5);
        disk.state().failure = None;
        assert_eq!(pwrite(user, one, &page(3), 4096), 4096);
        assert_eq!(fsync(user, one), 0);
        assert_eq!(disk.state().durable[4096], 3);
        0
    });
}

#[test]
fn commands() {
    check(2, GEOMETRY, |user, disk| {
        let fd = open(user, RDWR);
        for (command, wanted) in [
            (0x1260, SECTORS),
            (0x8008_1272, SIZE),
            (0x1268, 512),
            (0x127b, 4096),
            (0x8008_1270, 4096),
            (0x125e, 0),
        ] {
            assert_eq!(ioctl(user, fd, command, [0; 2]), (0, wanted), "{command:#x}");
        }
        assert_eq!(user.syscall(16, [signed(fd), 0x8008_1272, 8, 0, 0, 0]), -14);
        assert_eq!(ioctl(user, fd, 0x5401, [0; 2]).0, -25, "TCGETS");
        disk.state().bytes.fill(9);
        assert_eq!(pread(user, fd, 1, 8192).unwrap(), [9]);
        disk.state().bytes[8192] = 5;
        assert_eq!(ioctl(user, fd, 0x1261, [0; 2]).0, 0, "BLKFLSBUF");
        assert_eq!(pread(user, fd, 1, 8192).unwrap(), [5]);
        assert_eq!(pwrite(user, fd, b"kept", 8192), 4);
        assert_eq!(ioctl(user, fd, 0x127f, [8704, 200 * 512]).0, 0, "BLKZEROOUT");
        assert_eq!(pread(user, fd, 513, 8192).unwrap()[..5], *b"kept\x09");
        assert_eq!(pread(user, fd, 1, 8704).unwrap(), [0]);
        assert_eq!(pread(user, fd, 1, 8704 + 200 * 512).unwrap(), [9]);
        assert_eq!(ioctl(user, fd, 0x1277, [0, 4096]).0, 0, "BLKDISCARD");
        assert_eq!(pread(user, fd, 1, 0).unwrap(), [0xdd]);
        for range in [[1, 512], [0, 100], [SIZE, 512], [u64::MAX - 511, 512], [0, 0]] {
            assert_eq!(ioctl(user, fd, 0x127f, range).0, -22, "{range:?}");
        }
        let reader = open(user, RDONLY);
        assert_eq!(ioctl(user, reader, 0x127f, [0, 512]).0, -9);
        // fallocate(2)
        for (mode, offset, len, wanted) in [
            (3, 0, 512, 0),
            (17, 512, 512, 0),
            (16, SIZE - 512, 1024, -22),
            (17, SIZE - 512, 1024, 0),
            (0, 0, 512, -95),
            (3, 0, 100, -22),
        ] {
            assert_eq!(
                user.syscall(285, [signed(fd), mode, offset, len, 0, 0]),
                wanted,
                "{mode} {offset} {len}"
            );
        }
        assert_eq!(pread(user, fd, 1, SIZE - 1).unwrap(), [0]);
        0
    });
}

#[test]
fn read_only_devices_and_exclusive_opens() {
    check(2, BlockGeometry { is_read_only: true, ..GEOMETRY }, |user, _| {
        let fd = open(user, RDWR);
        assert_eq!(pread(user, fd, 4, 0).unwrap(), [0; 4]);
        assert_eq!(pwrite(user, fd, b"x", 0), -1);
        assert_eq!(ioctl(user, fd, 0x125e, [0; 2]).1, 1);
        assert_eq!(ioctl(user, fd, 0x127f, [0, 512]).0, -1);
        assert_eq!(user.syscall(9, [0, 4096, 3, 1, signed(fd), 0]), -22, "shared and writable");
        assert!(user.syscall(9, [0, 4096, 3, 2, signed(fd), 0]) > 0, "private");
        let exclusive = open(user, RDONLY | EXCL);
        assert!(exclusive > 0);
        assert_eq!(open(user, RDONLY | EXCL), -16);
        assert!(open(user, RDONLY) > 0);
        assert_eq!(user.syscall(3, [signed(exclusive), 0, 0, 0, 0, 0]), 0);
        assert!(open(user, RDONLY | EXCL) > 0);
        0
    });
}

#[test]
fn mapped_pages_are_written_back() {
    check(5, GEOMETRY, |user, disk| {
        let fd = open(user, RDWR);
        let at = user.syscall(9, [0, 8192, 3, 1, signed(fd), 4096]);
        assert!(at > 0);
        user.store(signed(at) + 10, b"through the map");
        assert_eq!(pread(user, fd, 15, 4106).unwrap(), b"through the map");
        assert_eq!(user.syscall(26, [signed(at), 8192, 4, 0, 0, 0]), 0, "msync");
        assert_eq!(&disk.state().durable[4106..4121], b"through the map");
        user.store(signed(at), b"lost");
        disk.state().failure = Some(BlockError::Io);
        assert_eq!(user.syscall(26, [signed(at), 8192, 4, 0, 0, 0]), -5);
        disk.state().failure = None;
        0
    });
}

#[test]
fn what_is_written_reaches_the_device_when_the_container_ends() {
    let check_end = |sleeper: &chitin_core::sleep::Sleeper| {
        let disk: &'static MemoryDisk = Box::leak(Box::new(MemoryDisk::new(GEOMETRY)));
        let budget = Budget::root().child(1000);
        let device = block::attach(3, disk, 77, &budget).unwrap();
        assert_eq!((device.name().as_str(), device.number()), ("vdd", block::number(3)));
        assert_eq!(device.serial(sleeper), "memory");
        let creds = Creds::root();
        let cx = FsCx::kernel(sleeper, &creds);
        let stranger = FsCx { caller: crate::fs::stream::Caller { container: 5, ..cx.caller }, ..cx };
        assert!(block::open(&stranger, device.number(), 0).is_err_and(|errno| errno.number() == 1));
        let mut from = crate::user::IoReader::kernel(b"last words");
        device.mapping().write(sleeper, 512, &mut from).unwrap();
        block::detach(sleeper, 77);
        assert_eq!(&disk.state().bytes[512..522], b"last words");
        assert!(block::open(&cx, device.number(), 0).is_err_and(|errno| errno.number() == 6));
    };
    hosted::for_seeds(3, check_end);
}
