//! Requests well-formed and hostile, against a file.
#![allow(clippy::cast_possible_truncation, reason = "tests compute with small numbers")]

use super::*;
use crate::virtio::chain::Descriptor;
use crate::virtio::driver::{Driver, RAM};
use chitin_proto::block::{Header, Range, kind};
use chitin_proto::vmm::{Access, Block};
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use zerocopy::IntoBytes;

const SECTORS: u64 = 64;

struct Disk {
    slot: Slot,
    driver: Driver,
    ram: Arc<GuestRam>,
    file: std::fs::File,
}

fn block(access: Access, bytes: u64) -> Block {
    Block {
        slot: 0,
        access,
        bytes,
        block_size: 512,
        physical_block_size: 4096,
        serial: "serial-1".to_owned(),
    }
}

fn temporary() -> std::fs::File {
    let memory = rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = std::fs::File::from(memory);
    let bytes: Vec<u8> = (0..SECTORS * 512).map(|at| (at / 512) as u8).collect();
    file.write_all(&bytes).unwrap();
    file
}

fn disk(access: Access) -> Disk {
    let ram = Arc::new(GuestRam::new(RAM).unwrap());
    let (queue, driver) = Driver::new(&ram, "block0", QUEUE_SIZE, 1);
    let file = temporary();
    let image = Image::new(OwnedFd::from(file.try_clone().unwrap()), &block(access, SECTORS * 512)).unwrap();
    let attached = Some(Arc::new(Attached { image, counters: Counters::default() }));
    let slot =
        Slot { kick: Arc::clone(queue.kick()), queue: Mutex::new(queue), attached: Mutex::new(attached) };
    Disk { slot, driver, ram, file }
}

impl Disk {
    fn step(&mut self) -> Result<bool, Violation> {
        let popped = self.slot.queue().pop(&self.ram)?;
        match popped {
            Some(chain) => serve(&self.slot, &self.ram, chain).map(|()| true),
            None => Ok(false),
        }
    }

    /// One request; returns the status and what was read.
    fn ask(&mut self, header: Header, data: &[&[u8]], rooms: &[u32]) -> (u8, Vec<u8>) {
        let readable: Vec<&[u8]> = std::iter::once(header.as_bytes()).chain(data.iter().copied()).collect();
        let writable: Vec<u32> = rooms.iter().copied().chain([1]).collect();
        let at = self.driver.submit(&readable, &writable);
        assert!(self.step().unwrap());
        let (_, written) = self.driver.returned().unwrap();
        let (status, rooms_at) = at.split_last().unwrap();
        let mut read = Vec::new();
        for (at, len) in rooms_at.iter().zip(rooms) {
            read.extend(self.driver.bytes(*at, *len as usize));
        }
        assert!(written as usize <= read.len() + 1);
        (self.driver.bytes(*status, 1)[0], read)
    }

