//! Memory policy: get_mempolicy, set_mempolicy, set_mempolicy_home_node, mbind, migrate_pages, move_pages. The machine has one node, number 0.

use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::mm::{Advice, AreaFlags, Mm, PageState};
use crate::security::Capability;
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use bitflags::bitflags;
use core::sync::atomic::Ordering;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(237, "mbind", 6, mbind, Restart::Never, Support::Partial(ONE_NODE)),
    row!(238, "set_mempolicy", 3, set_mempolicy, Restart::Never, Support::Partial(ONE_NODE)),
    row!(239, "get_mempolicy", 5, get_mempolicy, Restart::Never, Support::Full),
    row!(279, "move_pages", 6, move_pages, Restart::Never, Support::Partial("one node: nothing moves")),
    row!(450, "set_mempolicy_home_node", 4, set_home_node, Restart::Never, Support::Partial(ONE_NODE)),
    row!(256, "migrate_pages", 4, migrate_pages, Restart::Never, Support::Partial("one node: nothing moves")),
];

const ONE_NODE: &str = "policies are kept and told; there is one node, so they change nothing";

bitflags! {
    /// A policy, as a task and an area keep it: mode, flags and whether node 0 is named; 0 is the default policy.
    #[derive(Clone, Copy, PartialEq, Eq)]
    struct Policy: u32 {
        const MODE = 7;
        /// `MPOL_F_NUMA_BALANCING`, `MPOL_F_RELATIVE_NODES`, `MPOL_F_STATIC_NODES`.
        const BALANCING = 8;
        const RELATIVE = 0x10;
        const STATIC = 0x20;
        const HAS_NODE = 0x40;
    }
}

/// `MPOL_DEFAULT` to `MPOL_PREFERRED_MANY`.
const MODES: u32 = 6;
const DEFAULT: u32 = 0;
const PREFERRED: u32 = 1;
const BIND: u32 = 2;
const INTERLEAVE: u32 = 3;
const LOCAL: u32 = 4;
/// Where the flags of a mode begin, for programs and in a [`Policy`].
const FLAGS_SHIFT: u32 = 13;
const KEPT_SHIFT: u32 = 3;
const MODE_FLAGS: u32 = 7 << FLAGS_SHIFT;
/// Where a policy is in [`AreaFlags::POLICY`].
const AREA_SHIFT: u32 = 16;
/// `MPOL_F_NODE`, `MPOL_F_ADDR`, `MPOL_F_MEMS_ALLOWED`.
const NODE: u32 = 1;
const ADDR: u32 = 2;
const MEMS_ALLOWED: u32 = 4;
/// Most bits of a node mask (Linux: a page of them), and nodes that there could be (Debian's `CONFIG_NODES_SHIFT`).
const MAX_BITS: u64 = 4096 * 8;
const MAX_NODES: u64 = 1024;

impl Policy {
    fn mode(self) -> u32 {
        (self & Self::MODE).bits()
    }

    /// As programs are told: mode and its flags.
    fn told(self) -> i32 {
        let flags = (self & (Self::BALANCING | Self::RELATIVE | Self::STATIC)).bits();
        i32::try_from(self.mode() | flags >> KEPT_SHIFT << FLAGS_SHIFT).unwrap_or(0)
    }
}

/// Nodes of a mask: whether 0 is among them, and whether any is.
struct Nodes {
    has_first: bool,
    has_any: bool,
}

fn read_nodes(cx: &Cx<'_>, nodes: UserPtr<u64>, bits: u64) -> Result<Nodes, Errno> {
    // Linux counts one bit less than it is told.
    let bits = bits.wrapping_sub(1);
    let mut found = Nodes { has_first: false, has_any: false };
    if bits == 0 || nodes.is_null() {
        return Ok(found);
    }
    if bits > MAX_BITS {
        return Err(Errno::EINVAL);
    }
    for word in 0..bits.div_ceil(64) {
        let place = nodes.element(usize::try_from(word).map_err(|_| Errno::EINVAL)?)?;
        let left = bits - word * 64;
        let mask = if left < 64 { (1 << left) - 1 } else { u64::MAX };
        let value = cx.user().read(place)? & mask;
        if value != 0 && word * 64 >= MAX_NODES {
            return Err(Errno::EINVAL);
        }
        found.has_first |= word == 0 && value & 1 != 0;
        found.has_any |= value != 0;
    }
    Ok(found)
}

