//! Filters of system calls: programs of classic BPF over [`Data`] of one call.

use crate::abi::Errno;
use crate::bpf::{self, code};
pub use crate::bpf::{Instruction, MAX_LEN};
use alloc::vec::Vec;

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

impl bpf::Data for Data {
    fn len(&self) -> u32 {
        DATA_SIZE
    }

    fn load(&self, _size: u32, k: u32, _index: Option<u32>, _registers: (u32, u32)) -> Option<u32> {
        Some(self.word(k))
    }
}

/// Whether an operation makes sense for system calls: of loads from the data only those of whole words, and no remainders.
fn accepts(instruction: &Instruction) -> bool {
    match instruction.code {
        code::LD_ABS => instruction.k < DATA_SIZE && instruction.k.is_multiple_of(4),
        code::LD_ABS_H | code::LD_ABS_B | code::LD_IND | code::LD_IND_H | code::LD_IND_B => false,
        code::LDX_MSH | code::MOD_K | code::MOD_X => false,
        _ => true,
    }
}

/// A checked program.
#[derive(Debug)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Checks a program (see [`bpf::check`]).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, Errno> {
        bpf::check(&instructions, accepts)?;
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
        bpf::translated_len(&self.0)
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
        bpf::run_within(&self.0, &data, |instruction| instruction.code != code::LD_ABS || instruction.k <= 4)
    }

    /// What it returns for a system call; 0, which kills, for a division by zero.
    #[must_use]
    pub fn run(&self, data: &Data) -> u32 {
        bpf::run(&self.0, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::code;

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
