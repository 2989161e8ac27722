//! [`check`]: whether a program can be run.

use super::{Instruction, MAX_LEN, MEMORY_WORDS, code};
use crate::abi::Errno;
use alloc::vec::Vec;

/// Checks a program: known operations only, of these such as `accepts` takes, jumps within it, a return at its end, no word
/// of memory read before it was written, no division by a constant zero.
///
/// # Errors
/// `EINVAL`.
pub fn check(instructions: &[Instruction], accepts: impl Fn(&Instruction) -> bool) -> Result<(), Errno> {
    let len = instructions.len();
    if len == 0 || len > MAX_LEN {
        return Err(Errno::EINVAL);
    }
    for (at, instruction) in instructions.iter().enumerate() {
        if !is_sound(instruction, len - at - 1) || !accepts(instruction) {
            return Err(Errno::EINVAL);
        }
    }
    if !instructions.last().is_some_and(|last| matches!(last.code, code::RET_K | code::RET_A)) {
        return Err(Errno::EINVAL);
    }
    check_memory(instructions)
}

/// Whether one instruction with `after` others behind it can be run.
fn is_sound(instruction: &Instruction, after: usize) -> bool {
    let Instruction { code, jump_true, jump_false, k } = *instruction;
    match code {
        code::LD_IMM | code::LDX_IMM | code::LD_LEN | code::LDX_LEN => true,
        code::RET_K | code::RET_A | code::TAX | code::TXA | code::NEG => true,
        code::LD_ABS | code::LD_ABS_H | code::LD_ABS_B | code::LD_IND | code::LD_IND_H | code::LD_IND_B => {
            true
        }
        code::LDX_MSH | code::MOD_X => true,
        code::LD_MEM | code::LDX_MEM | code::ST | code::STX => (k as usize) < MEMORY_WORDS,
        code::JA => (k as usize) < after,
        // Comparisons: JEQ, JGT, JGE, JSET.
        0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
            usize::from(jump_true) < after && usize::from(jump_false) < after
        }
        // DIV, MOD and shifts by a constant.
        0x34 | code::MOD_K => k != 0,
        0x64 | 0x74 => k < 32,
        // ADD, SUB, MUL, OR, AND, XOR, and operations with X.
        0x04 | 0x0c | 0x14 | 0x1c | 0x24 | 0x2c | 0x3c | 0x44 | 0x4c | 0x54 | 0x5c | 0x6c | 0x7c | 0xa4
        | 0xac => true,
        _ => false,
    }
}

/// Every path writes a word of memory before it reads it.
fn check_memory(instructions: &[Instruction]) -> Result<(), Errno> {
    // Words that are written on every way to each instruction.
    let mut known: Vec<u16> = alloc::vec![u16::MAX; instructions.len()];
    let mut valid: u16 = 0;
    let meet = |known: &mut [u16], at: usize, valid: u16| {
        if let Some(slot) = known.get_mut(at) {
            *slot &= valid;
        }
    };
    for (at, instruction) in instructions.iter().enumerate() {
        valid &= known.get(at).copied().unwrap_or(0);
        let word = 1u16.checked_shl(instruction.k).unwrap_or(0);
        match instruction.code {
            code::ST | code::STX => valid |= word,
            code::LD_MEM | code::LDX_MEM if valid & word == 0 => return Err(Errno::EINVAL),
            code::JA => {
                meet(&mut known, at + 1 + instruction.k as usize, valid);
                valid = u16::MAX;
            }
            jump if jump & 7 == 5 => {
                meet(&mut known, at + 1 + usize::from(instruction.jump_true), valid);
                meet(&mut known, at + 1 + usize::from(instruction.jump_false), valid);
                valid = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}
