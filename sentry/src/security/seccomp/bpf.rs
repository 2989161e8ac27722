//! Classic BPF as seccomp(2) takes it: checking a program and running it over the data of one system call.
//!
//! A program is checked once; a checked one ends within as many steps as it has instructions, for jumps go forward only.

use crate::abi::Errno;
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Most instructions of a program (`BPF_MAXINSNS`).
pub const MAX_LEN: usize = 4096;

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// When it does not.
    pub jump_false: u8,
    /// Operand.
    pub k: u32,
}

/// `struct seccomp_data`: what a program sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// System call number.
    pub number: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Address after the instruction.
    pub rip: u64,
    /// Arguments.
    pub arguments: [u64; 6],
}

const DATA_SIZE: u32 = 64;
const MEMORY_WORDS: usize = 16;

impl Data {
    /// The 32-bit word at a multiple of 4.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
    fn word(&self, offset: u32) -> u32 {
        let half = |value: u64| if offset & 4 == 0 { value as u32 } else { (value >> 32) as u32 };
        match offset {
            0 => self.number.cast_unsigned(),
            4 => self.arch,
            8 | 12 => half(self.rip),
            _ => self.arguments.get((offset as usize).wrapping_sub(16) / 8).copied().map_or(0, half),
        }
    }
}

mod code {
    pub(super) const LD_IMM: u16 = 0x00;
    pub(super) const LD_ABS: u16 = 0x20;
    pub(super) const LD_MEM: u16 = 0x60;
    pub(super) const LD_LEN: u16 = 0x80;
    pub(super) const LDX_IMM: u16 = 0x01;
    pub(super) const LDX_MEM: u16 = 0x61;
    pub(super) const LDX_LEN: u16 = 0x81;
    pub(super) const ST: u16 = 0x02;
    pub(super) const STX: u16 = 0x03;
    pub(super) const JA: u16 = 0x05;
    pub(super) const RET_K: u16 = 0x06;
    pub(super) const RET_A: u16 = 0x16;
    pub(super) const TAX: u16 = 0x07;
    pub(super) const TXA: u16 = 0x87;
    pub(super) const NEG: u16 = 0x84;
    /// Bit of an operation that takes X instead of a constant.
    pub(super) const X: u16 = 0x08;
}

/// A checked program.
#[derive(Debug)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Checks a program: known operations only, jumps within it, a return at its end, no word of memory read before it
    /// was written, no division by a constant zero.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, Errno> {
        let len = instructions.len();
        if len == 0 || len > MAX_LEN {
            return Err(Errno::EINVAL);
        }
        for (at, instruction) in instructions.iter().enumerate() {
            check(instruction, len - at - 1)?;
        }
        if !instructions.last().is_some_and(|last| matches!(last.code, code::RET_K | code::RET_A)) {
            return Err(Errno::EINVAL);
        }
        check_memory(&instructions)?;
        Ok(Self(instructions))
    }

    /// Instructions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Instructions of the form that Linux translates it to, which is what its limit of all filters counts.
    #[must_use]
    pub fn translated_len(&self) -> usize {
        let len = |instruction: &Instruction| match instruction.code {
            code::RET_K => 2,
            // Division by X looks at X first.
            0x3c => 5,
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                let wide = usize::from(instruction.code & code::X == 0 && instruction.k >> 31 != 0);
                let code = instruction.code & 0xf0;
                let inverted = instruction.jump_true == 0 && code != 0x40;
                1 + wide + usize::from(instruction.jump_false != 0 && !inverted)
            }
            _ => 1,
        };
        3 + self.0.iter().map(len).sum::<usize>()
    }

    /// Whether it has none: never, once checked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// What it returns for every call of a number; `None` when it looks at more than number and architecture.
    #[must_use]
    pub fn answer_by_number(&self, number: i32, arch: u32) -> Option<u32> {
        let data = Data { number, arch, ..Data::default() };
        let mut machine = Machine { a: 0, x: 0, memory: [0; MEMORY_WORDS] };
        let mut at = 0;
        while let Some(instruction) = self.0.get(at) {
            at += 1;
            if instruction.code == code::LD_ABS && instruction.k > 4 {
                return None;
            }
            match machine.step(instruction, &data) {
                Step::Next => {}
                Step::Skip(count) => at = at.saturating_add(count as usize),
                Step::Return(value) => return Some(value),
            }
        }
        None
    }

    /// What it returns for a system call; 0, which kills, for a division by zero.
    #[must_use]
    pub fn run(&self, data: &Data) -> u32 {
        let mut machine = Machine { a: 0, x: 0, memory: [0; MEMORY_WORDS] };
        let mut at = 0;
        while let Some(instruction) = self.0.get(at) {
            at += 1;
            match machine.step(instruction, data) {
                Step::Next => {}
                Step::Skip(count) => at = at.saturating_add(count as usize),
                Step::Return(value) => return value,
            }
        }
        0
    }
}

