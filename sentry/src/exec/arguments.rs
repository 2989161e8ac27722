//! [`Arguments`]: the strings that execve(2) hands to a new program, kept in frames because user code chooses their size.

use crate::abi::Errno;
use crate::mm::{Budget, Charge};
use crate::user::{UserAddr, UserMemory, UserPtr};
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};

/// Longest single string with its null byte (Linux: `MAX_ARG_STRLEN`).
const MAX_STRING: usize = 32 * FRAME_SIZE;
/// All strings and pointers together never exceed this (Linux: three quarters of the default stack limit).
const MAX_TOTAL: u64 = 6 << 20;
/// All strings and pointers together may always be this long (Linux: `ARG_MAX`).
const MIN_TOTAL: u64 = 32 * 4096;

/// Argument and environment strings in order, each ended by a null byte.
#[derive(Debug)]
pub struct Arguments {
    /// Replaces the first argument: interpreter, its argument, script.
    prefix: Vec<Vec<u8>>,
    /// Arguments, then environment.
    frames: Vec<Frame>,
    len: usize,
    charge: Charge,
    /// Bytes of the first argument with its null byte.
    first_len: usize,
    /// Bytes of all arguments.
    argument_len: usize,
    argument_count: usize,
    environment_count: usize,
    limit: u64,
}

impl Arguments {
    /// No strings. `stack_limit` is `RLIMIT_STACK` in bytes: a quarter of it is for strings and pointers.
    ///
    /// # Errors
    /// `ENOMEM` when the budget is empty.
    pub fn new(budget: &Arc<Budget>, stack_limit: u64) -> Result<Self, Errno> {
        Ok(Self {
            prefix: Vec::new(),
            frames: Vec::new(),
            len: 0,
            charge: budget.charge(0).map_err(|_| Errno::ENOMEM)?,
            first_len: 0,
            argument_len: 0,
            argument_count: 0,
            environment_count: 0,
            limit: (stack_limit / 4).clamp(MIN_TOTAL, MAX_TOTAL),
        })
    }

    /// Copies the arrays of string pointers that execve(2) was given; a null array is an empty one. Linux gives a program
    /// with no argument an empty first one; so does this.
    ///
    /// # Errors
    /// `EFAULT`, `E2BIG`, `ENOMEM`.
    pub fn read_user(
        user: &UserMemory<'_>,
        argv: UserPtr<u64>,
        envp: UserPtr<u64>,
        budget: &Arc<Budget>,
        stack_limit: u64,
    ) -> Result<Self, Errno> {
        let mut arguments = Self::new(budget, stack_limit)?;
        read_strings(user, argv, |string| arguments.push_argument(string))?;
        if arguments.argument_count == 0 {
            arguments.push_argument(b"")?;
        }
        read_strings(user, envp, |string| arguments.push_environment(string))?;
        Ok(arguments)
    }

    /// Adds an argument, without its null byte; before any environment string.
    ///
    /// # Errors
    /// `E2BIG`, `ENOMEM`; `EINVAL` after an environment string, and for a string with a null byte in it.
    pub fn push_argument(&mut self, string: &[u8]) -> Result<(), Errno> {
        if self.environment_count > 0 {
            return Err(Errno::EINVAL);
        }
        self.push(string)?;
        if self.argument_count == 0 {
            self.first_len = self.len;
        }
        self.argument_count += 1;
        self.argument_len = self.len;
        Ok(())
    }

    /// Adds an environment string (`NAME=value`), without its null byte.
    ///
    /// # Errors
    /// `E2BIG`, `ENOMEM`; `EINVAL` for a string with a null byte in it.
    pub fn push_environment(&mut self, string: &[u8]) -> Result<(), Errno> {
        self.push(string)?;
        self.environment_count += 1;
        Ok(())
    }

