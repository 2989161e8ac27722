//! System calls, faults, exceptions, extended state.

use super::program::{CODE, DATA, Process, Program, STACK_TOP};
use super::{check, check_eq, measure};
use crate::clock;
use crate::platform::Guest;
use chitin_sentry::platform::{Access, Perm, Trap};
use chitin_sentry::user::UserAddr;

pub(super) fn run() {
    system_calls();
    faults();
    exceptions();
    flags_and_bases();
    extended_state();
    exit_request();
    cost();
    vdso();
}

fn system_calls() {
    let mut process = Process::new(Program::registers);
    check_eq("system call traps", &process.run(), &Trap::Syscall);
    check_eq("system call number", &process.context.regs.orig_rax, &1);
    check_eq("system call argument", &process.context.regs.rdi, &0x7777_7777_7777_7777);
    process.context.regs.rax = 4711;
    check_eq("system call returns by SYSRET", &process.run(), &Trap::Syscall);
    check_eq("registers are kept", &process.context.regs.rdi, &0);
    check_eq("result arrives", &process.context.regs.rsi, &4711);

    let mut process = Process::new(Program::registers);
    process.run();
    // As after a signal frame: RCX is not the return address, so the way back is IRETQ.
    process.context.regs.rcx = 0;
    process.context.regs.rax = 12;
    check_eq("system call returns by IRETQ", &process.run(), &Trap::Syscall);
    check_eq("registers are kept by IRETQ", &(process.context.regs.rdi, process.context.regs.rsi), &(0, 12));
}

fn faults() {
    let mut process = Process::new(Program::faults);
    process.context.regs.rsi = 0x12_3456;
    process.context.regs.rdi = 0x23_4567;
    process.context.regs.rdx = 0x34_5678;
    let fault = |address, access| Trap::PageFault { address, access };
    check_eq("read fault", &process.run(), &fault(0x12_3456, Access::Read));
    check_eq("fault is not a system call", &process.context.regs.orig_rax, &u64::MAX);
    process.map(0x12_3000, Perm::READ);
    check_eq("write fault", &process.run(), &fault(0x23_4567, Access::Write));
    process.map(0x23_4000, Perm::READ);
    check_eq("write to a read-only page", &process.run(), &fault(0x23_4567, Access::Write));
    process.map(0x23_4000, Perm::READ | Perm::WRITE);
    check_eq("execute fault", &process.run(), &fault(0x34_5678, Access::Execute));
    process.map(0x34_5000, Perm::READ);
    check_eq("execute of data", &process.run(), &fault(0x34_5678, Access::Execute));

    let mut process = Process::new(Program::faults);
    process.context.regs.rsi = 0xffff_8880_0000_0000;
    check_eq("kernel half is closed", &process.run(), &fault(0xffff_8880_0000_0000, Access::Read));
    process.context.regs.rip = 0x8000_0000_0000;
    let general_protection = Trap::Exception { vector: 13, code: 0 };
    check_eq("address that is not canonical", &process.run(), &general_protection);
    process.context.regs.rip = CODE;
    process.context.regs.rsi = 0x8000_0000_0000_0000;
    check_eq("read of an address that is not canonical", &process.run(), &general_protection);

    let mut process = Process::new(Program::faults);
    process.context.regs.rdi = DATA;
    process.context.regs.rdx = CODE;
    process.space.write_protect(UserAddr::new(DATA), 1);
    check_eq("write protection", &process.run(), &fault(DATA, Access::Write));
    process.space.unmap(UserAddr::new(CODE), 1);
    check_eq("unmapped code", &process.run(), &fault(CODE + 2, Access::Execute));
}

