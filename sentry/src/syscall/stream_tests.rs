//! Behaviour of streams, futexes, timers and sockets, as programs see it, under many schedules.

use crate::platform::hosted::{self, User, program};
use crate::task::ExitStatus;
use crate::task::tests::{container, start};
use chitin_core::sleep::Sleeper;
use std::vec;
use std::vec::Vec;

/// Runs `init` as the first process of a container with many seeds; it is to return 0.
fn check(init: impl Fn(&mut User) -> i32 + Send + Sync + Clone + 'static) {
    hosted::for_seeds(25, move |sleeper: &Sleeper| {
        let container = container();
        let process = start(&container, program(init.clone()));
        assert_eq!(process.wait_exit(sleeper), ExitStatus::Exited(0));
        assert_eq!(container.pids(), 0, "every task is gone");
    });
}

const READ: u64 = 0;
const WRITE: u64 = 1;
const CLOSE: u64 = 3;
const POLL: u64 = 7;
const PIPE2: u64 = 293;

fn call(user: &mut User, number: u64, arguments: &[u64]) -> i64 {
    let mut all = [0; 6];
    all.iter_mut().zip(arguments).for_each(|(to, from)| *to = *from);
    user.syscall(number, all)
}

fn ok(user: &mut User, number: u64, arguments: &[u64]) -> u64 {
    let result = call(user, number, arguments);
    assert!(result >= 0, "call {number} {arguments:?}: {result}");
    result.cast_unsigned()
}

fn two(user: &mut User, number: u64, arguments: &[u64]) -> (u64, u64) {
    let at = user.map(4096);
    ok(user, number, &[arguments, &[at]].concat());
    (u64::from(user.load_u32(at)), u64::from(user.load_u32(at + 4)))
}

fn pipe(user: &mut User, flags: u64) -> (u64, u64) {
    let at = user.map(4096);
    ok(user, PIPE2, &[at, flags]);
    (u64::from(user.load_u32(at)), u64::from(user.load_u32(at + 4)))
}

fn wait(user: &mut User) -> u32 {
    let status = user.map(4096);
    ok(user, 61, &[u64::MAX, status, 0, 0]);
    user.load_u32(status)
}

fn read(user: &mut User, fd: u64, len: u64) -> Vec<u8> {
    let at = user.map(len.next_multiple_of(4096));
    let got = ok(user, READ, &[fd, at, len]);
    let mut bytes = vec![0; usize::try_from(got).unwrap()];
    user.load(at, &mut bytes);
    bytes
}

fn handler(user: &mut User, signal: u64, flags: u64) -> u64 {
    user.regs.rsp = user.map(65536) + 65536;
    let counter = user.map(4096);
    let entry = program(move |user: &mut User| {
        let count = user.load_u32(counter) + 1;
        user.store(counter, &count.to_le_bytes());
        0
    });
    let at = user.map(4096);
    for (index, word) in [entry, flags | 0x0400_0000, 1, 0].iter().enumerate() {
        user.store(at + 8 * index as u64, &word.to_le_bytes());
    }
    ok(user, 13, &[signal, at, 0, 8]);
    counter
}

#[test]
fn a_pipe_carries_much_between_processes() {
    check(|user| {
        let (reader, writer) = pipe(user, 0);
        user.fork(move |user| {
            ok(user, CLOSE, &[reader]);
            let data: Vec<u8> = (0..150_000u32).map(|at| at.to_le_bytes()[0]).collect();
            let at = user.place(&data);
            assert_eq!(ok(user, WRITE, &[writer, at, 150_000]), 150_000);
            0
        });
        ok(user, CLOSE, &[writer]);
        let mut total = vec![];
        loop {
            let part = read(user, reader, 10_000);
            if part.is_empty() {
                break;
            }
            total.extend(part);
        }
        assert_eq!(total.len(), 150_000);
        assert!((0..150_000u32).zip(&total).all(|(at, byte)| at.to_le_bytes()[0] == *byte));
        assert_eq!(wait(user), 0);
        0
    });
}

#[test]
fn a_broken_pipe_kills() {
    check(|user| {
        let (reader, writer) = pipe(user, 0);
        ok(user, CLOSE, &[reader]);
        user.fork(move |user| {
            let at = user.place(b"x");
            call(user, WRITE, &[writer, at, 1]);
            9
        });
        assert_eq!(wait(user), 13);
        0
    });
}