/// The policy that a program asks for.
fn policy(cx: &Cx<'_>, mode: u32, nodes: UserPtr<u64>, bits: u64) -> Result<Policy, Errno> {
    let (plain, flags) = (mode & !MODE_FLAGS, mode & MODE_FLAGS);
    let kept = Policy::from_bits_truncate(flags >> FLAGS_SHIFT << KEPT_SHIFT);
    if plain >= MODES
        || kept.contains(Policy::RELATIVE | Policy::STATIC)
        || (kept.contains(Policy::BALANCING) && plain != BIND)
    {
        return Err(Errno::EINVAL);
    }
    let nodes = read_nodes(cx, nodes, bits)?;
    let is_placed = kept.intersects(Policy::RELATIVE | Policy::STATIC);
    let with = |mode| Policy::from_bits_truncate(mode) | kept;
    match plain {
        DEFAULT | LOCAL if nodes.has_any => Err(Errno::EINVAL),
        DEFAULT => Ok(Policy::empty()),
        LOCAL | PREFERRED if !nodes.has_any && is_placed => Err(Errno::EINVAL),
        LOCAL => Ok(with(LOCAL)),
        PREFERRED if !nodes.has_any => Ok(with(LOCAL)),
        // Relative nodes are folded onto those that there are.
        _ if nodes.has_first || (nodes.has_any && kept.contains(Policy::RELATIVE)) => {
            Ok(with(plain) | Policy::HAS_NODE)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn set_mempolicy(cx: &mut Cx<'_>, mode: u32, nodes: UserPtr<u64>, bits: u64) -> SysResult {
    let policy = policy(cx, mode, nodes, bits)?;
    cx.task.memory_policy.store(policy.bits(), Ordering::Relaxed);
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
    const MOVE_ALL: u32 = 4;
    let policy = policy(cx, mode, nodes, bits)?;
    if flags & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MOVE_ALL != 0 && !cx.task.creds().has(Capability::SysNice) {
        return Err(Errno::EPERM.into());
    }
    let set = AreaFlags::from_bits_truncate(policy.bits() << AREA_SHIFT);
    let advice = Advice::Flags { set, clear: AreaFlags::POLICY };
    cx.mm.advise(cx.sleeper, addr, len, advice).map_err(|errno| match errno {
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
    // Linux: less room than there are nodes is refused.
    if (!nodes.is_null() && bits == 0) || flags & !(NODE | ADDR | MEMS_ALLOWED) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MEMS_ALLOWED != 0 {
        if flags & (NODE | ADDR) != 0 {
            return Err(Errno::EINVAL.into());
        }
        cx.user().write_if(mode, &0)?;
        return write_nodes(cx, nodes, bits, true);
    }
    let policy = if flags & ADDR != 0 {
        let area = cx.mm.flags_at(addr).ok_or(Errno::EFAULT)?;
        Policy::from_bits_truncate((area & AreaFlags::POLICY).bits() >> AREA_SHIFT)
    } else if addr.is_null() {
        Policy::from_bits_truncate(cx.task.memory_policy.load(Ordering::Relaxed))
    } else {
        return Err(Errno::EINVAL.into());
    };
    let told = match flags & (NODE | ADDR) {
        // The node of the page, and the next one of an interleaving policy.
        both if both == NODE | ADDR => 0,
        NODE if policy.mode() == INTERLEAVE => 0,
        NODE => return Err(Errno::EINVAL.into()),
        _ => policy.told(),
    };
    cx.user().write_if(mode, &told)?;
    write_nodes(cx, nodes, bits, policy.contains(Policy::HAS_NODE))
}

/// Writes a mask of `bits` bits, of which the first may be set.
fn write_nodes(cx: &Cx<'_>, nodes: UserPtr<u64>, bits: u64, has_first: bool) -> SysResult {
    if nodes.is_null() {
        return Ok(0);
    }
    let words = bits.saturating_sub(1).div_ceil(64);
    if words > MAX_BITS / 64 {
        return Err(Errno::EINVAL.into());
    }
    for word in 0..words {
        let place = nodes.element(usize::try_from(word).map_err(|_| Errno::EINVAL)?)?;
        cx.user().write(place, &u64::from(word == 0 && has_first))?;
    }
    Ok(0)
}

fn migrate_pages(cx: &mut Cx<'_>, pid: u32, bits: u64, from: UserPtr<u64>, to: UserPtr<u64>) -> SysResult {
    if pid != 0 && cx.task.find_process(pid).is_none() {
        return Err(Errno::ESRCH.into());
    }
    read_nodes(cx, from, bits)?;
    read_nodes(cx, to, bits)?;
    Ok(0)
}

/// The node that pages of a range come from first. There is one, and areas of other policies than `MPOL_BIND` and
/// `MPOL_PREFERRED_MANY` take none.
fn set_home_node(cx: &mut Cx<'_>, addr: UserAddr, len: u64, node: u64, flags: u64) -> SysResult {
    const PREFERRED_MANY: u32 = 5;
    if !addr.is_page_aligned() || flags != 0 || node != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = len.wrapping_add(4095) & !0xfff;
    let end = addr.get().checked_add(len).ok_or(Errno::EINVAL)?;
    if len == 0 {
        return Ok(0);
    }
    let mut result = Err(Errno::ENOENT.into());
    for flags in cx.mm.flags_in(addr.get(), end) {
        let policy = Policy::from_bits_truncate((flags & AreaFlags::POLICY).bits() >> AREA_SHIFT);
        match policy.mode() {
            _ if policy.is_empty() => {}
            BIND | PREFERRED_MANY => result = Ok(0),
            _ => return Err(Errno::EOPNOTSUPP.into()),
        }
    }
    result
}

/// The address space whose pages are to be moved or looked at.
fn space_of(cx: &Cx<'_>, pid: u32) -> Result<Arc<Mm>, Errno> {
    if pid == 0 {
        return Ok(cx.mm.clone());
    }
    let Some(task) = cx.task.find_task(pid) else {
        // It has ended, and its memory is gone already.
        return Err(if cx.task.find_process(pid).is_some() { Errno::EINVAL } else { Errno::ESRCH });
    };
    if !super::remote::may_access(cx, &task) {
        return Err(Errno::EPERM);
    }
    task.mm().ok_or(Errno::EINVAL)
}

/// Tells where pages are, or moves them: every page is where it is to be.
fn move_pages(
    cx: &mut Cx<'_>,
    pid: u32,
    count: u64,
    pages: UserPtr<u64>,
    nodes: UserPtr<i32>,
    status: UserPtr<i32>,
    flags: u32,
) -> SysResult {
    const MOVE: u32 = 2;
    const MOVE_ALL: u32 = 4;
    if flags & !(MOVE | MOVE_ALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MOVE_ALL != 0 && !cx.task.creds().has(Capability::SysNice) {
        return Err(Errno::EPERM.into());
    }
    let mm = space_of(cx, pid)?;
    for index in 0..count {
        let at = usize::try_from(index).map_err(|_| Errno::EFAULT)?;
        let page = UserAddr::new(cx.user().read(pages.element(at)?)?);
        if let Some(nodes) = nodes.non_null() {
            let node = cx.user().read(nodes.element(at)?)?;
            if node != 0 {
                return Err(Errno::ENODEV.into());
            }
        }
        let found = match mm.page_state(page) {
            PageState::Present => 0,
            PageState::Absent => -Errno::ENOENT.number(),
            PageState::NotMapped | PageState::Zero => -Errno::EFAULT.number(),
        };
        cx.user().write(status.element(at)?, &found)?;
        if index % 1024 == 1023 {
            cx.sleeper.resched_point();
            if cx.task.process().state().is_ending() {
                return Err(Errno::EINTR.into());
            }
        }
    }
    Ok(0)
}