fn exceptions() {
    let cases = [
        ("invalid instruction", Program::undefined, Trap::Exception { vector: 6, code: 0 }),
        ("division by zero", Program::division, Trap::Exception { vector: 0, code: 0 }),
        ("breakpoint", Program::breakpoint, Trap::Exception { vector: 3, code: 0 }),
        ("privileged instruction", Program::privileged, Trap::Exception { vector: 13, code: 0 }),
        ("single step", Program::single_step, Trap::Exception { vector: 1, code: 0 }),
        ("port access", Program::port, Trap::Exception { vector: 13, code: 0 }),
    ];
    for (name, program, wanted) in cases {
        check_eq(name, &Process::new(program).run(), &wanted);
    }
    // The code names the gate; QEMU's TCG gets it wrong in 64-bit mode.
    let found = Process::new(Program::interrupt).run();
    check("interrupt instruction", matches!(found, Trap::Exception { vector: 13, code: 0x402 | 0x802 }));
}

fn flags_and_bases() {
    let mut process = Process::new(Program::odd_flags);
    check_eq("call with AC, DF, NT", &process.run(), &Trap::Syscall);
    process.run();
    check("AC and DF come back, NT does not", process.context.regs.rdi & 0x4_4400 == 0x4_0400);

    let mut process = Process::new(Program::bases);
    process.run();
    let found = (process.context.regs.fs_base, process.context.regs.gs_base);
    check_eq("FS and GS bases set by user code", &found, &(0x1234_5678_9000, 0x987_6543_2000));
    process.context.regs.fs_base = 0x5000;
    process.context.regs.gs_base = 0x7fff_ffff_f000;
    process.run();
    let found = (process.context.regs.rdi, process.context.regs.rsi);
    check_eq("FS and GS bases set by the sentry", &found, &(0x5000, 0x7fff_ffff_f000));
    process.context.regs.fs_base = 0x1_8000_0000_0000;
    process.context.regs.rip = CODE;
    check_eq("base that is not canonical", &process.run(), &Trap::Syscall);
}

fn extended_state() {
    let mut one = Process::new(Program::vectors);
    let mut two = Process::new(Program::vectors);
    one.context.regs.rbx = 0x1111_1111_1111_1111;
    two.context.regs.rbx = 0x2222_2222_2222_2222;
    let mut good = true;
    for _ in 0..10 {
        good &= one.run() == Trap::Syscall && one.context.regs.orig_rax == 1;
        good &= two.run() == Trap::Syscall && two.context.regs.orig_rax == 1;
    }
    check("vector registers are kept apart", good);
    Guest::get().flush_xstate(&mut one.context.xstate);
    Guest::get().flush_xstate(&mut two.context.xstate);
    let area = one.context.xstate.blocks();
    // XMM0 is at offset 160 of the area.
    let xmm0 = area.get(2).and_then(|block| block.0.get(32..40));
    check("flush brings them to the area", xmm0 == Some(&[0x11; 8]));
    let mut copy = Process::new(Program::vectors);
    copy.context.regs = one.context.regs;
    copy.context.xstate = one.context.xstate.duplicate();
    check("a copied state runs", copy.run() == Trap::Syscall && copy.context.regs.orig_rax == 1);
    // Reserved bits of the header make XRSTOR fault.
    if let Some(byte) = two.context.xstate.blocks_mut().get_mut(8).and_then(|block| block.0.get_mut(20)) {
        *byte = 0xff;
    }
    check("a broken state is replaced", two.run() == Trap::Syscall && two.context.regs.orig_rax == 2);
}

fn exit_request() {
    let mut process = Process::new(Program::calls);
    process.context.regs.rbx = 5;
    process.exit.set();
    check_eq("exit request comes first", &process.run(), &Trap::Interrupt);
    check_eq("no instruction ran", &process.context.regs.rip, &CODE);
    process.exit.clear();
    check_eq("and then user code runs", &process.run(), &Trap::Syscall);
}

