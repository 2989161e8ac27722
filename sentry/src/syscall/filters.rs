//! Options of setsockopt(2) and getsockopt(2) that put filters on sockets (socket(7)).

use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::bpf::{Instruction, MAX_LEN};
use crate::net::Socket;
use crate::net::filter::{Program, Slot};
use crate::user::{UserAddr, UserPtr};
use alloc::vec::Vec;

const SO_ATTACH_FILTER: i32 = 26;
const SO_DETACH_FILTER: i32 = 27;
const SO_LOCK_FILTER: i32 = 44;
const SO_ATTACH_BPF: i32 = 50;

/// Bytes of `struct sock_fprog`: a length and, after padding, a pointer.
const PROGRAM: usize = 16;

/// Reads and checks the program that an option names.
fn read(cx: &Cx<'_>, slot: &Slot, at: UserAddr, len: usize) -> Result<Program, Errno> {
    if len != PROGRAM {
        return Err(Errno::EINVAL);
    }
    let [count, pointer] = cx.user().read(UserPtr::<[u64; 2]>::new(at))?;
    if slot.is_locked() {
        return Err(Errno::EPERM);
    }
    let count = usize::try_from(count & 0xffff).map_err(|_| Errno::EINVAL)?;
    if pointer == 0 || count == 0 || count > MAX_LEN {
        return Err(Errno::EINVAL);
    }
    Program::new(cx.user().read_array(UserPtr::<Instruction>::new(UserAddr::new(pointer)), count)?)
}

/// Sets one of these options; `None` when it is another one.
pub(super) fn set(
    cx: &Cx<'_>,
    socket: &dyn Socket,
    name: i32,
    at: UserAddr,
    len: usize,
) -> Option<SysResult> {
    let slot = socket.filter();
    if !matches!(name, SO_ATTACH_FILTER | SO_DETACH_FILTER | SO_LOCK_FILTER | SO_ATTACH_BPF) {
        return None;
    }
    let change = || -> Result<(), Errno> {
        if len < size_of::<i32>() {
            return Err(Errno::EINVAL);
        }
        let value = cx.user().read(UserPtr::<i32>::new(at))?;
        match name {
            SO_ATTACH_FILTER if !socket.runs_filter() => Err(Errno::EOPNOTSUPP),
            SO_ATTACH_FILTER => slot.set(Some(read(cx, slot, at, len)?)),
            SO_DETACH_FILTER => slot.set(None),
            SO_LOCK_FILTER => slot.lock(value != 0),
            _ if len != size_of::<i32>() => Err(Errno::EINVAL),
            _ if slot.is_locked() => Err(Errno::EPERM),
            // No descriptor is one of a BPF program.
            _ => Err(cx.files.get(super::Fd(value)).map_or_else(|errno| errno, |_| Errno::EINVAL)),
        }
    };
    Some(change().map(|()| 0).map_err(Into::into))
}

/// Gets one of these options; `None` when it is another one. The length of `SO_GET_FILTER`, which has the number of
/// `SO_ATTACH_FILTER`, counts instructions.
pub(super) fn get(
    cx: &Cx<'_>,
    slot: &Slot,
    name: i32,
    at: UserAddr,
    room: usize,
    len: UserPtr<i32>,
) -> Option<SysResult> {
    let answer = || -> Result<(), Errno> {
        if name == SO_LOCK_FILTER {
            let value = i32::from(slot.is_locked()).to_ne_bytes();
            let part = value.get(..room.min(4)).unwrap_or_default();
            cx.user().write_bytes(at, part)?;
            return cx.user().write(len, &i32::try_from(part.len()).unwrap_or(0));
        }
        let program = slot.program();
        let instructions: Vec<Instruction> =
            program.map_or_else(Vec::new, |program| program.instructions().to_vec());
        if room > 0 && !instructions.is_empty() {
            if room < instructions.len() {
                return Err(Errno::EINVAL);
            }
            cx.user().write_bytes(at, zerocopy::IntoBytes::as_bytes(instructions.as_slice()))?;
        }
        cx.user().write(len, &i32::try_from(instructions.len()).unwrap_or(0))
    };
    matches!(name, SO_ATTACH_FILTER | SO_LOCK_FILTER).then(|| answer().map(|()| 0).map_err(Into::into))
}
