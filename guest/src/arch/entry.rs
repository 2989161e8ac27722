//! The assembly: boot entry, traps, system calls, user entry, stack switch.
//!
//! User registers live in a [`chitin_core::cpu::Regs`] while the sentry works on them. [`enter_user`] pops them straight
//! from there and leaves by SYSRET or IRETQ; a system call or trap pushes them straight back there and returns from
//! `enter_user` on the kernel stack that called it. The tail of `Regs` from `rip` to `ss` is an IRETQ frame, and
//! everything here runs with interrupts off; NMI, #MC, #DB and #DF have stacks of their own, so RSP may point at
//! registers meanwhile.
//!
//! | state | GS base | KERNEL_GS_BASE |
//! |---|---|---|
//! | kernel | this CPU's data | user's GS |
//! | user | user's GS | this CPU's data |

use crate::arch::cpu::{HAS_FSGSBASE, HAS_SMAP};
use crate::arch::percpu::PerCpu;
use crate::arch::tables::{USER_CS, USER_SS};
use chitin_core::cpu::Regs;
use core::arch::global_asm;
use core::mem::offset_of;

/// Bytes from one interrupt stub to the next.
pub(crate) const STUB_SIZE: u64 = 16;
/// What [`enter_user`] returns for a system call; less is an exception or interrupt vector.
pub(crate) const SYSCALL_TRAP: u64 = 256;

/// Registers at a trap from ring 0, as the assembly pushes them.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct TrapFrame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rax: u64,
    pub(crate) rcx: u64,
    pub(crate) rdx: u64,
    pub(crate) rsi: u64,
    pub(crate) rdi: u64,
    pub(crate) vector: u64,
    pub(crate) error: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

// The assembly pops and pushes in this order.
const _: () = {
    assert!(offset_of!(Regs, r15) == 0 && offset_of!(Regs, orig_rax) == 120);
    assert!(offset_of!(Regs, rip) == 128 && offset_of!(Regs, ss) == 160);
    assert!(offset_of!(Regs, fs_base) == FRAME_BYTES as usize && offset_of!(TrapFrame, vector) == 120);
};

/// Bytes of [`Regs`] up to and including `ss`.
pub(crate) const FRAME_BYTES: u64 = 168;

unsafe extern "C" {
    /// Runs user code with `regs` until it traps; returns the vector or [`SYSCALL_TRAP`].
    ///
    /// Interrupts are off before and after. `regs.cs`, `ss`, `rflags` and `rip` must be fit for user mode, `sysret` says
    /// that `rcx == rip` and `r11 == rflags`.
    pub(crate) fn enter_user(regs: *mut Regs, sysret: bool) -> u64;

    /// Saves the callee-saved registers and stack pointer, and goes on with those saved in `load`.
    pub(crate) fn switch_stacks(save: *mut u64, load: u64);

    fn thread_entry();
    fn trap_stubs();
    fn syscall_entry();

    /// First code address, for telling code from data in backtraces.
    #[link_name = "__text_start"]
    static TEXT_START: u8;
    /// Address after the last code byte.
    #[link_name = "__text_end"]
    static TEXT_END: u8;
}

/// Address of the first of 256 interrupt stubs.
pub(crate) fn stubs() -> u64 {
    trap_stubs as *const () as u64
}

/// Target of SYSCALL.
pub(crate) fn syscall_entry_address() -> u64 {
    syscall_entry as *const () as u64
}

/// Whether `address` is kernel code.
pub(crate) fn is_text(address: u64) -> bool {
    (&raw const TEXT_START as u64..&raw const TEXT_END as u64).contains(&address)
}

/// Prepares a stack so that [`switch_stacks`] to the returned value begins a new thread.
///
/// # Safety
/// `top` is the end of a writable stack that nobody uses, 16-byte aligned.
pub(crate) unsafe fn prepare_stack(top: u64) -> u64 {
    let start = top - 24 - 6 * 8;
    // SAFETY: inside the stack by the caller's contract; six registers are left zero, then comes the return address.
    unsafe {
        (start as *mut [u64; 6]).write([0; 6]);
        ((top - 24) as *mut u64).write(thread_entry as *const () as u64);
    }
    start
}

