//! cachestat: how much of a file is in the page cache.

use super::place::{Scope, Target};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult, descriptor};
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::block::Opened;
use crate::fs::permission::{self, Want};
use crate::fs::{NodeKind, OpenFile};
use crate::user::UserPtr;
use alloc::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The family's rows.
pub const ROWS: &[Row] = &[row!(
    451,
    "cachestat",
    4,
    cachestat,
    Restart::Never,
    Support::Partial("evicted pages are forgotten: nr_evicted and nr_recently_evicted are 0")
)];

/// `struct cachestat_range`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Range {
    offset: u64,
    len: u64,
}

/// `struct cachestat`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Counts {
    cached: u64,
    dirty: u64,
    writing: u64,
    evicted: u64,
    recently_evicted: u64,
}

fn mapping_of(file: &Arc<OpenFile>) -> Option<Arc<Mapping>> {
    match &file.node()?.kind {
        NodeKind::File(node) => node.mapping(),
        NodeKind::BlockDevice(_) => Some(Opened::of(file)?.disk().mapping().clone()),
        _ => None,
    }
}

/// Whether the caller may know: it opened the file for writing, owns it, or may write it.
fn may_know(cx: &Cx<'_>, file: &Arc<OpenFile>) -> Result<bool, Errno> {
    if file.is_writable() {
        return Ok(true);
    }
    let scope = Scope::new(cx);
    let fs = scope.cx(cx);
    let attr = Target::of(file.clone()).attr(&fs)?;
    Ok(permission::check_owner(&fs, &attr).is_ok() || permission::check(fs.creds, &attr, Want::WRITE).is_ok())
}

fn cachestat(cx: &mut Cx<'_>, fd: Fd, range: UserPtr<Range>, to: UserPtr<Counts>, flags: u32) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    let range = cx.user().read(range)?;
    if !may_know(cx, &file)? {
        return Err(Errno::EPERM.into());
    }
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let first = range.offset >> 12;
    let last = match range.len {
        0 => u64::MAX >> 12,
        len => range.offset.wrapping_add(len).wrapping_sub(1) >> 12,
    };
    let (cached, dirty) = match mapping_of(&file) {
        Some(mapping) if first <= last => mapping.count_states(first, last),
        _ => (0, 0),
    };
    cx.user().write(to, &Counts { cached, dirty, ..Counts::default() })?;
    Ok(0)
}
