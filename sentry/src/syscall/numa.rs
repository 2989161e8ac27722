//! Memory policy: get_mempolicy, set_mempolicy, mbind, migrate_pages, move_pages. The machine has one node, number 0.

use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::user::{UserAddr, UserPtr};

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(
        237,
        "mbind",
        6,
        mbind,
        Restart::Never,
        Support::Partial("one node: policies are checked, not kept")
    ),
    row!(238, "set_mempolicy", 3, set_mempolicy, Restart::Never, Support::Partial("one node: not kept")),
    row!(
        239,
        "get_mempolicy",
        5,
        get_mempolicy,
        Restart::Never,
        Support::Partial("one node: always the default")
    ),
    row!(256, "migrate_pages", 4, migrate_pages, Restart::Never, Support::Partial("one node: nothing moves")),
];

/// `MPOL_DEFAULT` to `MPOL_WEIGHTED_INTERLEAVE`.
const MODES: u32 = 7;
/// `MPOL_F_STATIC_NODES`, `MPOL_F_RELATIVE_NODES`, `MPOL_F_NUMA_BALANCING`.
const MODE_FLAGS: u32 = 0xe000;
/// `MPOL_F_NODE`, `MPOL_F_ADDR`, `MPOL_F_MEMS_ALLOWED`.
const NODE: u32 = 1;
const ADDR: u32 = 2;
const MEMS_ALLOWED: u32 = 4;
/// Most bits of a node mask (Linux: a page of them).
const MAX_BITS: u64 = 4096 * 8;

/// Checks mode and nodes of a policy.
fn check(cx: &Cx<'_>, mode: u32, nodes: UserPtr<u64>, bits: u64) -> Result<(), Errno> {
    let plain = mode & !MODE_FLAGS;
    if plain >= MODES {
        return Err(Errno::EINVAL);
    }
    // Linux counts one bit less than it is told.
    let bits = bits.saturating_sub(1);
    if bits > MAX_BITS {
        return Err(Errno::EINVAL);
    }
    let mut named = [0u64; 2];
    if !nodes.is_null() {
        for word in 0..usize::try_from(bits.div_ceil(64)).unwrap_or(0) {
            let mut value = cx.user().read(nodes.element(word)?)?;
            let left = bits - word as u64 * 64;
            if left < 64 {
                value &= (1 << left) - 1;
            }
            let [first, others] = &mut named;
            if word == 0 {
                *first = value;
            } else {
                *others |= value;
            }
        }
    }
    let [first, others] = named;
    if first & !1 != 0 || others != 0 {
        return Err(Errno::EINVAL);
    }
    // Default and local take no nodes, preferred may, the others must.
    let allowed = match plain {
        0 | 4 => first == 0,
        1 => true,
        _ => first != 0,
    };
    if allowed { Ok(()) } else { Err(Errno::EINVAL) }
}

fn set_mempolicy(cx: &mut Cx<'_>, mode: u32, nodes: UserPtr<u64>, bits: u64) -> SysResult {
    check(cx, mode, nodes, bits)?;
    Ok(0)
}

fn mbind(
    cx: &mut Cx<'_>,
    addr: UserAddr,
    len: u64,
    mode: u32,
    nodes: UserPtr<u64>,
    bits: u64,
    flags: u32,
) -> SysResult {
    if flags & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    check(cx, mode, nodes, bits)?;
    cx.mm.advise(cx.sleeper, addr, len, crate::mm::Advice::Nothing).map_err(|errno| match errno {
        Errno::ENOMEM => Errno::EFAULT,
        other => other,
    })?;
    Ok(0)
}

fn get_mempolicy(
    cx: &mut Cx<'_>,
    mode: UserPtr<i32>,
    nodes: UserPtr<u64>,
    bits: u64,
    addr: UserAddr,
    flags: u32,
) -> SysResult {
    let asked = flags & (NODE | ADDR | MEMS_ALLOWED);
    if asked != flags || (flags & MEMS_ALLOWED != 0 && flags != MEMS_ALLOWED) || bits > MAX_BITS {
        return Err(Errno::EINVAL.into());
    }
    if flags & ADDR == 0 && !addr.is_null() {
        return Err(Errno::EINVAL.into());
    }
    if flags & ADDR != 0 && cx.mm.perm_at(addr).is_none() {
        return Err(Errno::EFAULT.into());
    }
    if flags & (NODE | ADDR) == NODE {
        // The next node of an interleaving policy, which there is none of.
        return Err(Errno::EINVAL.into());
    }
    cx.user().write_if(mode, &0)?;
    if !nodes.is_null() {
        if bits == 0 {
            return Err(Errno::EINVAL.into());
        }
        for word in 0..usize::try_from(bits.div_ceil(64)).unwrap_or(0) {
            let value = u64::from(word == 0 && flags & MEMS_ALLOWED != 0);
            cx.user().write(nodes.element(word)?, &value)?;
        }
    }
    Ok(0)
}

fn migrate_pages(cx: &mut Cx<'_>, pid: u32, bits: u64, from: UserPtr<u64>, to: UserPtr<u64>) -> SysResult {
    if pid != 0 && cx.task.container().process(pid).is_none() {
        return Err(Errno::ESRCH.into());
    }
    check(cx, 1, from, bits)?;
    check(cx, 1, to, bits)?;
    Ok(0)
}