    fn contents(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.file.rewind().unwrap();
        self.file.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

fn header(kind: u32, sector: u64) -> Header {
    Header { kind, reserved: 0, sector }
}

#[test]
fn reads_and_writes_in_pieces() {
    let mut disk = disk(Access::ReadWrite);
    let (status, read) = disk.ask(header(kind::IN, 3), &[], &[512, 1024]);
    assert_eq!((status, read[0], read[511], read[512], read[1535]), (0, 3, 3, 4, 5));
    let (one, two) = ([0xaa; 700], [0xbb; 324]);
    assert_eq!(disk.ask(header(kind::OUT, 8), &[&one, &two], &[]).0, 0);
    let now = disk.contents();
    assert_eq!(
        (now[4095], now[4096], now[4795], now[4796], now[5119], now[5120]),
        (7, 0xaa, 0xaa, 0xbb, 0xbb, 10)
    );
    assert_eq!(disk.ask(header(kind::FLUSH, 0), &[], &[]).0, 0);
    let (status, id) = disk.ask(header(kind::GET_ID, 0), &[], &[20]);
    assert_eq!((status, &id[..9]), (0, &b"serial-1\0"[..]));
    let stats = disk.slot.attached().as_ref().unwrap().counters.read();
    assert_eq!((stats.reads, stats.read_bytes, stats.writes, stats.written_bytes), (1, 1536, 1, 1024));
    assert_eq!((stats.flushes, stats.errors), (1, 0));
}

#[test]
fn ranges_are_zeroed_and_discarded() {
    let mut disk = disk(Access::ReadWrite);
    let ranges = [Range { sector: 8, sectors: 8, flags: 1 }, Range { sector: 20, sectors: 1, flags: 0 }];
    assert_eq!(disk.ask(header(kind::WRITE_ZEROES, 0), &[ranges.as_bytes()], &[]).0, 0);
    let now = disk.contents();
    assert!(now[8 * 512..16 * 512].iter().all(|byte| *byte == 0));
    assert!(now[20 * 512..21 * 512].iter().all(|byte| *byte == 0));
    assert_eq!((now[19 * 512], now[21 * 512]), (19, 21));
    let range = Range { sector: 32, sectors: 8, flags: 0 };
    assert_eq!(disk.ask(header(kind::DISCARD, 0), &[range.as_bytes()], &[]).0, 0);
    for (range, status) in [
        (Range { sector: 32, sectors: 8, flags: 1 }, status::UNSUPP),
        (Range { sector: SECTORS, sectors: 1, flags: 0 }, status::IOERR),
        (Range { sector: u64::MAX, sectors: 2, flags: 0 }, status::IOERR),
        (Range { sector: 0, sectors: u32::MAX, flags: 0 }, status::IOERR),
    ] {
        assert_eq!(disk.ask(header(kind::DISCARD, 0), &[range.as_bytes()], &[]).0, status, "{range:?}");
    }
}

#[test]
fn what_does_not_lie_on_the_device_is_an_error() {
    let mut disk = disk(Access::ReadWrite);
    for sector in [SECTORS, SECTORS - 1, u64::MAX, u64::MAX / 512, u64::MAX - 1] {
        assert_eq!(disk.ask(header(kind::IN, sector), &[], &[1024]).0, status::IOERR, "{sector}");
        assert_eq!(disk.ask(header(kind::OUT, sector), &[&[1; 1024]], &[]).0, status::IOERR, "{sector}");
    }
    assert_eq!(disk.ask(header(kind::IN, 0), &[], &[100]).0, status::IOERR);
    assert_eq!(disk.ask(header(kind::IN, 0), &[b"x"], &[512]).0, status::IOERR);
    assert_eq!(disk.ask(header(kind::OUT, 0), &[&[0; 512]], &[512]).0, status::IOERR);
    assert_eq!(disk.ask(header(kind::GET_ID, 0), &[], &[19]).0, status::IOERR);
    assert_eq!(disk.ask(header(kind::DISCARD, 0), &[], &[]).0, status::IOERR);
    assert_eq!(disk.ask(header(kind::DISCARD, 0), &[&[0; 15]], &[]).0, status::IOERR);
    assert_eq!(disk.ask(header(99, 0), &[], &[]).0, status::UNSUPP);
    let before = disk.contents();
    assert_eq!(before.len() as u64, SECTORS * 512);
    disk.file.set_len(1024).unwrap();
    assert_eq!(disk.ask(header(kind::IN, 4), &[], &[512]).0, status::IOERR);
    assert!(disk.slot.attached().as_ref().unwrap().counters.read().errors > 10);
}

#[test]
fn a_read_only_device_stays_as_it_is() {
    let mut disk = disk(Access::ReadOnly);
    let range = Range { sector: 0, sectors: 1, flags: 0 };
    assert_eq!(disk.ask(header(kind::OUT, 0), &[&[1; 512]], &[]).0, status::IOERR);
    assert_eq!(disk.ask(header(kind::DISCARD, 0), &[range.as_bytes()], &[]).0, status::IOERR);
    assert_eq!(disk.ask(header(kind::WRITE_ZEROES, 0), &[range.as_bytes()], &[]).0, status::IOERR);
    assert_eq!(disk.ask(header(kind::FLUSH, 0), &[], &[]).0, 0);
    assert_eq!(disk.contents()[600], 1);
    assert_eq!(disk.slot.attached().as_ref().unwrap().image.config().features & 1 << 5, 1 << 5);
}

#[test]
fn an_empty_slot_answers_with_an_error() {
    let mut disk = disk(Access::ReadWrite);
    disk.slot.attached().take();
    assert_eq!(disk.ask(header(kind::IN, 0), &[], &[512]).0, status::IOERR);
}

#[test]
fn chains_without_header_or_status_are_violations() {
    for (readable, writable) in [(&[0u8; 15][..], &[1u32][..]), (&[0; 16], &[]), (&[], &[16])] {
        let mut disk = disk(Access::ReadWrite);
        let pieces: Vec<&[u8]> = if readable.is_empty() { Vec::new() } else { vec![readable] };
        disk.driver.submit(&pieces, writable);
        assert!(disk.step().is_err(), "{readable:?} {writable:?}");
    }
}

/// Random chains, random headers: an answer or a violation, never a panic, and never a byte outside the device.
#[test]
fn nonsense_neither_panics_nor_reaches_beyond_the_device() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut answers, mut violations) = (0, 0);
    for _ in 0..300 {
        let mut disk = disk(if random() % 4 == 0 { Access::ReadOnly } else { Access::ReadWrite });
        for _ in 0..40 {
            let kinds = [0, 0, 1, 1, 4, 8, 11, 13, 2, 14, u32::MAX];
            let head = header(
                kinds[(random() % kinds.len() as u64) as usize],
                [random() % 70, random(), u64::MAX - random() % 3][(random() % 3) as usize],
            );
            let mut bytes = head.as_bytes().to_vec();
            for _ in 0..random() % 40 {
                bytes.push(random() as u8);
            }
            let at = disk.driver.buffer(8192);
            disk.ram.write(at, &bytes).unwrap();
            let count = 1 + random() % 6;
            let mut writable = false;
            for index in 0..count {
                let wild = random() % 100 == 0;
                writable =
                    (writable || random() % 3 == 0 || index + 1 == count) && index > 0 && random() % 50 > 0;
                let descriptor = Descriptor {
                    addr: if wild { random() } else { at + if index == 0 { 0 } else { random() % 4096 } },
                    len: if index == 0 {
                        16
                    } else {
                        [16, 512, 1024, 1, 0, 4096, random() as u32 % 5000][(random() % 7) as usize]
                    },
                    flags: (u16::from(writable) * 2) | u16::from(index + 1 < count),
                    next: if random() % 100 == 0 { random() as u16 } else { index as u16 + 1 },
                };
                disk.driver.write_descriptor(index as u16, descriptor);
            }
            disk.driver.make_available(if random() % 50 == 0 { random() as u16 } else { 0 });
            match disk.step() {
                Ok(_) => answers += 1,
                Err(_) => {
                    violations += 1;
                    break;
                }
            }
        }
        assert_eq!(disk.contents().len() as u64, SECTORS * 512);
    }
    assert!(answers > 300 && violations > 100, "{answers} {violations}");
}