    /// For a `#!` script: the first argument becomes interpreter, its optional argument, and the script's path. May be
    /// called again when the interpreter is itself a script.
    ///
    /// # Errors
    /// `E2BIG`.
    pub fn interpret(
        &mut self,
        interpreter: &[u8],
        argument: Option<&[u8]>,
        script: &[u8],
    ) -> Result<(), Errno> {
        let rest = if self.prefix.is_empty() { Vec::new() } else { self.prefix.split_off(1) };
        let head = core::iter::once(interpreter).chain(argument).chain(core::iter::once(script));
        self.prefix = head.map(<[u8]>::to_vec).chain(rest).collect();
        if self.total() > self.limit { Err(Errno::E2BIG) } else { Ok(()) }
    }

    /// Number of arguments.
    #[must_use]
    pub fn argument_count(&self) -> usize {
        if self.prefix.is_empty() {
            self.argument_count
        } else {
            self.prefix.len() + self.argument_count.saturating_sub(1)
        }
    }

    /// Number of environment strings.
    #[must_use]
    pub fn environment_count(&self) -> usize {
        self.environment_count
    }

    /// Bytes of all arguments with their null bytes.
    #[must_use]
    pub fn argument_len(&self) -> usize {
        if self.prefix.is_empty() {
            self.argument_len
        } else {
            self.prefix_len() + self.argument_len - self.first_len
        }
    }

    /// Bytes of all strings with their null bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.argument_len() + self.len - self.argument_len
    }

    /// Hands all strings with their null bytes to `sink`, in order and in pieces.
    ///
    /// # Errors
    /// What `sink` gives.
    pub fn for_each_piece(&self, mut sink: impl FnMut(&[u8]) -> Result<(), Errno>) -> Result<(), Errno> {
        for string in &self.prefix {
            sink(string)?;
            sink(b"\0")?;
        }
        let mut at = if self.prefix.is_empty() { 0 } else { self.first_len };
        let mut piece = [0u8; 512];
        while at < self.len {
            let len = (FRAME_SIZE - at % FRAME_SIZE).min(piece.len()).min(self.len - at);
            let (Some(frame), Some(part)) = (self.frames.get(at / FRAME_SIZE), piece.get_mut(..len)) else {
                return Err(Errno::EFAULT);
            };
            frame.copy_out(at % FRAME_SIZE, part);
            sink(part)?;
            at += len;
        }
        Ok(())
    }

    fn prefix_len(&self) -> usize {
        self.prefix.iter().map(|string| string.len() + 1).sum()
    }

    /// Bytes of strings and pointers, as the limit counts them.
    fn total(&self) -> u64 {
        let pointers = self.argument_count() + self.environment_count;
        self.byte_len() as u64 + pointers as u64 * 8
    }

    fn push(&mut self, string: &[u8]) -> Result<(), Errno> {
        if string.contains(&0) {
            return Err(Errno::EINVAL);
        }
        if string.len() >= MAX_STRING || self.total() + string.len() as u64 + 9 > self.limit {
            return Err(Errno::E2BIG);
        }
        self.append(string)?;
        self.append(b"\0")
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let within = self.len % FRAME_SIZE;
            if within == 0 {
                self.charge.grow(1).map_err(|_| Errno::ENOMEM)?;
                self.frames.push(Frame::uncleared().ok_or(Errno::ENOMEM)?);
            }
            let frame = self.frames.last().ok_or(Errno::ENOMEM)?;
            let copied = frame.copy_in(within, bytes);
            self.len += copied;
            bytes = bytes.get(copied..).unwrap_or_default();
        }
        Ok(())
    }
}

fn read_strings(
    user: &UserMemory<'_>,
    array: UserPtr<u64>,
    mut push: impl FnMut(&[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    if array.is_null() {
        return Ok(());
    }
    for index in 0.. {
        let pointer = user.read(array.element(index)?)?;
        if pointer == 0 {
            break;
        }
        push(&user.read_cstr(UserAddr::new(pointer), MAX_STRING, Errno::E2BIG)?)?;
        if index % 1024 == 1023 {
            user.sleeper.resched_point();
        }
    }
    Ok(())
}
