//! lsm_get_self_attr, lsm_set_self_attr, lsm_list_modules. The one security module is that of capabilities, which has no
//! attributes.

use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::user::{UserAddr, UserPtr};
use alloc::vec;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(459, "lsm_get_self_attr", 4, lsm_get_self_attr, Restart::Never, Support::Full),
    row!(460, "lsm_set_self_attr", 4, lsm_set_self_attr, Restart::Never, Support::Full),
    row!(461, "lsm_list_modules", 3, lsm_list_modules, Restart::Never, Support::Full),
];

/// `LSM_ID_CAPABILITY`.
const CAPABILITY: u64 = 100;
/// Bytes of `struct lsm_ctx` without its value: id, flags, length in all, length of the value.
const HEAD: usize = 32;

fn lsm_get_self_attr(
    cx: &mut Cx<'_>,
    attribute: u32,
    context: UserPtr<u64>,
    size: UserPtr<u32>,
    flags: u32,
) -> SysResult {
    const SINGLE: u32 = 1;
    if attribute == 0 || size.is_null() {
        return Err(Errno::EINVAL.into());
    }
    cx.user().read(size)?;
    if flags != 0 {
        if flags != SINGLE || context.is_null() {
            return Err(Errno::EINVAL.into());
        }
        let mut head = [0; HEAD];
        cx.user().read_bytes(context.addr(), &mut head)?;
        if head.starts_with(&[0; 8]) {
            return Err(Errno::EINVAL.into());
        }
    }
    cx.user().write(size, &0)?;
    Err(Errno::EOPNOTSUPP.into())
}

fn lsm_set_self_attr(
    cx: &mut Cx<'_>,
    _attribute: u32,
    context: UserAddr,
    size: u32,
    flags: u32,
) -> SysResult {
    let size = usize::try_from(size).map_err(|_| Errno::E2BIG)?;
    if flags != 0 || size < HEAD {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut value = vec![0; size];
    cx.user().read_bytes(context, &mut value)?;
    let word = |at: usize| value.as_chunks::<8>().0.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (len, value_len) = (word(2), word(3));
    let needed = value_len.checked_add(HEAD as u64).ok_or(Errno::EINVAL)?;
    if (size as u64) < len || len < needed {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::EOPNOTSUPP.into())
}

fn lsm_list_modules(cx: &mut Cx<'_>, ids: UserPtr<u64>, size: UserPtr<u32>, flags: u32) -> SysResult {
    const SIZE: u32 = 8;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let room = cx.user().read(size)?;
    cx.user().write(size, &SIZE)?;
    if room < SIZE {
        return Err(Errno::E2BIG.into());
    }
    cx.user().write(ids, &CAPABILITY)?;
    Ok(1)
}
