//! Heap, address spaces, copies that fault.

use super::program::{DATA, Process, Program};
use super::{check, check_eq, measure};
use crate::clock;
use crate::mem::heap;
use crate::platform::Guest;
use alloc::boxed::Box;
use alloc::vec::Vec;
use chitin_core::frame;
use chitin_sentry::platform::{CopyFault, Perm};
use chitin_sentry::user::UserAddr;

pub(super) fn run() {
    heap_objects();
    large_objects();
    copies_by_walk();
    copies_direct();
    spaces_give_back();
    entropy_and_time();
}

fn heap_objects() {
    let mut seed = 1u32;
    let mut live: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut good = true;
    let before = heap::used();
    for round in 0..20_000u32 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if live.len() > 200 || (seed & 3 == 0 && !live.is_empty()) {
            let (mark, bytes) = live.swap_remove(seed as usize % live.len());
            good &= bytes.iter().all(|byte| *byte == mark);
        } else {
            let size = if seed & 0xff == 7 { 100_000 } else { (seed >> 8) as usize % 5000 };
            let mark = round as u8;
            live.push((mark, alloc::vec![mark; size]));
        }
    }
    good &= live.iter().all(|(mark, bytes)| bytes.iter().all(|byte| byte == mark));
    drop(live);
    check("heap keeps objects apart", good);
    check("heap gives memory back", heap::used() < before + (512 << 10));
    let begin = clock::now_ns();
    for number in 0..100_000u64 {
        drop(core::hint::black_box(Box::new(number)));
    }
    measure("allocate-and-free", clock::now_ns() - begin, 100_000);
}

fn large_objects() {
    let free = frame::usage().1;
    let mut good = true;
    for round in 0..3 {
        let mut grows: Vec<u64> = Vec::new();
        let fixed = alloc::vec![7u8; (5 << 20) + round];
        (0..1_500_000).for_each(|number| grows.push(number));
        good &= grows.iter().zip(0..).all(|(found, wanted)| *found == wanted);
        good &= fixed.iter().all(|byte| *byte == 7);
    }
    let mut refused: Vec<u8> = Vec::new();
    good &= refused.try_reserve_exact(1 << 33).is_err() && refused.try_reserve_exact(3 << 20).is_ok();
    drop(refused);
    check("allocations larger than a block", good);
    // Page tables of the window stay.
    check("and they are given back", frame::usage().1 + 64 > free);
}

fn copies_by_walk() {
    let mut process = Process::new(Program::calls);
    let begin = clock::now_ns();
    let mut bytes = [0; 64];
    for _ in 0..100_000 {
        let _ = process.space.copy_in(UserAddr::new(DATA), &mut bytes);
    }
    measure("copy-64-bytes-by-walk", clock::now_ns() - begin, 100_000);
    copies(&mut process, "walk");
}

fn copies_direct() {
    const ROUNDS: u64 = 100_000;
    let mut process = Process::new(Program::calls);
    process.context.regs.rbx = 1;
    process.run();
    let begin = clock::now_ns();
    let mut bytes = [0; 64];
    for _ in 0..ROUNDS {
        let _ = process.space.copy_in(UserAddr::new(DATA), &mut bytes);
    }
    measure("copy-64-bytes-from-user", clock::now_ns() - begin, ROUNDS);
    let begin = clock::now_ns();
    for _ in 0..ROUNDS {
        let _ = process.space.load_u32(UserAddr::new(DATA));
    }
    measure("load-u32-from-user", clock::now_ns() - begin, ROUNDS);
    copies(&mut process, "direct");
    let begin = clock::now_ns();
    for _ in 0..ROUNDS {
        let _ = process.space.copy_in(UserAddr::new(DATA), &mut bytes);
    }
    measure("copy-that-faults", clock::now_ns() - begin, ROUNDS);
}

fn copies(process: &mut Process, how: &str) {
    let all = {
        let at = |address| UserAddr::new(address);
        let space = process.space.clone();
        let mut good = space.copy_out(at(DATA + 5), b"hello, user memory") == Ok(());
        let mut bytes = [0; 18];
        good &= space.copy_in(at(DATA + 5), &mut bytes) == Ok(()) && &bytes == b"hello, user memory";
        // Up to the end of the page, and no further.
        let mut long = [1; 100];
        good &= space.copy_in(at(DATA + 4096 - 37), &mut long) == Err(CopyFault { done: 37 });
        good &= space.copy_out(at(DATA + 4096 - 8), &long) == Err(CopyFault { done: 8 });
        good &= space.copy_in(at(0x1000), &mut long) == Err(CopyFault { done: 0 });
        good &= space.copy_out(at(0xffff_8880_0000_0000), &long) == Err(CopyFault { done: 0 });
        good &= space.copy_in(at(u64::MAX), &mut long) == Err(CopyFault { done: 0 });
        // Code is not writable.
        good &= space.copy_out(at(super::program::CODE), &long) == Err(CopyFault { done: 0 });
        good &= space.compare_exchange_u32(at(DATA + 8), 1, 2).is_ok_and(|held| held != 1);
        let word = space.load_u32(at(DATA + 8)).unwrap_or(0);
        good &= space.compare_exchange_u32(at(DATA + 8), word, 99) == Ok(word);
        good &= space.load_u32(at(DATA + 8)) == Ok(99);
        good &= space.load_u32(at(0x1000)).is_err() && space.load_u32(at(DATA + 1)).is_err();
        good &= space.compare_exchange_u32(at(super::program::CODE), 0, 1).is_err();
        space.restrict(at(DATA), 1, Perm::READ);
        good &= space.copy_out(at(DATA), b"x") == Err(CopyFault { done: 0 });
        good &= space.copy_in(at(DATA), &mut bytes) == Ok(());
        space.unmap(at(DATA), 1);
        good && space.copy_in(at(DATA), &mut bytes) == Err(CopyFault { done: 0 })
    };
    check(if how == "walk" { "copies by walk" } else { "copies by the loaded tables" }, all);
}

fn spaces_give_back() {
    let free = || frame::usage().1;
    drop(Process::new(Program::calls));
    let before = free();
    for _ in 0..50 {
        drop(Process::new(Program::calls));
    }
    check_eq("dropped spaces give their frames back", &free(), &before);
}

fn entropy_and_time() {
    let (mut one, mut two) = ([0; 32], [0; 32]);
    Guest::get().entropy(&mut one);
    Guest::get().entropy(&mut two);
    check("entropy differs", one != two && one != [0; 32]);
    // 2020-01-01.
    check("wall clock is set", Guest::get().realtime_ns() > 1_577_836_800_000_000_000);
}