#[test]
fn poll_waits_for_bytes_and_for_time() {
    check(|user| {
        let (reader, writer) = pipe(user, 0);
        let fds = user.place(&[reader.to_le_bytes()[0], 0, 0, 0, 1, 0, 0, 0, 99, 0, 0, 0, 1, 0, 9, 9]);
        assert_eq!(ok(user, POLL, &[fds, 1, 0]), 0);
        assert_eq!(ok(user, POLL, &[fds, 2, 1000]), 1, "a closed descriptor is ready");
        assert_eq!(user.load_u32(fds + 12) >> 16, 0x20);
        assert_eq!(ok(user, POLL, &[fds, 1, 50]), 0);
        user.fork(move |user| {
            let time = user.place(&[[0u8; 8], 2_000_000u64.to_le_bytes()].concat());
            ok(user, 35, &[time, 0]);
            let at = user.place(b"x");
            ok(user, WRITE, &[writer, at, 1]);
            0
        });
        assert_eq!(ok(user, POLL, &[fds, 1, u64::MAX]), 1);
        assert_eq!(user.load_u32(fds + 4) >> 16, 1);
        wait(user);
        0
    });
}

#[test]
fn ppoll_takes_its_mask_with_it() {
    check(|user| {
        let counter = handler(user, 10, 0);
        let set = user.place(&(1u64 << 9).to_le_bytes());
        ok(user, 14, &[0, set, 0, 8]);
        ok(user, 62, &[1, 10]);
        assert_eq!(user.load_u32(counter), 0, "blocked");
        let none = user.place(&[0; 8]);
        assert_eq!(call(user, 271, &[0, 0, 0, none, 8]), -4);
        assert_eq!(user.load_u32(counter), 1);
        ok(user, 62, &[1, 10]);
        assert_eq!(user.load_u32(counter), 1, "blocked again");
        0
    });
}

#[test]
fn futexes_work_across_processes() {
    check(|user| {
        // Shared anonymous memory.
        let at = ok(user, 9, &[0, 4096, 3, 0x21, u64::MAX, 0]);
        user.fork(move |user| {
            while user.load_u32(at) == 0 {
                let result = call(user, 202, &[at, 0, 0, 0, 0, 0]);
                assert!(result == 0 || result == -11, "{result}");
            }
            user.store(at + 4, &1u32.to_le_bytes());
            ok(user, 202, &[at + 4, 1, 1]);
            0
        });
        user.spin();
        user.store(at, &1u32.to_le_bytes());
        ok(user, 202, &[at, 1, 1]);
        while user.load_u32(at + 4) == 0 {
            let result = call(user, 202, &[at + 4, 0, 0, 0]);
            assert!(result == 0 || result == -11, "{result}");
        }
        assert_eq!(wait(user), 0);
        let time = user.place(&[[0u8; 8], 1_000_000u64.to_le_bytes()].concat());
        assert_eq!(call(user, 202, &[at + 8, 128, 0, time]), -110);
        0
    });
}

#[test]
fn interval_timers_interrupt_sleep() {
    check(|user| {
        let counter = handler(user, 14, 0);
        let value = user.place(&[[0u8; 24].as_slice(), &5000u64.to_le_bytes()].concat());
        ok(user, 38, &[0, value, 0]);
        let time = user.place(&[1u64.to_le_bytes(), [0; 8]].concat());
        let left = user.map(4096);
        assert_eq!(call(user, 35, &[time, left]), -4);
        assert_eq!(user.load_u32(counter), 1);
        assert_eq!(user.load_u64(left), 0);
        assert!((900_000_000..996_000_000).contains(&user.load_u64(left + 8)));
        assert_eq!(ok(user, 37, &[10]), 0);
        assert_eq!(ok(user, 37, &[0]), 10);
        0
    });
}

