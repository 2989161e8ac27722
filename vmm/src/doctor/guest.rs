//! The tiny guest that `doctor` runs: code for ring 0 and ring 3, and the memory around it.
//!
//! Virtual addresses equal guest-physical ones. Everything lies in the first pages of RAM, at the offsets below.

#![expect(unsafe_code, reason = "machine code, and the symbols around it")]

use crate::kvm::entry::GDT;
use crate::machine::memory::{GuestRam, MemoryError};
use chitin_proto::layout::RAM_GPA;

/// Ring-0 code.
pub(super) const KERNEL: u64 = RAM_GPA;
const USER: u64 = RAM_GPA + 0x2000;
/// GDT, with the TSS descriptor after the flat segments.
pub(super) const GDT_AT: u64 = RAM_GPA + 0x3000;
/// IDT.
pub(super) const IDT_AT: u64 = RAM_GPA + 0x4000;
/// TSS.
pub(super) const TSS_AT: u64 = RAM_GPA + 0x5000;
const COUNTERS: u64 = RAM_GPA + 0x6000;
/// Top of the ring-0 stack.
pub(super) const KERNEL_STACK: u64 = RAM_GPA + 0x9000;
const USER_STACK: u64 = RAM_GPA + 0xc000;
const ABSENT_PAGE: u64 = RAM_GPA + 0xd000;
/// PML4; PDPT, PD and PT follow.
pub(super) const TABLES: u64 = RAM_GPA + 0x1_0000;
const PAGE_TABLE: u64 = TABLES + 0x3000;

/// Port: a check passed, by number.
pub(super) const PORT_PASSED: u16 = 0x680;
/// Port: TSC ticks of the ring-0 loop.
pub(super) const PORT_LOOP_TICKS: u16 = 0x684;
/// Port: TSC ticks of the system calls.
pub(super) const PORT_SYSCALL_TICKS: u16 = 0x688;
/// Port: vector of an unexpected exception.
pub(super) const PORT_EXCEPTION: u16 = 0x68c;

/// Iterations of the ring-0 loop, two instructions each.
pub(super) const LOOP_STEPS: u64 = 100_000;
/// System calls made.
pub(super) const SYSCALLS: u64 = 1000;

const TIMER_VECTOR: usize = 0x40;
const STUB_SIZE: u64 = 16;

std::arch::global_asm!(
    ".pushsection .rodata.chitin_doctor, \"a\", @progbits",
    ".balign 16",
    ".globl chitin_doctor_kernel, chitin_doctor_stubs, chitin_doctor_timer, chitin_doctor_kernel_end",
    ".globl chitin_doctor_user, chitin_doctor_user_end",
    "chitin_doctor_kernel:",
    "mov dx, {passed}",
    "mov eax, 1",
    "out dx, eax",
    // A loop whose speed tells whether ring 0 runs on the CPU or in an emulator.
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "mov r8, rax",
    "mov ecx, {loop_steps}",
    "2: dec ecx",
    "jnz 2b",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "sub rax, r8",
    "mov dx, {loop_ticks}",
    "out dx, eax",
    // STAR, LSTAR, FMASK.
    "mov ecx, 0xc0000081",
    "xor eax, eax",
    "mov edx, 0x00230010",
    "wrmsr",
    "mov ecx, 0xc0000082",
    "lea rax, [rip + 30f]",
    "mov rdx, rax",
    "shr rdx, 32",
    "wrmsr",
    "mov ecx, 0xc0000084",
    "mov eax, 0x47700",
    "xor edx, edx",
    "wrmsr",
    // To ring 3.
    "push 0x2b",
    "movabs rax, {user_stack}",
    "push rax",
    "push 2",
    "push 0x33",
    "movabs rax, {user}",
    "push rax",
    "iretq",
    // System call: RAX says which.
    "30:",
    "mov r9d, cs",
    "test r9b, 3",
    "jnz 39f",
    "test eax, eax",
    "jnz 31f",
    "movabs r10, {counters}",
    "inc qword ptr [r10]",
    "sysretq",
    "31: cmp eax, 1",
    "jne 32f",
    "mov eax, edi",
    "mov dx, {syscall_ticks}",
    "out dx, eax",
    "mov eax, 2",
    "jmp 38f",
    "32: cmp eax, 2",
    "jne 33f",
    "mov eax, 3",
    "jmp 38f",
    "33: cmp eax, 3",
    "jne 39f",
    // Timer: enable the x2APIC, arm the TSC deadline, wait.
    "mov r12, rsp",
    "movabs rsp, {kernel_stack}",
    "push rcx",
    "push r11",
    "mov ecx, 0x80f",
    "mov eax, 0x1ff",
    "xor edx, edx",
    "wrmsr",
    "mov ecx, 0x832",
    "mov eax, 0x40040",
    "wrmsr",
    "mfence",
    "lfence",
    "rdtsc",
    "add eax, 1000000",
    "adc edx, 0",
    "mov ecx, 0x6e0",
    "wrmsr",
    "movabs r10, {counters}",
    "34: sti",
    "hlt",
    "cli",
    "cmp qword ptr [r10 + 8], 0",
    "je 34b",
    "pop r11",
    "pop rcx",
    "mov rsp, r12",
    "mov eax, 4",
    "38: mov dx, {passed}",
    "out dx, eax",
    "sysretq",
    "39: ud2",
    // Exceptions: vector, error code, frame.
    "40:",
    "push rax",
    "push rdx",
    "push rcx",
    "mov eax, [rsp + 24]",
    "cmp eax, 14",
    "jne 49f",
    "mov rcx, cr2",
    "movabs rdx, {absent}",
    "cmp rcx, rdx",
    "jne 49f",
    "test byte ptr [rsp + 48], 3",
    "jz 49f",
    "or rdx, 7",
    "movabs rax, {absent_entry}",
    "mov [rax], rdx",
    "invlpg [rcx]",
    "pop rcx",
    "pop rdx",
    "pop rax",
    "add rsp, 16",
    "iretq",
    "49: mov dx, {exception}",
    "out dx, eax",
    "hlt",
    "jmp 49b",
    ".balign 16",
    "chitin_doctor_stubs:",
    ".set chitin_doctor_vector, 0",
    ".rept 32",
    ".balign 16",
    // These vectors push an error code themselves.
    ".if (1 << chitin_doctor_vector) & 0x60227d00 == 0",
    "push 0",
    ".endif",
    "push chitin_doctor_vector",
    "jmp 40b",
    ".set chitin_doctor_vector, chitin_doctor_vector + 1",
    ".endr",
    ".balign 16",
    "chitin_doctor_timer:",
    "push rax",
    "push rcx",
    "push rdx",
    "movabs rcx, {counters}",
    "inc qword ptr [rcx + 8]",
    "mov ecx, 0x80b",
    "xor eax, eax",
    "xor edx, edx",
    "wrmsr",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "iretq",
    "chitin_doctor_kernel_end:",
    ".balign 16",
    "chitin_doctor_user:",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "mov r13, rax",
    "mov ebx, {syscalls}",
    "2: xor eax, eax",
    "syscall",
    "dec ebx",
    "jnz 2b",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "sub rax, r13",
    "mov edi, eax",
    "mov eax, 1",
    "syscall",
    "movabs rcx, {absent}",
    "mov qword ptr [rcx], 7",
    "cmp qword ptr [rcx], 7",
    "jne 3f",
    "mov eax, 2",
    "syscall",
    "mov eax, 3",
    "syscall",
    "3: ud2",
    "chitin_doctor_user_end:",
    ".popsection",
    passed = const PORT_PASSED,
    loop_ticks = const PORT_LOOP_TICKS,
    syscall_ticks = const PORT_SYSCALL_TICKS,
    exception = const PORT_EXCEPTION,
    loop_steps = const LOOP_STEPS,
    syscalls = const SYSCALLS,
    user = const USER,
    user_stack = const USER_STACK,
    kernel_stack = const KERNEL_STACK,
    counters = const COUNTERS,
    absent = const ABSENT_PAGE,
    absent_entry = const PAGE_TABLE + (ABSENT_PAGE - RAM_GPA) / 4096 * 8,
);