fn cost() {
    const BATCHES: u64 = 40;
    const ROUNDS: u64 = 5_000;
    let mut process = Process::new(Program::calls);
    process.context.regs.rbx = BATCHES * ROUNDS;
    process.context.regs.rsp = STACK_TOP;
    let (mut count, mut best) = (0, u64::MAX);
    for _ in 0..BATCHES {
        let begin = clock::now_ns();
        for _ in 0..ROUNDS {
            count += u64::from(process.run() == Trap::Syscall && process.context.regs.orig_rax == 39);
        }
        best = best.min(clock::now_ns() - begin);
    }
    measure("system-call-round-trip", best, ROUNDS);
    check_eq("system calls counted", &count, &(BATCHES * ROUNDS));
    faults_cost();
}

fn faults_cost() {
    const ROUNDS: u64 = 2_000;
    const PAGE: u64 = 0x60_0000;
    let mut process = Process::new(Program::read_spin);
    process.context.regs.rsi = PAGE;
    let frame = process.data.clone();
    let mut best = u64::MAX;
    for _ in 0..10 {
        let begin = clock::now_ns();
        for _ in 0..ROUNDS {
            process.run();
            let _ = process.space.map(UserAddr::new(PAGE), &frame, Perm::READ);
            process.space.unmap(UserAddr::new(PAGE), 1);
        }
        best = best.min(clock::now_ns() - begin);
    }
    measure("fault-map-unmap", best, ROUNDS);
}

/// Value of a symbol of the vDSO, by the System V hash table's neighbour, the dynamic symbol table.
fn vdso_symbol(image: &[u8], name: &[u8]) -> Option<u64> {
    let word = |at: usize, len: usize| -> Option<u64> {
        let bytes = image.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (headers, count) = (word(32, 8)? as usize, word(56, 2)? as usize);
    let dynamic = (0..count).map(|n| headers + n * 56).find(|at| word(*at, 4) == Some(2))?;
    let dynamic = word(dynamic + 16, 8)? as usize;
    let tag = |wanted: u64| {
        (0..64)
            .map(|n| dynamic + n * 16)
            .find(|at| word(*at, 8) == Some(wanted))
            .and_then(|at| word(at + 8, 8))
    };
    let (symbols, strings, hash) = (tag(6)? as usize, tag(5)? as usize, tag(4)? as usize);
    let count = word(hash + 4, 4)? as usize;
    (0..count).map(|n| symbols + n * 24).find_map(|at| {
        let start = strings + word(at, 4)? as usize;
        let found = image.get(start..start + name.len() + 1)?;
        (found.strip_suffix(b"\0") == Some(name)).then(|| word(at + 8, 8))?
    })
}

fn vdso() {
    const BASE: u64 = 0x7fff_0000_0000;
    const ROUNDS: u64 = 10_000;
    const MONOTONIC: u64 = 1;
    let frames = Guest::get().vdso();
    let mut image = alloc::vec![0; frames.len() * 4096];
    for (frame, page) in frames.iter().zip(image.chunks_mut(4096)) {
        frame.copy_out(0, page);
    }
    let Some(function) = vdso_symbol(&image, b"__vdso_clock_gettime") else {
        return check("the vDSO has clock_gettime", false);
    };
    let mut process = Process::new(Program::function);
    for (page, frame) in frames.iter().enumerate() {
        let at = UserAddr::new(BASE + page as u64 * 4096);
        check("vDSO page is mapped", process.space.map(at, frame, Perm::READ | Perm::EXECUTE).is_ok());
    }
    let regs = &mut process.context.regs;
    (regs.rbx, regs.rbp, regs.r12) = (BASE + function, MONOTONIC, ROUNDS);
    let before = clock::now_ns();
    let trap = process.run();
    let after = clock::now_ns();
    check_eq("the vDSO runs", &(trap, process.context.regs.rdi), &(Trap::Syscall, 0));
    let mut time = [0; 16];
    process.data.copy_out(0, &mut time);
    let part =
        |at: usize| time.iter().skip(at).take(8).rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let seen = part(0) * 1_000_000_000 + part(8);
    check("its clock is the kernel's", (before..=after).contains(&seen));
    measure("vdso-clock-gettime", after - before, ROUNDS);
}
