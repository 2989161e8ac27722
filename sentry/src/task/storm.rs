//! Random system calls with random arguments: nothing may panic, take locks in a wrong order, or outlive its container.

use super::tests::{container, start};
use crate::platform::hosted::{self, User, program};
use crate::signal::{SigInfo, Signal};
use std::vec::Vec;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn argument(random: &mut Random, memory: u64) -> u64 {
    match random.below(10) {
        0 => 0,
        1 => random.below(8),
        2 => random.below(70),
        3 => (-i64::try_from(random.below(4)).unwrap()).cast_unsigned(),
        4 => random.next(),
        5 => 1 << random.below(64),
        6 => 0x7fff_ffff_f000 - random.below(3) * 8,
        _ => memory + random.below(0x4000) * if random.below(2) == 0 { 1 } else { 8 } % 0x4000,
    }
}

/// Calls that would only wait, or end the program early.
const DULL: &[u64] = &[15, 34, 60, 130, 219, 231];

fn fill(user: &mut User, random: &mut Random, memory: u64) {
    for page in 0..4 {
        let bytes: Vec<u8> = (0..512u64)
            .flat_map(|_| {
                let word = if random.below(3) == 0 { argument(random, memory) } else { random.below(4) };
                word.to_le_bytes()
            })
            .collect();
        user.store(memory + page * 4096, &bytes);
    }
    user.store(memory, b"/tmp\0/a\0");
    user.store(memory + 64, b"a\0b\0..\0./\0");
}

fn storm(user: &mut User) -> i32 {
    let memory = user.map(0x4000);
    user.syscall(318, [memory, 8, 0, 0, 0, 0]);
    let mut random = Random(user.load_u64(memory) | 1);
    fill(user, &mut random, memory);
    user.regs.rsp = memory + 0x4000;
    for _ in 0..400 {
        let number = random.below(463);
        let mut arguments = [0; 6];
        arguments.iter_mut().for_each(|slot| *slot = argument(&mut random, memory));
        if DULL.contains(&number) {
            continue;
        }
        match number {
            56 | 57 | 58 | 435 => {
                user.spawn(57, arguments, |user| {
                    user.spin();
                    user.syscall(39, [0; 6]);
                    2
                });
            }
            _ => {
                user.syscall(number, arguments);
            }
        }
        if random.below(20) == 0 {
            fill(user, &mut random, memory);
        }
    }
    0
}

#[test]
fn random_calls_harm_nobody() {
    hosted::for_seeds(if cfg!(miri) { 1 } else { 40 }, |sleeper| {
        let container = container();
        container.set_pids_limit(Some(12));
        let init = start(
            &container,
            program(|user: &mut User| {
                for _ in 0..3 {
                    user.fork(storm);
                }
                let rest = user.map(4096);
                user.store(rest, &5u64.to_le_bytes());
                loop {
                    user.syscall(61, [u64::MAX, 0, 0, 0, 0, 0]);
                    user.syscall(35, [rest, 0, 0, 0, 0, 0]);
                }
            }),
        );
        let deadline = sleeper.now_ns() + 2_000_000_000;
        while sleeper.now_ns() < deadline {
            sleeper.park(Some(deadline));
        }
        init.send_from_host(SigInfo::kernel(Signal::KILL)).unwrap();
        init.wait_exit(sleeper);
        assert_eq!(container.pids(), 0, "every task is gone");
        // System V objects stay until their namespace goes with the container, which the last thread lets go of.
        let budget = container.budget.clone();
        drop((init, container));
        let deadline = sleeper.now_ns() + 100_000_000;
        while budget.used() > 0 && sleeper.now_ns() < deadline {
            sleeper.park(Some(sleeper.now_ns() + 1_000_000));
        }
        assert_eq!(budget.used(), 0, "all memory is given back");
    });
}