#[test]
fn posix_timers_count_what_they_miss() {
    check(|user| {
        let counter = handler(user, 34, 0);
        // sigevent: value 77, signal 34, SIGEV_SIGNAL.
        let event = user.place(&[77u64.to_le_bytes(), 34u64.to_le_bytes()].concat());
        let id = user.map(4096);
        ok(user, 222, &[1, event, id]);
        let id = u64::from(user.load_u32(id));
        let set = user.place(&(1u64 << 33).to_le_bytes());
        ok(user, 14, &[0, set, 0, 8]);
        let ms = |count: u64| (count * 1_000_000).to_le_bytes();
        let value = user.place(&[[0; 8], ms(10), [0; 8], ms(10)].concat());
        ok(user, 223, &[id, 0, value, 0]);
        let time = user.place(&[[0; 8], ms(55)].concat());
        ok(user, 35, &[time, 0]);
        ok(user, 14, &[1, set, 0, 8]);
        assert_eq!(user.load_u32(counter), 1);
        assert!((3..=5).contains(&ok(user, 225, &[id])));
        ok(user, 226, &[id]);
        assert_eq!(call(user, 226, &[id]), -22);
        0
    });
}

#[test]
fn epoll_hears_of_timers_and_counters() {
    check(|user| {
        let epoll = ok(user, 291, &[0]);
        let counter = ok(user, 290, &[0, 0]);
        let timer = ok(user, 283, &[1, 0]);
        for (fd, data) in [(counter, 5u8), (timer, 6)] {
            let event = user.place(&[1, 0, 0, 0, data, 0, 0, 0, 0, 0, 0, 0]);
            ok(user, 233, &[epoll, 1, fd, event]);
        }
        let events = user.map(4096);
        assert_eq!(ok(user, 232, &[epoll, events, 8, 0]), 0);
        let value = user.place(&[[0; 24].as_slice(), &1_000_000u64.to_le_bytes()].concat());
        ok(user, 286, &[timer, 0, value, 0]);
        assert_eq!(ok(user, 232, &[epoll, events, 8, u64::MAX]), 1);
        assert_eq!(user.load_u32(events + 4), 6);
        assert_eq!(read(user, timer, 8), 1u64.to_le_bytes());
        user.fork(move |user| {
            let one = user.place(&1u64.to_le_bytes());
            ok(user, WRITE, &[counter, one, 8]);
            0
        });
        assert_eq!(ok(user, 232, &[epoll, events, 8, u64::MAX]), 1);
        assert_eq!(user.load_u32(events + 4), 5);
        wait(user);
        0
    });
}

#[test]
fn descriptors_travel_over_sockets() {
    check(|user| {
        let (one, other) = two(user, 53, &[1, 1, 0]);
        let (reader, writer) = pipe(user, 0);
        user.fork(move |user| {
            let data = user.place(b"z");
            let iov = user.place(&[data.to_le_bytes(), 1u64.to_le_bytes()].concat());
            let control = user.place(
                &[
                    20u64.to_le_bytes().as_slice(),
                    &1u32.to_le_bytes(),
                    &1u32.to_le_bytes(),
                    &u32::try_from(writer).unwrap().to_le_bytes(),
                ]
                .concat(),
            );
            let header: Vec<u8> =
                [0, 0, iov, 1, control, 20, 0].iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
            let header = user.place(&header);
            assert_eq!(ok(user, 46, &[one, header, 0]), 1);
            0
        });
        ok(user, CLOSE, &[writer]);
        let data = user.map(4096);
        let iov = user.place(&[data.to_le_bytes(), 16u64.to_le_bytes()].concat());
        let control = user.map(4096);
        let header: Vec<u8> =
            [0, 0, iov, 1, control, 64, 0].iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        let header = user.place(&header);
        assert_eq!(ok(user, 47, &[other, header, 0]), 1);
        let received = u64::from(user.load_u32(control + 16));
        assert_eq!(user.load_u64(header + 40), 24);
        wait(user);
        let at = user.place(b"through");
        ok(user, WRITE, &[received, at, 7]);
        assert_eq!(read(user, reader, 100), b"through");
        0
    });
}

#[test]
fn sockets_have_names_in_file_systems() {
    check(|user| {
        let address = user.place(b"\x01\0/socket\0");
        let listener = ok(user, 41, &[1, 1, 0]);
        let client = ok(user, 41, &[1, 1, 0]);
        assert_eq!(call(user, 42, &[client, address, 10]), -2);
        ok(user, 49, &[listener, address, 10]);
        assert_eq!(call(user, 49, &[client, address, 10]), -98);
        assert_eq!(call(user, 42, &[client, address, 10]), -111);
        ok(user, 50, &[listener, 5]);
        user.fork(move |user| {
            let accepted = ok(user, 288, &[listener, 0, 0, 0]);
            let got = read(user, accepted, 100);
            let at = user.place(&got);
            ok(user, WRITE, &[accepted, at, got.len() as u64]);
            0
        });
        ok(user, 42, &[client, address, 10]);
        let at = user.place(b"echo");
        ok(user, WRITE, &[client, at, 4]);
        assert_eq!(read(user, client, 100), b"echo");
        assert_eq!(read(user, client, 100), b"");
        assert_eq!(call(user, 41, &[3, 1, 0]), -97, "AF_AX25");
        wait(user);
        0
    });
}

