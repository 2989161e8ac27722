//! The registers of a stopped thread as tracers see them: `struct user_regs_struct`, `struct user`, `FXSAVE`, `XSAVE`.

use crate::abi::Errno;
use crate::platform;
use crate::task::trace::Stopped;
use alloc::vec::Vec;
use chitin_core::cpu::Regs;
use chitin_proto::layout::USER_END;

/// Words of `struct user_regs_struct`.
pub(super) const WORDS: usize = 27;
/// Bytes of `struct user`.
const USER_SIZE: u64 = 928;
/// Debug registers in `struct user`.
const DEBUG: core::ops::Range<u64> = 848..912;
/// Bytes of the area that FXSAVE writes.
pub(super) const LEGACY_SIZE: usize = 512;
/// Where user space finds the mask of components of an XSAVE area.
const XCR0_AT: usize = 464;
const HEADER_END: usize = 576;

/// Flags that a tracer may change: CF PF AF ZF SF TF DF OF NT RF AC.
const FLAGS: u64 = 0x5_4dd5;

const ORIG_RAX: usize = 15;
const FLAGS_AT: usize = 18;
const FS_BASE: usize = 21;
const GS_BASE: usize = 22;

/// All words.
pub(super) fn words(regs: &Regs) -> [u64; WORDS] {
    [
        regs.r15,
        regs.r14,
        regs.r13,
        regs.r12,
        regs.rbp,
        regs.rbx,
        regs.r11,
        regs.r10,
        regs.r9,
        regs.r8,
        regs.rax,
        regs.rcx,
        regs.rdx,
        regs.rsi,
        regs.rdi,
        regs.orig_rax,
        regs.rip,
        regs.cs,
        regs.rflags,
        regs.rsp,
        regs.ss,
        regs.fs_base,
        regs.gs_base,
        0,
        0,
        0,
        0,
    ]
}

/// Sets one word.
///
/// # Errors
/// `EIO` for a selector that user code may not have, or a base outside of user space.
fn set_word(regs: &mut Regs, index: usize, value: u64) -> Result<(), Errno> {
    let slot = match index {
        0 => &mut regs.r15,
        1 => &mut regs.r14,
        2 => &mut regs.r13,
        3 => &mut regs.r12,
        4 => &mut regs.rbp,
        5 => &mut regs.rbx,
        6 => &mut regs.r11,
        7 => &mut regs.r10,
        8 => &mut regs.r9,
        9 => &mut regs.r8,
        10 => &mut regs.rax,
        11 => &mut regs.rcx,
        12 => &mut regs.rdx,
        13 => &mut regs.rsi,
        14 => &mut regs.rdi,
        ORIG_RAX => &mut regs.orig_rax,
        16 => &mut regs.rip,
        FLAGS_AT => {
            regs.rflags = (regs.rflags & !FLAGS) | (value & FLAGS);
            return Ok(());
        }
        19 => &mut regs.rsp,
        FS_BASE | GS_BASE if value >= USER_END => return Err(Errno::EIO),
        FS_BASE => &mut regs.fs_base,
        GS_BASE => &mut regs.gs_base,
        // CS and SS are what they are; others must name ring 3 or nothing.
        17 | 20 if value & 0xffff == 0 => return Err(Errno::EIO),
        _ => return if value & 0xffff == 0 || value & 3 == 3 { Ok(()) } else { Err(Errno::EIO) },
    };
    *slot = value;
    Ok(())
}

/// Sets the first words.
///
/// # Errors
/// As [`set_word`]; words before have been set.
pub(super) fn set_words(regs: &mut Regs, words: &[u64]) -> Result<(), Errno> {
    words.iter().enumerate().try_for_each(|(index, word)| set_word(regs, index, *word))
}

/// `PTRACE_PEEKUSER`.
///
/// # Errors
/// `EIO` outside of `struct user`.
pub(super) fn peek_user(stopped: &Stopped, offset: u64) -> Result<u64, Errno> {
    if !offset.is_multiple_of(8) || offset >= USER_SIZE {
        return Err(Errno::EIO);
    }
    let index = usize::try_from(offset / 8).map_err(|_| Errno::EIO)?;
    // Debug registers are not there, so they are zero, as is what is not told.
    Ok(words(&stopped.regs).get(index).copied().unwrap_or(0))
}

/// `PTRACE_POKEUSER`.
///
/// # Errors
/// `EIO` outside of the registers, `EINVAL` for a debug register: there are none.
pub(super) fn poke_user(stopped: &mut Stopped, offset: u64, value: u64) -> Result<(), Errno> {
    if !offset.is_multiple_of(8) || offset >= USER_SIZE {
        return Err(Errno::EIO);
    }
    if DEBUG.contains(&offset) {
        return if value == 0 { Ok(()) } else { Err(Errno::EINVAL) };
    }
    let index = usize::try_from(offset / 8).map_err(|_| Errno::EIO)?;
    if index < WORDS { set_word(&mut stopped.regs, index, value) } else { Err(Errno::EIO) }
}

/// The XSAVE area with the mask of components where user space looks for it.
pub(super) fn xstate(stopped: &Stopped) -> Vec<u8> {
    let (_, xcr0) = platform::get().xstate_layout();
    let mut bytes = stopped.xstate.clone();
    if let Some(to) = bytes.get_mut(XCR0_AT..XCR0_AT + 8) {
        to.copy_from_slice(&xcr0.to_le_bytes());
    }
    // Components in their initial state may hold anything: x87 and SSE are told as they are.
    bytes
}

/// Replaces the first bytes of the extended state, leaving what the processor would not load.
pub(super) fn set_xstate(stopped: &mut Stopped, given: &[u8]) {
    let (_, xcr0) = platform::get().xstate_layout();
    stopped.xstate.iter_mut().zip(given).for_each(|(to, from)| *to = *from);
    let area = &mut stopped.xstate;
    area.get_mut(XCR0_AT..LEGACY_SIZE).unwrap_or_default().fill(0);
    if let Some(to) = area.get_mut(26..28) {
        // MXCSR has 16 bits.
        to.fill(0);
    }
    let word = area.get(LEGACY_SIZE..LEGACY_SIZE + 8).and_then(|part| part.try_into().ok());
    let mut present = u64::from_le_bytes(word.unwrap_or_default());
    if given.len() <= LEGACY_SIZE {
        present |= 3;
    }
    area.get_mut(LEGACY_SIZE..HEADER_END).unwrap_or_default().fill(0);
    if let Some(to) = area.get_mut(LEGACY_SIZE..LEGACY_SIZE + 8) {
        to.copy_from_slice(&(present & xcr0).to_le_bytes());
    }
}
