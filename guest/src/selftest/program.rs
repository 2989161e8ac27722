//! The ring-3 programs, and how one is set up: code, a data page, a stack, in a space of their own.

use crate::arch::cpu;
use crate::log::log;
use crate::platform::Guest;
use crate::sched::switch;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::cpu::{ExitRequest, Regs, UserContext, Xstate};
use chitin_core::frame::Frame;
use chitin_sentry::platform::{Perm, Space, Trap};
use chitin_sentry::user::UserAddr;
use core::arch::global_asm;

/// Where code is mapped.
pub(super) const CODE: u64 = 0x40_0000;
/// Where the data page is mapped.
pub(super) const DATA: u64 = 0x50_0000;
/// End of the stack.
pub(super) const STACK_TOP: u64 = 0x7fff_ffff_e000;

/// One user thread with its space.
pub(super) struct Process {
    pub(super) context: UserContext,
    pub(super) space: Arc<dyn Space>,
    pub(super) exit: ExitRequest,
    pub(super) data: Frame,
    frames: Vec<Frame>,
}

/// A program in the kernel image.
#[derive(Clone, Copy)]
pub(super) struct Program(*const u8, *const u8);

macro_rules! programs {
    ($($(#[$doc:meta])* $name:ident $start:literal $end:literal;)*) => {
        unsafe extern "C" { $(
            #[link_name = $start] static $name: [u8; 2];
        )* }
        mod ends { unsafe extern "C" { $(
            #[link_name = $end] pub(super) static $name: u8;
        )* } }
        impl Program { $(
            $(#[$doc])*
            #[expect(non_upper_case_globals, reason = "named like the assembly")]
            pub(super) const $name: Self = Self((&raw const $name).cast(), &raw const ends::$name);
        )* }
    };
}

programs! {
    /// Checks that a system call keeps all registers but RAX, RCX and R11; RDI of call 2 tells.
    registers "user_registers" "user_registers_end";
    /// Calls `RBX` times, then call 60.
    calls "user_calls" "user_calls_end";
    /// Reads `[RSI]`, writes `[RDI]`, jumps to RDX.
    faults "user_faults" "user_faults_end";
    /// Counts in `[RDI]` for ever.
    spin "user_spin" "user_spin_end";
    /// Reads `[RSI]` and counts in `[RDI]` for ever.
    read_spin "user_read_spin" "user_read_spin_end";
    /// Fills XMM0, XMM15 and YMM from RBX, and calls 1 while they hold it, else 2.
    vectors "user_vectors" "user_vectors_end";
    /// Sets FS and GS bases by instructions and calls 1.
    bases "user_bases" "user_bases_end";
    /// UD2.
    undefined "user_undefined" "user_undefined_end";
    /// Division by zero.
    division "user_division" "user_division_end";
    /// INT3.
    breakpoint "user_breakpoint" "user_breakpoint_end";
    /// HLT.
    privileged "user_privileged" "user_privileged_end";
    /// INT 0x80.
    interrupt "user_interrupt" "user_interrupt_end";
    /// Sets TF.
    single_step "user_single_step" "user_single_step_end";
    /// Sets AC, DF and NT, then calls 1.
    odd_flags "user_odd_flags" "user_odd_flags_end";
    /// Calls the function at RBX with RDI = RBP and RSI at the data page, `R12` times, then call 1.
    function "user_function" "user_function_end";
    /// OUT to a port.
    port "user_port" "user_port_end";
}

global_asm!(
    ".pushsection .rodata.user_programs, \"a\"",
    ".globl user_registers, user_registers_end, user_calls, user_calls_end",
    ".globl user_faults, user_faults_end, user_spin, user_spin_end",
    ".globl user_read_spin, user_read_spin_end, user_vectors, user_vectors_end",
    ".globl user_bases, user_bases_end, user_undefined, user_undefined_end",
    ".globl user_division, user_division_end, user_breakpoint, user_breakpoint_end",
    ".globl user_privileged, user_privileged_end, user_interrupt, user_interrupt_end",
    ".globl user_single_step, user_single_step_end, user_odd_flags, user_odd_flags_end",
    ".globl user_function, user_function_end",
    ".globl user_port, user_port_end",
    "user_registers:",
    "mov rbx, 0x1111111111111111; mov rbp, 0x2222222222222222; mov r12, 0x3333333333333333",
    "mov r13, 0x4444444444444444; mov r14, 0x5555555555555555; mov r15, 0x6666666666666666",
    "mov rdi, 0x7777777777777777; mov rsi, 0x8888888888888888; mov rdx, 0x9999999999999999",
    "mov r8, 0xaaaaaaaaaaaaaaaa; mov r9, 0xbbbbbbbbbbbbbbbb; mov r10, 0xcccccccccccccccc",
    "mov eax, 1; syscall; push rax; xor eax, eax",
    "mov rcx, 0x1111111111111111; xor rcx, rbx; or rax, rcx",
    "mov rcx, 0x2222222222222222; xor rcx, rbp; or rax, rcx",
    "mov rcx, 0x3333333333333333; xor rcx, r12; or rax, rcx",
    "mov rcx, 0x4444444444444444; xor rcx, r13; or rax, rcx",
    "mov rcx, 0x5555555555555555; xor rcx, r14; or rax, rcx",
    "mov rcx, 0x6666666666666666; xor rcx, r15; or rax, rcx",
    "mov rcx, 0x7777777777777777; xor rcx, rdi; or rax, rcx",
    "mov rcx, 0x8888888888888888; xor rcx, rsi; or rax, rcx",
    "mov rcx, 0x9999999999999999; xor rcx, rdx; or rax, rcx",
    "mov rcx, 0xaaaaaaaaaaaaaaaa; xor rcx, r8; or rax, rcx",
    "mov rcx, 0xbbbbbbbbbbbbbbbb; xor rcx, r9; or rax, rcx",
    "mov rcx, 0xcccccccccccccccc; xor rcx, r10; or rax, rcx",
    "mov rdi, rax; pop rsi; mov eax, 2; syscall; ud2",
    "user_registers_end:",
    "user_calls: mov eax, 39; syscall; dec rbx; jnz user_calls; mov eax, 60; syscall; ud2",
    "user_calls_end:",
    "user_faults: mov al, [rsi]; mov [rdi], al; jmp rdx",
    "user_faults_end:",
    "user_spin: inc qword ptr [rdi]; jmp user_spin",
    "user_spin_end:",
    "user_read_spin: mov rax, [rsi]; inc qword ptr [rdi]; jmp user_read_spin",
    "user_read_spin_end:",
    "user_vectors: movq xmm0, rbx; movq xmm15, rbx; vpinsrq xmm7, xmm0, rbx, 1; vinsertf128 ymm7, ymm7, xmm7, 1",
    "2: mov eax, 1; syscall",
    "vextractf128 xmm1, ymm7, 1; movq rax, xmm1; cmp rax, rbx; jne 3f",
    "movq rax, xmm0; cmp rax, rbx; jne 3f; movq rax, xmm15; cmp rax, rbx; je 2b",
    "3: mov eax, 2; syscall; jmp 3b",
    "user_vectors_end:",
    "user_bases: mov rax, 0x123456789000; wrfsbase rax; mov rax, 0x98765432000; wrgsbase rax",
    "mov eax, 1; syscall; rdfsbase rdi; rdgsbase rsi; mov eax, 2; syscall; ud2",
    "user_bases_end:",
    "user_undefined: ud2",
    "user_undefined_end:",
    "user_division: xor ecx, ecx; xor edx, edx; div ecx",
    "user_division_end:",
    "user_breakpoint: int3; ud2",
    "user_breakpoint_end:",
    "user_privileged: hlt",
    "user_privileged_end:",
    "user_interrupt: int 0x80",
    "user_interrupt_end:",
    "user_single_step: pushfq; or qword ptr [rsp], 0x100; popfq; nop; nop; ud2",
    "user_single_step_end:",
    "user_odd_flags: pushfq; or qword ptr [rsp], 0x44400; popfq; mov eax, 1; syscall; pushfq; pop rdi; mov eax, 2; syscall; ud2",
    "user_odd_flags_end:",
    "user_function: mov rsi, 0x500000; mov rdi, rbp; call rbx; dec r12; jnz user_function",
    "mov edi, eax; mov eax, 1; syscall; ud2",
    "user_function_end:",
    "user_port: mov dx, 0x600; xor eax, eax; out dx, eax",
    "user_port_end:",
    ".popsection",
);

impl Program {
    fn bytes(self) -> &'static [u8] {
        // SAFETY: both are symbols of one section of the image, the end after the start.
        unsafe { core::slice::from_raw_parts(self.0, self.1.offset_from_unsigned(self.0)) }
    }
}

impl Process {
    /// `program` at its first instruction, RDI at the data page.
    #[expect(clippy::unwrap_used, reason = "a test")]
    pub(super) fn new(program: Program) -> Self {
        let space = Guest::get().new_space().unwrap();
        let (code, data, stack) =
            (Frame::zeroed().unwrap(), Frame::zeroed().unwrap(), Frame::zeroed().unwrap());
        code.copy_in(0, program.bytes());
        let read = Perm::READ;
        space.map(UserAddr::new(CODE), &code, read | Perm::EXECUTE).unwrap();
        space.map(UserAddr::new(DATA), &data, read | Perm::WRITE).unwrap();
        space.map(UserAddr::new(STACK_TOP - 4096), &stack, read | Perm::WRITE).unwrap();
        let regs = Regs { rip: CODE, rsp: STACK_TOP, rdi: DATA, rsi: DATA, ..Regs::default() };
        let xstate = Xstate::new(Guest::get().xstate_layout().0);
        Self {
            context: UserContext { regs, xstate },
            space,
            exit: ExitRequest::new(),
            data,
            frames: alloc::vec![code, stack],
        }
    }

    /// Runs until the next trap that is not an interrupt.
    pub(super) fn run(&mut self) -> Trap {
        loop {
            let trap = self.run_once();
            if trap != Trap::Interrupt || self.exit.is_set() {
                return trap;
            }
            switch::yield_now();
        }
    }

    /// Prints what a process that went astray executes.
    pub(super) fn dump(&self) {
        use crate::mem::space::GuestSpace;
        let tables = GuestSpace::of(&self.space).tables();
        let entry = crate::mem::tables::leaf(tables.root(), CODE)
            .map(|entry| entry.load(core::sync::atomic::Ordering::SeqCst));
        let (mut in_frame, mut seen, mut seen_again) = ([0u8; 8], [0u8; 8], [0u8; 8]);
        if let Some(code) = self.frames.first() {
            code.copy_out(0, &mut in_frame);
        }
        let first = self.space.copy_in(UserAddr::new(CODE), &mut seen);
        // SAFETY: the root that is loaded already.
        unsafe { cpu::set_page_root(cpu::page_root()) };
        let second = self.space.copy_in(UserAddr::new(CODE), &mut seen_again);
        let this = crate::arch::percpu::this();
        log!("  CPU {} root {:#x} wanted {:#x}", this.number(), cpu::page_root(), tables.root());
        log!("  entry {entry:x?} loaded {} rip {:#x}", tables.is_loaded(), self.context.regs.rip);
        log!("  code {in_frame:x?} seen {first:?} {seen:x?} after flush {second:?} {seen_again:x?}");
    }

    /// Runs until the next trap.
    pub(super) fn run_once(&mut self) -> Trap {
        Guest::get().run_user(&mut self.context, &self.space, &self.exit)
    }

    /// Maps one more page.
    #[expect(clippy::unwrap_used, reason = "a test")]
    pub(super) fn map(&mut self, at: u64, perm: Perm) -> Frame {
        let frame = Frame::zeroed().unwrap();
        self.space.map(UserAddr::new(at), &frame, perm).unwrap();
        self.frames.push(frame.clone());
        frame
    }
}