#[test]
fn signals_are_read_from_a_descriptor() {
    check(|user| {
        let set = user.place(&(1u64 << 16).to_le_bytes());
        ok(user, 14, &[0, set, 0, 8]);
        let fd = ok(user, 289, &[u64::MAX, set, 8, 0]);
        let child = user.fork(|_| 4);
        let info = read(user, fd, 128);
        assert_eq!(info[0], 17);
        assert_eq!(u32::from_le_bytes(info[12..16].try_into().unwrap()), u32::try_from(child).unwrap());
        assert_eq!(info[40], 4);
        wait(user);
        0
    });
}

const SIGTTIN: u32 = 21;

#[test]
fn terminals_control_jobs() {
    check(|user| {
        let dir = user.string("/pts");
        ok(user, 83, &[dir, 0o755]);
        let kind = user.string("devpts");
        let options = user.string("ptmxmode=666,mode=620");
        ok(user, 165, &[kind, dir, kind, 0, options]);
        let path = user.string("/pts/ptmx");
        let master = ok(user, 2, &[path, 2]);
        let word = user.map(4096);
        ok(user, 16, &[master, 0x8004_5430, word]);
        assert_eq!(user.load_u32(word), 0);
        let path = user.string("/pts/0");
        assert_eq!(call(user, 2, &[path, 2]), -5, "locked");
        user.store(word, &[0; 4]);
        ok(user, 16, &[master, 0x4004_5431, word]);
        let slave = ok(user, 2, &[path, 2]);
        ok(user, 16, &[slave, 0x540f, word]);
        assert_eq!(user.load_u32(word), 1, "init's group is in the foreground");
        // A child in the background is stopped when it reads.
        let child = user.fork(move |user| {
            ok(user, 109, &[0, 0]);
            let line = read(user, slave, 100);
            assert_eq!(line, b"hello\n");
            loop {
                user.syscall(34, [0; 6]);
            }
        });
        let child = child.cast_unsigned();
        let status = user.map(4096);
        ok(user, 61, &[child, status, 2, 0]);
        assert_eq!(user.load_u32(status), (SIGTTIN << 8) | 0x7f);
        user.store(word, &u32::try_from(child).unwrap().to_le_bytes());
        ok(user, 16, &[slave, 0x5410, word]);
        ok(user, 62, &[child, 18]);
        let typed = user.place(b"hellp\x7fo\r");
        ok(user, WRITE, &[master, typed, 8]);
        // Echo.
        let mut echoed = vec![];
        while !echoed.ends_with(b"\n") {
            echoed.extend(read(user, master, 100));
        }
        assert_eq!(echoed, b"hellp\x08 \x08o\r\n");
        let time = user.place(&[[0u8; 8], 5_000_000u64.to_le_bytes()].concat());
        ok(user, 35, &[time, 0]);
        let typed = user.place(b"\x03");
        ok(user, WRITE, &[master, typed, 1]);
        ok(user, 61, &[child, status, 0, 0]);
        assert_eq!(user.load_u32(status), 2, "killed by SIGINT");
        let path = user.string("/dev");
        ok(user, 83, &[path, 0o755]);
        let path = user.string("/dev/tty");
        ok(user, 133, &[path, 0o20666, 0x500]);
        let again = ok(user, 2, &[path, 2]);
        ok(user, 16, &[again, 0x5429, word]);
        assert_eq!(user.load_u32(word), 1);
        // Init ignores SIGHUP, so the hang-up shows at the descriptor.
        ok(user, CLOSE, &[master]);
        assert_eq!(read(user, slave, 10), b"");
        let typed = user.place(b"x");
        assert_eq!(call(user, WRITE, &[slave, typed, 1]), -5);
        let path = user.string("/pts/0");
        assert_eq!(call(user, 2, &[path, 2]), -2);
        0
    });
}
