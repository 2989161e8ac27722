//! Hostile rings and descriptors: every one is a violation or harmless, none a panic or a loop.

use super::super::chain::Descriptor;
use super::super::driver::{Driver, RAM};
use super::*;
use chitin_proto::layout::RAM_GPA;

fn pair(size: u16) -> (Arc<GuestRam>, VirtQueue, Driver) {
    let ram = Arc::new(GuestRam::new(RAM).unwrap());
    let (queue, driver) = Driver::new(&ram, "test.0", size, 0);
    (ram, queue, driver)
}

fn pop_rule(descriptors: &[(u16, Descriptor)], head: u16) -> String {
    let (ram, mut queue, mut driver) = pair(4);
    for (index, descriptor) in descriptors {
        driver.write_descriptor(*index, *descriptor);
    }
    driver.make_available(head);
    match queue.pop(&ram) {
        Err(violation) => violation.rule,
        Ok(chain) => format!("accepted {}", chain.is_some()),
    }
}

const fn descriptor(addr: u64, len: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor { addr, len, flags, next }
}

#[test]
fn bad_chains_are_named() {
    let good = RAM_GPA + 0x8000;
    assert!(pop_rule(&[], 4).contains("beyond the table"));
    assert!(pop_rule(&[], u16::MAX).contains("beyond the table"));
    assert!(pop_rule(&[(0, descriptor(good, 1, 1, 9))], 0).contains("beyond the table"));
    assert!(pop_rule(&[(0, descriptor(good, 1, 1, 0))], 0).contains("loop"));
    let ring = [(0, descriptor(good, 1, 1, 1)), (1, descriptor(good, 1, 1, 0))];
    assert!(pop_rule(&ring, 0).contains("loop"));
    assert!(pop_rule(&[(0, descriptor(good, 16, 4, 0))], 0).contains("indirect"));
    let order = [(0, descriptor(good, 1, 3, 1)), (1, descriptor(good, 1, 0, 0))];
    assert!(pop_rule(&order, 0).contains("follows a writable"));
    for (addr, len) in [
        (0, 1),
        (RAM_GPA - 1, 1),
        (RAM_GPA - 1, 2),
        (RAM_GPA + RAM, 1),
        (RAM_GPA + RAM - 1, 2),
        (u64::MAX, 1),
        (u64::MAX, u32::MAX),
        (RAM_GPA, u32::MAX),
        (1 << 63, 8),
    ] {
        assert!(pop_rule(&[(0, descriptor(addr, len, 0, 0))], 0).contains("not RAM"), "{addr:#x}+{len:#x}");
    }
}

#[test]
fn empty_descriptors_are_nothing() {
    let (ram, mut queue, mut driver) = pair(4);
    driver.write_descriptor(0, descriptor(u64::MAX, 0, 1, 1));
    driver.write_descriptor(1, descriptor(0, 0, 2, 0));
    driver.make_available(0);
    let mut chain = queue.pop(&ram).unwrap().unwrap();
    assert!(chain.readable.is_empty() && chain.writable.is_empty());
    assert_eq!(chain.readable.read_value::<u64>(), None);
    assert!(!chain.writable.write_value(&1u8));
}

#[test]
fn an_impossible_index_is_a_violation() {
    let (ram, mut queue, driver) = pair(4);
    for index in [5, 100, u16::MAX] {
        driver.set_avail_index(index);
        assert!(queue.pop(&ram).is_err());
    }
    driver.set_avail_index(0);
    assert!(queue.pop(&ram).unwrap().is_none());
}

#[test]
fn requests_go_round_and_come_back_in_order() {
    let (ram, mut queue, mut driver) = pair(8);
    for round in 0u32..70_000 {
        let room = driver.submit(&[&round.to_le_bytes()], &[4])[0];
        let mut chain = queue.pop(&ram).unwrap().unwrap();
        if round % 7 == 0 {
            queue.unpop();
            chain = queue.pop(&ram).unwrap().unwrap();
        }
        let value: u32 = chain.readable.read_value().unwrap();
        assert!(chain.writable.write_value(&(value + 1)));
        queue.push(&ram, chain.head, 4).unwrap();
        queue.notify(&ram).unwrap();
        assert!(queue.pop(&ram).unwrap().is_none());
        assert_eq!(driver.returned().unwrap().1, 4);
        assert_eq!(driver.bytes(room, 4), (round + 1).to_le_bytes());
    }
}

#[test]
fn cursors_cross_pieces() {
    let (ram, mut queue, mut driver) = pair(16);
    let rooms = driver.submit(&[b"ab", b"", b"cdefg", b"h"], &[1, 3, 2]);
    let mut chain = queue.pop(&ram).unwrap().unwrap();
    let mut three = [0; 3];
    assert_eq!(chain.readable.read(&mut three), 3);
    assert_eq!(&three, b"abc");
    let mut front = chain.readable.split_front(4);
    assert_eq!((front.left(), chain.readable.left(), chain.readable.done()), (4, 1, 7));
    let mut rest = [0; 9];
    assert_eq!(front.read(&mut rest), 4);
    assert_eq!(&rest[..4], b"defg");
    assert_eq!(chain.writable.write(b"12345678"), 6);
    let out: Vec<u8> = rooms.iter().zip([1, 3, 2]).flat_map(|(at, len)| driver.bytes(*at, len)).collect();
    assert_eq!(out, b"123456");
}
