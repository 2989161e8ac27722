//! Signal frames of x86-64, bit for bit as Linux lays them out (`arch/x86/include/asm/sigframe.h`, `struct rt_sigframe`),
//! and their way back.

use super::action::{Action, flags};
use super::info::{SIZE as INFO_SIZE, SigInfo};
use super::number::SigSet;
use super::{AltStack, set_blocked};
use crate::abi::Errno;
use crate::platform;
use crate::task::Task;
use crate::user::{UserAddr, UserMemory, UserPtr};
use chitin_core::cpu::{Regs, UserContext, Xstate};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct sigcontext`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SigContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// `struct ucontext`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct UContext {
    flags: u64,
    link: u64,
    stack: UserStack,
    mcontext: SigContext,
    sigmask: u64,
}

/// `stack_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct UserStack {
    pub(crate) sp: u64,
    pub(crate) flags: u32,
    pub(crate) pad: u32,
    pub(crate) size: u64,
}

/// `struct rt_sigframe`, without what lies above it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RtSigFrame {
    return_address: u64,
    context: UContext,
    info: [u8; INFO_SIZE],
}

const FRAME_SIZE: u64 = size_of::<RtSigFrame>() as u64;
const _: () = assert!(FRAME_SIZE == 440 && size_of::<SigContext>() == 256);

const UC_FP_XSTATE: u64 = 1;
const UC_SIGCONTEXT_SS: u64 = 2;
const UC_STRICT_RESTORE_SS: u64 = 4;

const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
/// Where software bytes lie in the legacy area.
const SW_BYTES: usize = 464;
const LEGACY_SIZE: usize = 512;
const HEADER_END: usize = 576;

const USER_CS: u16 = 0x33;
const USER_SS: u16 = 0x2b;
/// Flags that user code may set: AC, RF, OF, DF, TF, SF, ZF, AF, PF, CF.
const RESTORABLE_FLAGS: u64 = 0x5_0dd5;
/// Always-one bit and interrupts on.
const FIXED_FLAGS: u64 = 0x202;
const FLAG_DF_RF_TF: u64 = 0x1_0500;

const RED_ZONE: u64 = 128;

pub(crate) const SS_ONSTACK: u32 = 1;
pub(crate) const SS_DISABLE: u32 = 2;
pub(crate) const SS_AUTODISARM: u32 = 1 << 31;

/// `stack_t` that tells of the alternate stack.
pub(crate) fn describe(stack: Option<AltStack>, sp: u64) -> UserStack {
    match stack {
        None => UserStack { sp: 0, flags: SS_DISABLE, pad: 0, size: 0 },
        Some(stack) => {
            let on = if !stack.disarms && stack.holds(sp) { SS_ONSTACK } else { 0 };
            let disarms = if stack.disarms { SS_AUTODISARM } else { 0 };
            UserStack { sp: stack.base, flags: on | disarms, pad: 0, size: stack.size }
        }
    }
}

/// What is needed to call a handler.
pub(super) struct Frame<'a> {
    pub(super) info: &'a SigInfo,
    pub(super) action: &'a Action,
    /// Blocked again when the handler returns.
    pub(super) blocked: SigSet,
    pub(super) alt_stack: Option<AltStack>,
}