/// Checks one instruction with `after` others behind it.
fn check(instruction: &Instruction, after: usize) -> Result<(), Errno> {
    let Instruction { code, jump_true, jump_false, k } = *instruction;
    let sound = match code {
        code::LD_IMM | code::LDX_IMM | code::LD_LEN | code::LDX_LEN => true,
        code::RET_K | code::RET_A | code::TAX | code::TXA | code::NEG => true,
        code::LD_ABS => k < DATA_SIZE && k.is_multiple_of(4),
        code::LD_MEM | code::LDX_MEM | code::ST | code::STX => (k as usize) < MEMORY_WORDS,
        code::JA => (k as usize) < after,
        // Comparisons: JEQ, JGT, JGE, JSET.
        0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
            usize::from(jump_true) < after && usize::from(jump_false) < after
        }
        // DIV and shifts by a constant.
        0x34 => k != 0,
        0x64 | 0x74 => k < 32,
        // ADD, SUB, MUL, OR, AND, XOR, and operations with X.
        0x04 | 0x0c | 0x14 | 0x1c | 0x24 | 0x2c | 0x3c | 0x44 | 0x4c | 0x54 | 0x5c | 0x6c | 0x7c | 0xa4
        | 0xac => true,
        _ => false,
    };
    if sound { Ok(()) } else { Err(Errno::EINVAL) }
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

enum Step {
    Next,
    Skip(u32),
    Return(u32),
}

struct Machine {
    a: u32,
    x: u32,
    memory: [u32; MEMORY_WORDS],
}

impl Machine {
    fn step(&mut self, instruction: &Instruction, data: &Data) -> Step {
        let Instruction { code, k, .. } = *instruction;
        let load = |memory: &[u32; MEMORY_WORDS]| memory.get(k as usize).copied().unwrap_or(0);
        match code {
            code::LD_IMM => self.a = k,
            code::LDX_IMM => self.x = k,
            code::LD_ABS => self.a = data.word(k),
            code::LD_LEN => self.a = DATA_SIZE,
            code::LDX_LEN => self.x = DATA_SIZE,
            code::LD_MEM => self.a = load(&self.memory),
            code::LDX_MEM => self.x = load(&self.memory),
            code::ST | code::STX => {
                let value = if code == code::ST { self.a } else { self.x };
                if let Some(word) = self.memory.get_mut(k as usize) {
                    *word = value;
                }
            }
            code::TAX => self.x = self.a,
            code::TXA => self.a = self.x,
            code::NEG => self.a = self.a.wrapping_neg(),
            code::RET_K => return Step::Return(k),
            code::RET_A => return Step::Return(self.a),
            code::JA => return Step::Skip(k),
            _ => {
                let operand = if code & code::X != 0 { self.x } else { k };
                return if code & 7 == 5 {
                    self.compare(instruction, operand)
                } else {
                    self.compute(code, operand)
                };
            }
        }
        Step::Next
    }