global_asm!(
    // ---------------------------------------------------------------- boot: RDI = boot info, RSI = CPU, on a boot stack
    ".section .text.entry, \"ax\"",
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "cld",
    "and rsp, -16",
    "call {start}",
    "ud2",
    ".text",
    // ---------------------------------------------------------------- user entry
    ".balign 64",
    ".globl enter_user",
    "enter_user:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov gs:[{KERNEL_STACK}], rsp",
    "lea rax, [rdi + {FRAME}]",
    "mov gs:[{FRAME_END}], rax",
    "cmp byte ptr [rip + {fsgsbase}], 0",
    "je 2f",
    "rdfsbase rax",
    "mov rdx, [rdi + {FS}]",
    "cmp rax, rdx",
    "je 3f",
    "wrfsbase rdx",
    "3:",
    "swapgs",
    "rdgsbase rax",
    "mov rdx, [rdi + {GS}]",
    "cmp rax, rdx",
    "je 4f",
    "wrgsbase rdx",
    "jmp 4f",
    "2:",
    "swapgs",
    "4:",
    "mov rsp, rdi",
    "test sil, sil",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rax",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "jz 5f",
    "mov rsp, [rsp + 32]", // at orig_rax now; rsp is four words on
    "sysretq",
    "5:",
    "lea rsp, [rsp + 8]",
    "iretq",
    // ---------------------------------------------------------------- system call
    ".balign 64",
    ".globl syscall_entry",
    "syscall_entry:",
    "swapgs",
    "mov gs:[{SCRATCH}], rsp",
    "mov rsp, gs:[{FRAME_END}]",
    "push {USER_SS}",
    "push qword ptr gs:[{SCRATCH}]",
    "push r11",
    "push {USER_CS}",
    "push rcx",
    "push rax",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push rax",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov ecx, {SYSCALL_TRAP}",
    // RSP = registers, ECX = result: user's FS and GS bases, then back to the caller of enter_user.
    "6:",
    "cmp byte ptr [rip + {fsgsbase}], 0",
    "je 7f",
    "rdfsbase rax",
    "mov [rsp + {FS}], rax",
    "swapgs",
    "rdgsbase rax",
    "swapgs",
    "mov [rsp + {GS}], rax",
    "7:",
    "mov rsp, gs:[{KERNEL_STACK}]",
    "mov eax, ecx",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    // ---------------------------------------------------------------- traps
    // On the stack at the common parts: vector, error, rip, cs, rflags, rsp, ss.
    ".balign 16",
    "user_trap:",
    "swapgs",
    "lfence",
    "push rax",
    "cmp byte ptr [rip + {smap}], 0",
    "je 8f",
    "clac",
    "8:",
    "mov rax, rsp",
    "mov rsp, gs:[{FRAME_END}]",
    "push [rax + 56]",
    "push [rax + 48]",
    "push [rax + 40]",
    "push [rax + 32]",
    "push [rax + 24]",
    "push -1",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push [rax]",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov rcx, [rax + 16]",
    "mov gs:[{TRAP_ERROR}], rcx",
    "mov ecx, [rax + 8]",
    "jmp 6b",
    ".balign 16",
    "trap_common:",
    "cld",
    "test byte ptr [rsp + 24], 3",
    "jnz user_trap",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push rax",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov rdi, rsp",
    "call {kernel_trap}",
    "9:",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rax",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "add rsp, 16",
    "iretq",
    // Traps with a stack of their own: GS may be anybody's; the word at the stack's top tells whose CPU this is.
    ".balign 16",
    "trap_own_stack:",
    "cld",
    "cmp dword ptr [rsp], 1",
    "jne 2f",
    "test byte ptr [rsp + 24], 3",
    "jnz user_trap",
    "2:",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push rax",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "cmp byte ptr [rip + {smap}], 0",
    "je 3f",
    "clac",
    "3:",
    "cmp byte ptr [rip + {fsgsbase}], 0",
    "je 4f",
    "rdgsbase rbx",
    "mov rax, [rsp + 176]",
    "wrgsbase rax",
    "mov rdi, rsp",
    "call {own_stack_trap}",
    "wrgsbase rbx",
    "jmp 9b",
    "4:",
    "mov ecx, 0xc0000101",
    "rdmsr",
    "shl rdx, 32",
    "or rax, rdx",
    "mov rbx, rax",
    "mov rax, [rsp + 176]",
    "mov rdx, rax",
    "shr rdx, 32",
    "wrmsr",
    "mov rdi, rsp",
    "call {own_stack_trap}",
    "mov ecx, 0xc0000101",
    "mov rax, rbx",
    "mov rdx, rbx",
    "shr rdx, 32",
    "wrmsr",
    "jmp 9b",
    // 256 stubs of 16 bytes.
    ".balign 16",
    ".globl trap_stubs",
    "trap_stubs:",
    ".set vector, 0",
    ".rept 256",
    ".balign 16",
    ".if (vector != 8) && (vector != 10) && (vector != 11) && (vector != 12) && (vector != 13) && (vector != 14) && (vector != 17) && (vector != 21) && (vector != 29) && (vector != 30)",
    "push 0",
    ".endif",
    "push vector",
    ".if (vector == 1) || (vector == 2) || (vector == 8) || (vector == 18)",
    "jmp trap_own_stack",
    ".else",
    "jmp trap_common",
    ".endif",
    ".set vector, vector + 1",
    ".endr",
    ".balign 16",
    // ---------------------------------------------------------------- threads
    ".globl switch_stacks",
    "switch_stacks:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdi], rsp",
    "mov rsp, rsi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    ".globl thread_entry",
    "thread_entry:",
    "xor ebp, ebp",
    "call {thread_main}",
    "ud2",
    start = sym crate::boot::start,
    fsgsbase = sym HAS_FSGSBASE,
    smap = sym HAS_SMAP,
    kernel_trap = sym crate::arch::trap::kernel_trap,
    own_stack_trap = sym crate::arch::trap::own_stack_trap,
    thread_main = sym crate::sched::thread::thread_main,
    KERNEL_STACK = const offset_of!(PerCpu, kernel_stack),
    FRAME_END = const offset_of!(PerCpu, user_frame_end),
    SCRATCH = const offset_of!(PerCpu, scratch),
    TRAP_ERROR = const offset_of!(PerCpu, trap_error),
    FRAME = const FRAME_BYTES,
    FS = const offset_of!(Regs, fs_base),
    GS = const offset_of!(Regs, gs_base),
    USER_SS = const USER_SS,
    USER_CS = const USER_CS,
    SYSCALL_TRAP = const SYSCALL_TRAP,
);
