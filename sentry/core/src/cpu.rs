//! What it takes to run user code: registers, extended state, and the request to come back.

use alloc::boxed::Box;
use alloc::vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// General-purpose user registers, in the order of Linux's `struct user_regs_struct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "register names")]
pub struct Regs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// System call number at entry, or -1.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

/// 64 bytes at 64-byte alignment: the unit of an XSAVE area.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct XsaveBlock(pub [u8; 64]);

/// x87, SSE and AVX state of a thread in XSAVE standard format (Intel SDM vol. 1, 13.4).
///
/// While its thread is on a CPU the newest state may be in that CPU's registers: [`Xstate::live_cpu`] tells. The platform's
/// `flush_xstate` brings it here. An all-zero header means initial state.
#[derive(Debug)]
pub struct Xstate {
    area: Box<[XsaveBlock]>,
    /// CPU whose registers hold this state, plus one; 0: the area is current.
    pub live_cpu: u32,
}

impl Xstate {
    /// The initial state: FCW 0x37f, MXCSR 0x1f80. `bytes` is the size of the XSAVE area.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let mut area = vec![XsaveBlock([0; 64]); bytes.max(576).div_ceil(64)].into_boxed_slice();
        if let Some(first) = area.first_mut() {
            first.0[0..2].copy_from_slice(&0x037f_u16.to_le_bytes());
            first.0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        }
        Self { area, live_cpu: 0 }
    }

    /// A copy of a state whose area is current (flush first).
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { area: self.area.clone(), live_cpu: 0 }
    }

    /// The area in 64-byte blocks.
    #[must_use]
    pub fn blocks(&self) -> &[XsaveBlock] {
        &self.area
    }

    /// The area in 64-byte blocks, to be changed (flush first).
    pub fn blocks_mut(&mut self) -> &mut [XsaveBlock] {
        &mut self.area
    }

    /// The area as bytes (flush first).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: blocks are arrays of 64 bytes at 64-byte alignment, so the slice has no padding.
        unsafe { core::slice::from_raw_parts(self.area.as_ptr().cast(), self.area.len() * 64) }
    }

    /// The area as bytes, to be changed (flush first).
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; every byte pattern is a valid block.
        unsafe { core::slice::from_raw_parts_mut(self.area.as_mut_ptr().cast(), self.area.len() * 64) }
    }

    /// Back to the initial state (flush first).
    pub fn reset(&mut self) {
        self.bytes_mut().fill(0);
        if let Some(first) = self.area.first_mut() {
            first.0[0..2].copy_from_slice(&0x037f_u16.to_le_bytes());
            first.0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        }
    }

    /// Bytes of the area.
    #[must_use]
    pub fn size(&self) -> usize {
        self.area.len() * 64
    }
}

impl Drop for Xstate {
    fn drop(&mut self) {
        if self.live_cpu != 0
            && let Some(hooks) = crate::hooks::get()
        {
            hooks.xstate_dropped(self.area.as_ptr());
        }
    }
}

/// Everything the CPU needs to run a user thread.
#[derive(Debug)]
pub struct UserContext {
    /// General-purpose registers.
    pub regs: Regs,
    /// Extended state.
    pub xstate: Xstate,
}

/// Asks a user thread to come back to the sentry. Tested with interrupts off on the way to user mode, so no request is
/// lost; [`ExitRequest::set`] tells which CPU to kick when the thread is in user mode now.
#[derive(Debug, Default)]
pub struct ExitRequest {
    pending: AtomicBool,
    /// CPU in user mode with this request, plus one.
    user_cpu: AtomicU32,
}

impl ExitRequest {
    /// Nothing asked.
    #[must_use]
    pub const fn new() -> Self {
        Self { pending: AtomicBool::new(false), user_cpu: AtomicU32::new(0) }
    }

    /// Asks; returns the CPU to kick, if the thread runs user code.
    pub fn set(&self) -> Option<usize> {
        self.pending.store(true, Ordering::SeqCst);
        (self.user_cpu.load(Ordering::SeqCst) as usize).checked_sub(1)
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    /// Whether the thread runs user code now.
    pub fn is_in_user(&self) -> bool {
        self.user_cpu.load(Ordering::Relaxed) != 0
    }

    /// Takes the request back; for the thread itself, before it looks at what it was asked for.
    pub fn clear(&self) {
        self.pending.store(false, Ordering::SeqCst);
    }

    /// For platforms: the thread is about to enter user mode on `cpu`. Call with interrupts off, then test `is_set`.
    pub fn enter_user(&self, cpu: usize) {
        self.user_cpu.store(u32::try_from(cpu + 1).unwrap_or(u32::MAX), Ordering::SeqCst);
    }

    /// For platforms: the thread has left user mode.
    pub fn leave_user(&self) {
        // Seen late, it costs one needless kick.
        self.user_cpu.store(0, Ordering::Release);
    }
}