unsafe extern "C" {
    static chitin_doctor_kernel: u8;
    static chitin_doctor_stubs: u8;
    static chitin_doctor_timer: u8;
    static chitin_doctor_kernel_end: u8;
    static chitin_doctor_user: u8;
    static chitin_doctor_user_end: u8;
}

fn between(start: *const u8, end: *const u8) -> &'static [u8] {
    // SAFETY: both are symbols of the one read-only section above, in this order.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// A 64-bit interrupt gate to `target`.
const fn gate(target: u64) -> [u64; 2] {
    let low = target & 0xffff | (target >> 16 & 0xffff) << 48 | 0x10 << 16 | 0x8e00 << 32;
    [low, target >> 32]
}

/// Puts the guest into RAM.
///
/// # Errors
/// [`MemoryError::OutOfRange`] when RAM is smaller than 128 KiB.
pub(super) fn load(ram: &GuestRam) -> Result<(), MemoryError> {
    let kernel = between(&raw const chitin_doctor_kernel, &raw const chitin_doctor_kernel_end);
    let user = between(&raw const chitin_doctor_user, &raw const chitin_doctor_user_end);
    ram.write(KERNEL, kernel)?;
    ram.write(USER, user)?;

    ram.write_value(GDT_AT, &GDT)?;
    ram.write_value(TSS_AT + 4, &KERNEL_STACK)?;
    let start = (&raw const chitin_doctor_kernel).addr();
    let offset = |symbol: *const u8| (symbol.addr() - start) as u64;
    let stubs = KERNEL + offset(&raw const chitin_doctor_stubs);
    for vector in 0..32 {
        ram.write_value(IDT_AT + vector * 16, &gate(stubs + vector * STUB_SIZE))?;
    }
    let timer = KERNEL + offset(&raw const chitin_doctor_timer);
    ram.write_value(IDT_AT + TIMER_VECTOR as u64 * 16, &gate(timer))?;

    // PML4[0] → PDPT[4] (4 GiB) → PD[0] → PT; user may go everywhere that the last level allows.
    const LINK: u64 = 0b0010_0111;
    ram.write_value(TABLES, &((TABLES + 0x1000) | LINK))?;
    ram.write_value(TABLES + 0x1000 + (RAM_GPA >> 30) * 8, &((TABLES + 0x2000) | LINK))?;
    ram.write_value(TABLES + 0x2000, &(PAGE_TABLE | LINK))?;
    for page in 0..32 {
        let at = RAM_GPA + page * 4096;
        let rights = match at {
            ABSENT_PAGE => continue,
            USER..GDT_AT => 0b101,
            KERNEL_STACK..ABSENT_PAGE => 0b111,
            _ => 0b011,
        };
        ram.write_value(PAGE_TABLE + page * 8, &(at | rights))?;
    }
    Ok(())
}
