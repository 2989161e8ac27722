//! Robust futexes (get_robust_list(2)): locks that a dying thread held are given up for it.

use super::pi::{OWNER_DIED, TID_MASK, WAITERS};
use super::{ANY, Key, Scope, resolve, wake};
use crate::abi::Errno;
use crate::platform::Access;
use crate::user::{UserAddr, UserMemory, UserPtr};

/// Most entries that are looked at; user space may have made the list a ring.
const MAX_ENTRIES: usize = 2048;

/// Gives up every lock on the robust list at `head` that thread `tid` holds. Called at exit and execve, while the address
/// space is still there. Errors end the walk: the list is user space's own.
pub fn exit(user: &UserMemory<'_>, head: UserAddr, tid: u32) {
    if !head.is_null() {
        let _ = walk(user, head, tid);
    }
}

fn word(user: &UserMemory<'_>, at: UserAddr, index: u64) -> Result<u64, Errno> {
    user.read(UserPtr::<u64>::new(at.checked_add(8 * index).ok_or(Errno::EFAULT)?))
}

fn walk(user: &UserMemory<'_>, head: UserAddr, tid: u32) -> Result<(), Errno> {
    let offset = word(user, head, 1)?;
    let pending = word(user, head, 2)?;
    let mut entry = word(user, head, 0)?;
    for _ in 0..MAX_ENTRIES {
        let at = UserAddr::new(entry & !1);
        if at == head {
            break;
        }
        let next = word(user, at, 0);
        if entry & !1 != pending & !1 {
            give_up(user, at, offset, tid, entry & 1 != 0)?;
        }
        entry = next?;
    }
    if pending & !1 != 0 {
        give_up(user, UserAddr::new(pending & !1), offset, tid, pending & 1 != 0)?;
    }
    Ok(())
}

fn give_up(user: &UserMemory<'_>, entry: UserAddr, offset: u64, tid: u32, pi: bool) -> Result<(), Errno> {
    let at = UserAddr::new(entry.get().wrapping_add(offset));
    let key = Key::new(user, at, Scope::Shared)?;
    let space = user.mm.space();
    loop {
        let Ok(old) = space.load_u32(at) else {
            resolve(user, at, Access::Read)?;
            continue;
        };
        if old & TID_MASK != tid {
            return Ok(());
        }
        match space.compare_exchange_u32(at, old, (old & WAITERS) | OWNER_DIED) {
            Ok(found) if found == old => {
                if pi {
                    super::pi::hand_over(user, at, key);
                } else if old & WAITERS != 0 {
                    wake(key, ANY, 1);
                }
                return Ok(());
            }
            Ok(_) => {}
            Err(_) => resolve(user, at, Access::Write)?,
        }
    }
}