    fn compare(&self, instruction: &Instruction, operand: u32) -> Step {
        let holds = match instruction.code & 0xf0 {
            0x10 => self.a == operand,
            0x20 => self.a > operand,
            0x30 => self.a >= operand,
            _ => self.a & operand != 0,
        };
        Step::Skip(u32::from(if holds { instruction.jump_true } else { instruction.jump_false }))
    }

    fn compute(&mut self, code: u16, operand: u32) -> Step {
        let a = self.a;
        self.a = match code & 0xf0 {
            0x00 => a.wrapping_add(operand),
            0x10 => a.wrapping_sub(operand),
            0x20 => a.wrapping_mul(operand),
            0x30 => match a.checked_div(operand) {
                Some(quotient) => quotient,
                None => return Step::Return(0),
            },
            0x40 => a | operand,
            0x50 => a & operand,
            // As the processor shifts: by the low five bits.
            0x60 => a.wrapping_shl(operand),
            0x70 => a.wrapping_shr(operand),
            _ => a ^ operand,
        };
        Step::Next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ins(code: u16, jump_true: u8, jump_false: u8, k: u32) -> Instruction {
        Instruction { code, jump_true, jump_false, k }
    }

    #[test]
    fn refuses_what_could_go_wrong() {
        let ret = ins(code::RET_K, 0, 0, 0);
        for bad in [
            alloc::vec![],
            alloc::vec![ins(code::LD_IMM, 0, 0, 0)],
            alloc::vec![ins(code::JA, 0, 0, 0)],
            alloc::vec![ins(code::JA, 0, 0, 1), ret],
            alloc::vec![ins(0x15, 0, 1, 0), ret],
            alloc::vec![ins(code::LD_ABS, 0, 0, 64), ret],
            alloc::vec![ins(code::LD_ABS, 0, 0, 2), ret],
            alloc::vec![ins(code::LD_MEM, 0, 0, 0), ret],
            alloc::vec![ins(code::ST, 0, 0, 16), ret],
            alloc::vec![ins(0x34, 0, 0, 0), ret],
            alloc::vec![ins(0x64, 0, 0, 32), ret],
            alloc::vec![ins(0x28, 0, 0, 0), ret],
            alloc::vec![ins(0x94, 0, 0, 1), ret],
            // Written on one way only.
            alloc::vec![ins(0x15, 0, 1, 0), ins(code::ST, 0, 0, 3), ins(code::LD_MEM, 0, 0, 3), ret],
            alloc::vec![ret; MAX_LEN + 1],
        ] {
            assert_eq!(Program::new(bad.clone()).map(drop), Err(Errno::EINVAL), "{bad:?}");
        }
        assert!(Program::new(alloc::vec![ret; MAX_LEN]).is_ok());
    }

    #[test]
    fn computes() {
        let data = Data { number: 39, arch: 7, rip: 5 << 32 | 9, arguments: [1 << 33, 2, 3, 4, 5, 6] };
        let run = |program: &[Instruction]| Program::new(program.to_vec()).unwrap().run(&data);
        let ret = ins(code::RET_A, 0, 0, 0);
        assert_eq!(run(&[ins(code::LD_ABS, 0, 0, 0), ret]), 39);
        assert_eq!(run(&[ins(code::LD_ABS, 0, 0, 12), ret]), 5);
        assert_eq!(run(&[ins(code::LD_ABS, 0, 0, 20), ret]), 2);
        assert_eq!(run(&[ins(code::LD_ABS, 0, 0, 56), ret]), 6);
        assert_eq!(run(&[ins(code::LD_LEN, 0, 0, 0), ret]), 64);
        assert_eq!(run(&[ins(code::LD_IMM, 0, 0, 7), ins(0x3c, 0, 0, 0), ret]), 0, "division by X = 0");
        let chosen = [
            ins(code::LD_ABS, 0, 0, 0),
            ins(0x15, 1, 0, 39),
            ins(code::RET_K, 0, 0, 1),
            ins(code::ST, 0, 0, 15),
            ins(code::LDX_MEM, 0, 0, 15),
            ins(0x0c, 0, 0, 0),
            ret,
        ];
        assert_eq!(run(&chosen), 78);
    }
}
