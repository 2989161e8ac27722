//! Operations on two futexes: `FUTEX_REQUEUE`, `FUTEX_CMP_REQUEUE`, `FUTEX_WAKE_OP`.

use super::{ANY, Key, ToWake, resolve, take, with_two};
use crate::abi::Errno;
use crate::platform::Access;
use crate::user::{UserAddr, UserMemory};
use core::sync::atomic::Ordering;

/// Wakes up to `wake_count` waiters of `from` and moves up to `move_count` others to `to`. With `expected` only if the word at
/// `at` holds it. Returns the number of waiters woken or moved.
///
/// # Errors
/// `EAGAIN` when the word holds something else, `EFAULT` when it cannot be read.
pub fn requeue(
    user: &UserMemory<'_>,
    (at, from): (UserAddr, Key),
    to: Key,
    wake_count: usize,
    move_count: usize,
    expected: Option<u32>,
) -> Result<usize, Errno> {
    loop {
        let mut to_wake = ToWake::default();
        let moved = with_two(user.sleeper, from, to, |bucket, mut other| {
            if let Some(expected) = expected
                && user.mm.space().load_u32(at).map_err(|_| None)? != expected
            {
                return Err(Some(Errno::EAGAIN));
            }
            take(bucket, from, ANY, wake_count, &mut to_wake);
            let mut moved = 0;
            let mut next = 0;
            while moved < move_count && next < bucket.len() {
                if bucket.get(next).is_none_or(|entry| entry.key != from || entry.is_for_lock()) {
                    next += 1;
                    continue;
                }
                moved += 1;
                match other.as_deref_mut() {
                    Some(other) => {
                        let mut entry = bucket.remove(next);
                        entry.key = to;
                        entry.sleep.bucket.store(to.bucket(), Ordering::Release);
                        other.push(entry);
                    }
                    None => {
                        if let Some(entry) = bucket.get_mut(next) {
                            entry.key = to;
                        }
                        next += 1;
                    }
                }
            }
            Ok(moved)
        });
        match moved {
            Ok(moved) => return Ok(to_wake.wake() + moved),
            Err(Some(errno)) => return Err(errno),
            Err(None) => resolve(user, at, Access::Read)?,
        }
    }
}

/// The operation of `FUTEX_WAKE_OP`, decoded from its argument.
#[derive(Clone, Copy, Debug)]
struct WakeOp {
    operation: u32,
    comparison: u32,
    operand: i32,
    against: i32,
}

impl WakeOp {
    fn new(encoded: u32) -> Result<Self, Errno> {
        // Sign-extends the 12 bits from `shift` on.
        let field = |shift: u32| (encoded << (20 - shift)).cast_signed() >> 20;
        let mut operand = field(12);
        if encoded & 0x8000_0000 != 0 {
            operand = 1i32.wrapping_shl((operand & 31).cast_unsigned());
        }
        let op = Self {
            operation: (encoded >> 28) & 7,
            comparison: (encoded >> 24) & 15,
            operand,
            against: field(0),
        };
        if op.operation > 4 || op.comparison > 5 { Err(Errno::ENOSYS) } else { Ok(op) }
    }

    fn apply(self, old: u32) -> u32 {
        let operand = self.operand.cast_unsigned();
        match self.operation {
            0 => operand,
            1 => old.wrapping_add(operand),
            2 => old | operand,
            3 => old & !operand,
            _ => old ^ operand,
        }
    }

    fn holds(self, old: u32) -> bool {
        let old = old.cast_signed();
        match self.comparison {
            0 => old == self.against,
            1 => old != self.against,
            2 => old < self.against,
            3 => old <= self.against,
            4 => old > self.against,
            _ => old >= self.against,
        }
    }
}

/// `FUTEX_WAKE_OP`: changes the word at `at2`, wakes waiters of the first futex, and those of the second if the old value
/// compares as asked. Returns how many were woken.
///
/// # Errors
/// `ENOSYS` for an unknown operation, `EFAULT` when the word cannot be changed.
pub fn wake_op(
    user: &UserMemory<'_>,
    first: Key,
    (at2, second): (UserAddr, Key),
    count: usize,
    count2: usize,
    encoded: u32,
) -> Result<usize, Errno> {
    let op = WakeOp::new(encoded)?;
    let space = user.mm.space();
    loop {
        let mut to_wake = ToWake::default();
        let done = with_two(user.sleeper, first, second, |bucket, other| {
            let mut old = space.load_u32(at2).map_err(|_| ())?;
            loop {
                let found = space.compare_exchange_u32(at2, old, op.apply(old)).map_err(|_| ())?;
                if found == old {
                    break;
                }
                old = found;
            }
            take(bucket, first, ANY, count, &mut to_wake);
            if op.holds(old) {
                take(other.unwrap_or(bucket), second, ANY, count2, &mut to_wake);
            }
            Ok::<(), ()>(())
        });
        match done {
            Ok(()) => return Ok(to_wake.wake()),
            Err(()) => resolve(user, at2, Access::Write)?,
        }
    }
}