impl Frame<'_> {
    /// Writes the frame and points the registers at the handler.
    pub(super) fn push(&self, context: &mut UserContext, user: UserMemory<'_>) -> Result<(), Errno> {
        if self.action.flags & flags::RESTORER == 0 {
            return Err(Errno::EFAULT);
        }
        let old_sp = context.regs.rsp;
        let mut sp = old_sp.wrapping_sub(RED_ZONE);
        if self.action.flags & flags::ONSTACK != 0
            && let Some(stack) = self.alt_stack
            && (stack.disarms || !stack.holds(old_sp))
        {
            sp = stack.base.wrapping_add(stack.size);
        }
        let platform = platform::get();
        platform.flush_xstate(&mut context.xstate);
        let (_, xcr0) = platform.xstate_layout();
        let state_size = context.xstate.size() as u64;
        let fpstate = sp.checked_sub(state_size + 4).ok_or(Errno::EFAULT)? & !63;
        let at = (fpstate.checked_sub(FRAME_SIZE).ok_or(Errno::EFAULT)? & !15).wrapping_sub(8);
        if let Some(stack) = self.alt_stack
            && stack.holds(sp)
            && !stack.holds(at)
        {
            return Err(Errno::EFAULT);
        }
        write_xstate(&context.xstate, xcr0, fpstate, user)?;
        let regs = &mut context.regs;
        let frame = RtSigFrame {
            return_address: self.action.restorer,
            context: UContext {
                flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
                link: 0,
                stack: describe(self.alt_stack, old_sp),
                mcontext: save(regs, self.info, self.blocked, fpstate),
                sigmask: self.blocked.0,
            },
            info: self.info.to_bytes(),
        };
        user.write(UserPtr::new(UserAddr::new(at)), &frame)?;
        regs.rdi = u64::from(self.info.signal.number());
        regs.rsi = at + 8 + size_of::<UContext>() as u64;
        regs.rdx = at + 8;
        regs.rax = 0;
        regs.rsp = at;
        regs.rip = self.action.handler;
        regs.rflags &= !FLAG_DF_RF_TF;
        regs.orig_rax = u64::MAX;
        context.xstate.reset();
        Ok(())
    }
}

fn save(regs: &Regs, info: &SigInfo, blocked: SigSet, fpstate: u64) -> SigContext {
    let cr2 = match info.origin {
        super::info::Origin::Fault { address } => address,
        _ => 0,
    };
    SigContext {
        r8: regs.r8,
        r9: regs.r9,
        r10: regs.r10,
        r11: regs.r11,
        r12: regs.r12,
        r13: regs.r13,
        r14: regs.r14,
        r15: regs.r15,
        rdi: regs.rdi,
        rsi: regs.rsi,
        rbp: regs.rbp,
        rbx: regs.rbx,
        rdx: regs.rdx,
        rax: regs.rax,
        rcx: regs.rcx,
        rsp: regs.rsp,
        rip: regs.rip,
        eflags: regs.rflags,
        cs: USER_CS,
        ss: USER_SS,
        oldmask: blocked.0,
        cr2,
        fpstate,
        ..SigContext::default()
    }
}

/// Writes the extended state with the marks by which user space knows its size.
fn write_xstate(xstate: &Xstate, xcr0: u64, at: u64, user: UserMemory<'_>) -> Result<(), Errno> {
    let bytes = xstate.bytes();
    let size = u32::try_from(bytes.len()).map_err(|_| Errno::EFAULT)?;
    let mut software = [0u8; 48];
    for (offset, word) in [(0, MAGIC1), (4, size + 4), (16, size)] {
        if let Some(to) = software.get_mut(offset..offset + 4) {
            to.copy_from_slice(&word.to_le_bytes());
        }
    }
    if let Some(to) = software.get_mut(8..16) {
        to.copy_from_slice(&xcr0.to_le_bytes());
    }
    let addr = |offset: usize| UserAddr::new(at).checked_add(offset as u64).ok_or(Errno::EFAULT);
    user.write_bytes(addr(0)?, bytes.get(..SW_BYTES).unwrap_or_default())?;
    user.write_bytes(addr(SW_BYTES)?, &software)?;
    user.write_bytes(addr(LEGACY_SIZE)?, bytes.get(LEGACY_SIZE..).unwrap_or_default())?;
    user.write_bytes(addr(bytes.len())?, &MAGIC2.to_le_bytes())
}