#[test]
fn threads_serve_kicks_and_end() {
    let ram = Arc::new(GuestRam::new(RAM).unwrap());
    let (queues, mut drivers): (Vec<_>, Vec<_>) =
        (0..2).map(|slot| Driver::new(&ram, NAMES[slot as usize][0], QUEUE_SIZE, slot + 1)).unzip();
    let notices = Arc::new(Notices::new().unwrap());
    let mut blocks = Blocks::new(Arc::clone(&ram), queues, Arc::clone(&notices)).unwrap();
    assert_eq!(blocks.config(1).unwrap().sectors, 0);
    for slot in 0..2 {
        let file = OwnedFd::from(temporary());
        let image = Image::new(file, &block(Access::ReadWrite, SECTORS * 512)).unwrap();
        blocks.attach(slot, image, || Ok(())).unwrap();
    }
    assert_eq!(blocks.config(1).unwrap().sectors, SECTORS);
    assert!(matches!(blocks.detach(7), Err(SlotError::None(7))));
    let mut submitted = Vec::new();
    for round in 0..20 {
        for (slot, driver) in drivers.iter_mut().enumerate() {
            let at = driver.submit(&[header(kind::IN, round).as_bytes()], &[512, 1]);
            blocks.kick(slot as u32).unwrap().signal();
            submitted.push((slot, round, at));
        }
    }
    for driver in &mut drivers {
        let mut left = 20;
        while left > 0 {
            match driver.returned() {
                Some((_, written)) => {
                    assert_eq!(written, 513);
                    left -= 1;
                }
                None => std::thread::yield_now(),
            }
        }
    }
    for (slot, round, at) in submitted {
        assert_eq!(drivers[slot].bytes(at[0], 1)[0], round as u8);
        assert_eq!(drivers[slot].bytes(at[1], 1)[0], 0);
    }
    assert_eq!(blocks.stats()[1].1.reads, 20);
    blocks.detach(0).unwrap();
    assert!(matches!(blocks.detach(0), Err(SlotError::Empty(0))));
    drop(blocks);
    assert_eq!(notices.take().end, None);
}

#[test]
fn descriptors_that_are_no_images_are_refused() {
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(matches!(Image::new(null.into(), &block(Access::ReadOnly, 512)), Err(image::ImageError::Kind)));
    let image = |block: &Block| Image::new(temporary().into(), block).map(drop);
    assert!(matches!(image(&block(Access::ReadOnly, 1 << 20)), Err(image::ImageError::Short(32768))));
    assert!(matches!(image(&block(Access::ReadOnly, 511)), Err(image::ImageError::Size { .. })));
    let odd = Block { block_size: 600, ..block(Access::ReadOnly, 8192) };
    assert!(matches!(image(&odd), Err(image::ImageError::Size { .. })));
    let long = Block { serial: "x".repeat(21), ..block(Access::ReadOnly, 8192) };
    assert!(matches!(image(&long), Err(image::ImageError::Serial(_))));
}
