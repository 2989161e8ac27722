//! Classic BPF: checking programs and running them, for whoever has data to judge: [`crate::security::seccomp`] has system
//! calls, [`crate::net::filter`] packets.
//!
//! A program is checked once; a checked one ends within as many steps as it has instructions, for jumps go forward only.

mod check;

pub use check::check;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Most instructions of a program (`BPF_MAXINSNS`).
pub const MAX_LEN: usize = 4096;

/// Words of a program's memory.
const MEMORY_WORDS: usize = 16;

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

/// Operations.
pub mod code {
    /// A = k.
    pub const LD_IMM: u16 = 0x00;
    /// A = a word of the data at k.
    pub const LD_ABS: u16 = 0x20;
    /// A = two bytes of the data at k.
    pub const LD_ABS_H: u16 = 0x28;
    /// A = a byte of the data at k.
    pub const LD_ABS_B: u16 = 0x30;
    /// A = a word of the data at X + k.
    pub const LD_IND: u16 = 0x40;
    /// A = two bytes of the data at X + k.
    pub const LD_IND_H: u16 = 0x48;
    /// A = a byte of the data at X + k.
    pub const LD_IND_B: u16 = 0x50;
    /// A = a word of memory.
    pub const LD_MEM: u16 = 0x60;
    /// A = length of the data.
    pub const LD_LEN: u16 = 0x80;
    /// X = k.
    pub const LDX_IMM: u16 = 0x01;
    /// X = a word of memory.
    pub const LDX_MEM: u16 = 0x61;
    /// X = length of the data.
    pub const LDX_LEN: u16 = 0x81;
    /// X = 4 * (the byte at k & 15): the length of an IPv4 header.
    pub const LDX_MSH: u16 = 0xb1;
    /// A word of memory = A.
    pub const ST: u16 = 0x02;
    /// A word of memory = X.
    pub const STX: u16 = 0x03;
    /// Jump.
    pub const JA: u16 = 0x05;
    /// Return k.
    pub const RET_K: u16 = 0x06;
    /// Return A.
    pub const RET_A: u16 = 0x16;
    /// X = A.
    pub const TAX: u16 = 0x07;
    /// A = X.
    pub const TXA: u16 = 0x87;
    /// A = -A.
    pub const NEG: u16 = 0x84;
    /// A %= k.
    pub const MOD_K: u16 = 0x94;
    /// A %= X.
    pub const MOD_X: u16 = 0x9c;
    /// Bit of an operation that takes X instead of a constant.
    pub const X: u16 = 0x08;
}

/// What a program looks at.
pub trait Data {
    /// Bytes of it (`BPF_LEN`).
    fn len(&self) -> u32;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A load of `size` bytes, 1, 2 or 4, at `k`, or with `index` at `index + k`; `None` ends the program, which returns 0.
    fn load(&self, size: u32, k: u32, index: Option<u32>, registers: (u32, u32)) -> Option<u32>;
}

/// Runs a checked program: what it returns, 0 also for a division by zero and a load beyond the data.
#[must_use]
pub fn run<D: Data>(instructions: &[Instruction], data: &D) -> u32 {
    run_within(instructions, data, |_| true).unwrap_or(0)
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
    fn step<D: Data>(&mut self, instruction: &Instruction, data: &D) -> Step {
        let Instruction { code, k, .. } = *instruction;
        let load = |memory: &[u32; MEMORY_WORDS]| memory.get(k as usize).copied().unwrap_or(0);
        match code {
            code::LD_IMM => self.a = k,
            code::LDX_IMM => self.x = k,
            code::LD_ABS
            | code::LD_ABS_H
            | code::LD_ABS_B
            | code::LD_IND
            | code::LD_IND_H
            | code::LD_IND_B => {
                let size = 4 >> (code >> 3 & 3);
                let index = (code & 0xe0 == 0x40).then_some(self.x);
                match data.load(size, k, index, (self.a, self.x)) {
                    Some(value) => self.a = value,
                    None => return Step::Return(0),
                }
            }
            code::LDX_MSH => match data.load(1, k, None, (self.a, self.x)) {
                Some(value) => self.x = (value & 15) * 4,
                None => return Step::Return(0),
            },
            code::LD_LEN => self.a = data.len(),
            code::LDX_LEN => self.x = data.len(),
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
        let result = match code & 0xf0 {
            0x00 => Some(a.wrapping_add(operand)),
            0x10 => Some(a.wrapping_sub(operand)),
            0x20 => Some(a.wrapping_mul(operand)),
            0x30 => a.checked_div(operand),
            0x90 => a.checked_rem(operand),
            0x40 => Some(a | operand),
            0x50 => Some(a & operand),
            // As the processor shifts: by the low five bits.
            0x60 => Some(a.wrapping_shl(operand)),
            0x70 => Some(a.wrapping_shr(operand)),
            _ => Some(a ^ operand),
        };
        match result {
            Some(result) => self.a = result,
            None => return Step::Return(0),
        }
        Step::Next
    }
}

/// What a program returns for data of which it looks at no more than `allows` says; `None` when it looks at more.
pub fn run_within<D: Data>(
    instructions: &[Instruction],
    data: &D,
    allows: impl Fn(&Instruction) -> bool,
) -> Option<u32> {
    let mut machine = Machine { a: 0, x: 0, memory: [0; MEMORY_WORDS] };
    let mut at = 0;
    while let Some(instruction) = instructions.get(at) {
        at += 1;
        if !allows(instruction) {
            return None;
        }
        match machine.step(instruction, data) {
            Step::Next => {}
            Step::Skip(count) => at = at.saturating_add(count as usize),
            Step::Return(value) => return Some(value),
        }
    }
    None
}

/// Instructions of the form that Linux translates a program to, which is what its limits count.
#[must_use]
pub fn translated_len(instructions: &[Instruction]) -> usize {
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
    3 + instructions.iter().map(len).sum::<usize>()
}