/// rt_sigreturn(2): goes back to what a handler interrupted. Returns the value of `rax`.
///
/// # Errors
/// `EFAULT` for a frame that cannot be read or that names what user code may not have; the task is to get SIGSEGV.
pub fn sigreturn(task: &Task, context: &mut UserContext, user: UserMemory<'_>) -> Result<u64, Errno> {
    let at = context.regs.rsp.checked_sub(8).ok_or(Errno::EFAULT)?;
    let frame: RtSigFrame = user.read(UserPtr::new(UserAddr::new(at)))?;
    let saved = &frame.context.mcontext;
    if saved.rip >= chitin_proto::layout::USER_END {
        return Err(Errno::EFAULT);
    }
    let regs = &mut context.regs;
    let flags = (saved.eflags & RESTORABLE_FLAGS) | (regs.rflags & !RESTORABLE_FLAGS) | FIXED_FLAGS;
    *regs = Regs {
        r15: saved.r15,
        r14: saved.r14,
        r13: saved.r13,
        r12: saved.r12,
        rbp: saved.rbp,
        rbx: saved.rbx,
        r11: saved.r11,
        r10: saved.r10,
        r9: saved.r9,
        r8: saved.r8,
        rax: saved.rax,
        rcx: saved.rcx,
        rdx: saved.rdx,
        rsi: saved.rsi,
        rdi: saved.rdi,
        rip: saved.rip,
        rflags: flags,
        rsp: saved.rsp,
        orig_rax: u64::MAX,
        ..*regs
    };
    set_blocked(task, SigSet(frame.context.sigmask).without(SigSet::UNBLOCKABLE));
    let stack = frame.context.stack;
    if stack.flags & SS_AUTODISARM != 0 {
        task.signals.lock().alt_stack = Some(AltStack { base: stack.sp, size: stack.size, disarms: true });
    }
    platform::get().flush_xstate(&mut context.xstate);
    context.xstate.reset();
    if saved.fpstate != 0 {
        read_xstate(&mut context.xstate, saved.fpstate, user).inspect_err(|_| context.xstate.reset())?;
    }
    Ok(saved.rax)
}

fn read_xstate(xstate: &mut Xstate, at: u64, user: UserMemory<'_>) -> Result<(), Errno> {
    let (_, xcr0) = platform::get().xstate_layout();
    if !at.is_multiple_of(64) {
        return Err(Errno::EFAULT);
    }
    let size = xstate.size();
    let addr = |offset: usize| UserAddr::new(at).checked_add(offset as u64).ok_or(Errno::EFAULT);
    let bytes = xstate.bytes_mut();
    user.read_bytes(addr(0)?, bytes.get_mut(..LEGACY_SIZE).unwrap_or_default())?;
    let word = |bytes: &[u8], offset: usize| {
        let part = bytes.get(offset..offset + 4).and_then(|part| part.try_into().ok());
        u32::from_le_bytes(part.unwrap_or_default())
    };
    let has_extended = word(bytes, SW_BYTES) == MAGIC1
        && word(bytes, SW_BYTES + 16) as usize == size
        && user.read::<u32>(UserPtr::new(addr(size)?)).is_ok_and(|magic| magic == MAGIC2);
    if has_extended {
        user.read_bytes(addr(LEGACY_SIZE)?, bytes.get_mut(LEGACY_SIZE..).unwrap_or_default())?;
    }
    // Software bytes, reserved flags and header: only what XRSTOR takes without a fault.
    bytes.get_mut(SW_BYTES..LEGACY_SIZE).unwrap_or_default().fill(0);
    let mxcsr = word(bytes, 24) & 0xffff;
    if let Some(to) = bytes.get_mut(24..28) {
        to.copy_from_slice(&mxcsr.to_le_bytes());
    }
    let part = bytes.get(LEGACY_SIZE..LEGACY_SIZE + 8).and_then(|part| part.try_into().ok());
    let present = if has_extended { u64::from_le_bytes(part.unwrap_or_default()) & xcr0 } else { 3 };
    if let Some(header) = bytes.get_mut(LEGACY_SIZE..HEADER_END) {
        header.fill(0);
    }
    if let Some(to) = bytes.get_mut(LEGACY_SIZE..LEGACY_SIZE + 8) {
        to.copy_from_slice(&present.to_le_bytes());
    }
    Ok(())
}
