//! Shared memory segments (shmget(2), shmat(2), shmctl(2)).
//!
//! The pages of a segment are those of a file without a name. Areas that map it hold its open file, so that as many areas
//! are attached as there are handles of that file beside the segment's own. A removed segment keeps no handle: it is gone
//! with the last area.

use super::ids::{Found, Get, Ids};
use super::perm::{Perm, PermRecord};
use super::{OBJECT_LEVEL, PRIVATE, TABLE_LEVEL, now};
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::{FileBody, FsCx, NodeKind, OpenFile, SetAttr, memfd};
use crate::ipc::IpcNamespace;
use crate::security::Creds;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::SpinLock;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Mode flag: the segment goes with its last attachment.
const DESTROY: u32 = 0o1000;
/// Mode flag: its pages are locked in memory.
const LOCKED: u32 = 0o2000;
/// Default of `/proc/sys/kernel/shmmax` and `shmall`.
const HUGE: u64 = u64::MAX - (1 << 24);

/// `struct shmid64_ds`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of shmctl(2)")]
pub struct SegmentRecord {
    pub perm: PermRecord,
    pub size: u64,
    pub atime: i64,
    pub dtime: i64,
    pub ctime: i64,
    pub cpid: u32,
    pub lpid: u32,
    pub attached: u64,
    pub unused: [u64; 2],
}

/// `struct shm_info`.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fields of shmctl(2)")]
pub struct Totals {
    pub ids: u64,
    pub pages: u64,
    pub resident: u64,
    pub swapped: u64,
    pub swap_attempts: u64,
    pub swap_successes: u64,
}

/// The pages of a segment.
enum Pages {
    /// It stays until it is removed.
    Kept(Arc<OpenFile>),
    /// It was removed: attachments keep the pages.
    Doomed(Weak<OpenFile>),
}

impl Pages {
    fn file(&self) -> Option<Arc<OpenFile>> {
        match self {
            Self::Kept(file) => Some(file.clone()),
            Self::Doomed(file) => file.upgrade(),
        }
    }

    /// Areas that map it.
    fn attached(&self) -> usize {
        match self {
            Self::Kept(file) => Arc::strong_count(file).saturating_sub(1),
            Self::Doomed(file) => file.strong_count(),
        }
    }
}

struct State {
    perm: Perm,
    pages: Pages,
    atime: i64,
    dtime: i64,
    ctime: i64,
    lpid: u32,
}

/// A segment.
pub struct Segment {
    size: u64,
    cpid: u32,
    state: SpinLock<State>,
}

/// Marks the open file of a segment.
pub struct Mark;

impl Segment {
    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The file to map, for a caller that may do what `wanted` asks for.
    ///
    /// # Errors
    /// `EACCES`, `EINVAL` when it is gone.
    pub fn file(&self, creds: &Creds, wanted: u32) -> Result<Arc<OpenFile>, Errno> {
        let state = self.state.lock();
        state.perm.check(creds, wanted)?;
        state.pages.file().ok_or(Errno::EINVAL)
    }

    /// `pid` has attached it.
    pub fn attached(&self, pid: u32) {
        let mut state = self.state.lock();
        state.atime = now();
        state.lpid = pid;
    }

    fn is_gone(&self) -> bool {
        let state = self.state.lock();
        matches!(state.pages, Pages::Doomed(_)) && state.pages.attached() == 0
    }

    fn pages(&self) -> u64 {
        self.size.div_ceil(4096)
    }

    fn resident(&self) -> u64 {
        let file = self.state.lock().pages.file();
        file.and_then(|file| mapping(&file)).map_or(0, |mapping| mapping.resident() as u64)
    }

    fn record(&self, key: i32, seq: u16) -> SegmentRecord {
        let state = self.state.lock();
        SegmentRecord {
            perm: state.perm.record(key, seq),
            size: self.size,
            atime: state.atime,
            dtime: state.dtime,
            ctime: state.ctime,
            cpid: self.cpid,
            lpid: state.lpid,
            attached: state.pages.attached() as u64,
            unused: [0; 2],
        }
    }

    /// Locks its pages in memory, or lets them go: nothing is ever swapped, so this only shows.
    ///
    /// # Errors
    /// `EPERM` when `creds` may not and have no privilege for it.
    pub fn set_locked(&self, creds: &Creds, locked: Locking, allowed: bool) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let owns = creds.euid == state.perm.uid || creds.euid == state.perm.cuid;
        if !creds.has(crate::security::Capability::IpcLock) && (!owns || !allowed) {
            return Err(Errno::EPERM);
        }
        match locked {
            Locking::On => state.perm.mode |= LOCKED,
            Locking::Off => state.perm.mode &= !LOCKED,
        }
        Ok(())
    }
}

/// `SHM_LOCK` or `SHM_UNLOCK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// `SHM_LOCK`
    On,
    /// `SHM_UNLOCK`
    Off,
}

/// The cached pages of a segment's file.
#[must_use]
pub fn mapping(file: &OpenFile) -> Option<Arc<Mapping>> {
    match file.node().map(|node| &node.kind) {
        Some(NodeKind::File(ops)) => ops.mapping(),
        _ => None,
    }
}

/// Whether an open file is that of a segment.
#[must_use]
pub fn is_segment(file: &OpenFile) -> bool {
    file.state::<Mark>().is_some()
}

/// The segments of a namespace.
pub struct Segments {
    ids: SpinLock<Ids<Segment>>,
    /// `/proc/sys/kernel/shmmax`, bytes.
    pub max_size: AtomicU64,
    /// `/proc/sys/kernel/shmall`, pages.
    pub max_pages: AtomicU64,
    /// `/proc/sys/kernel/shmmni`.
    pub max_ids: AtomicU64,
}

impl Segments {
    pub(in crate::ipc) fn new() -> Self {
        Self {
            ids: SpinLock::new(TABLE_LEVEL, Ids::new()),
            max_size: AtomicU64::new(HUGE),
            max_pages: AtomicU64::new(HUGE),
            max_ids: AtomicU64::new(4096),
        }
    }

    /// Forgets removed segments that nobody has attached any more. What is dropped is returned, to be dropped unlocked.
    fn purge(ids: &mut Ids<Segment>) -> Vec<Arc<Segment>> {
        let gone = ids.all().into_iter().filter(|found| found.object.is_gone());
        gone.filter_map(|found| ids.remove(found.id)).collect()
    }

    /// Finds a segment by its id.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(&self, id: i32) -> Result<Found<Segment>, Errno> {
        let found = self.ids.lock().find(id)?;
        if found.object.is_gone() { Err(Errno::EINVAL) } else { Ok(found) }
    }

    /// Finds or makes a segment (shmget(2)).
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `EINVAL` for a size that cannot be, `EACCES`, `ENOSPC` at a limit, `ENOMEM`.
    pub fn get(
        &self,
        namespace: &IpcNamespace,
        cx: &FsCx<'_>,
        key: i32,
        size: u64,
        flags: u32,
    ) -> Result<i32, Errno> {
        let there = |get: Get<Segment>| match get {
            Get::Make => Ok(None),
            Get::There(found) => {
                if found.object.size < size {
                    return Err(Errno::EINVAL);
                }
                found.object.state.lock().perm.check(cx.creds, flags)?;
                Ok(Some(found.id))
            }
        };
        let found = self.ids.lock().get(key, flags)?;
        if let Some(id) = there(found)? {
            return Ok(id);
        }
        if size < 1 || size > self.max_size.load(Ordering::Relaxed) {
            return Err(Errno::EINVAL);
        }
        let pages = size.div_ceil(4096);
        let segment = Arc::new(Self::make(namespace, cx, key, size, flags)?);
        let (result, gone) = {
            let mut ids = self.ids.lock();
            let gone = Self::purge(&mut ids);
            let total = ids.all().iter().fold(0u64, |sum, found| sum.saturating_add(found.object.pages()));
            let fits =
                total.checked_add(pages).is_some_and(|all| all <= self.max_pages.load(Ordering::Relaxed));
            let limit = usize::try_from(self.max_ids.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
            // Another task may have made one for the key in the meantime.
            let result = match ids.get(key, flags) {
                Err(errno) => Err(errno),
                Ok(get @ Get::There(_)) => there(get).map(|id| id.unwrap_or(0)),
                Ok(Get::Make) if !fits => Err(Errno::ENOSPC),
                Ok(Get::Make) => ids.add(key, segment.clone(), limit),
            };
            (result, gone)
        };
        drop(gone);
        result
    }

    fn make(
        namespace: &IpcNamespace,
        cx: &FsCx<'_>,
        key: i32,
        size: u64,
        flags: u32,
    ) -> Result<Segment, Errno> {
        let name = format!("SYSV{key:08x}");
        let unnamed = memfd::create_named(cx, &namespace.budget, name.as_bytes(), 0o777)?;
        let node = unnamed.node().ok_or(Errno::ENOMEM)?.clone();
        let path = unnamed.path().ok_or(Errno::ENOMEM)?.clone();
        // Sizes beyond what a file can have cannot be attached anyway.
        let bytes = size.checked_next_multiple_of(4096).filter(|bytes| i64::try_from(*bytes).is_ok());
        node.ops.set_attr(cx, &SetAttr { size: Some(bytes.ok_or(Errno::ENOMEM)?), ..SetAttr::default() })?;
        let body = FileBody::Node(node, Some(alloc::boxed::Box::new(Mark)));
        let file = OpenFile::at(body, unnamed.flags(), path);
        let state = State {
            perm: Perm::new(cx.creds, flags),
            pages: Pages::Kept(file),
            atime: 0,
            dtime: 0,
            ctime: now(),
            lpid: 0,
        };
        Ok(Segment { size, cpid: cx.caller.pid, state: SpinLock::new(OBJECT_LEVEL, state) })
    }

    /// `pid` has detached the segment behind `file`.
    pub fn detached(&self, file: &Arc<OpenFile>, pid: u32) {
        let all = self.ids.lock().all();
        for found in all {
            let mut state = found.object.state.lock();
            let same = match &state.pages {
                Pages::Kept(own) => Arc::ptr_eq(own, file),
                Pages::Doomed(own) => core::ptr::eq(own.as_ptr(), Arc::as_ptr(file)),
            };
            if same {
                state.dtime = now();
                state.lpid = pid;
                return;
            }
        }
    }

    /// Removes a segment, or lets its last attachment take it along (`IPC_RMID`).
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn remove(&self, creds: &Creds, id: i32) -> Result<(), Errno> {
        let found = self.find(id)?;
        let file = {
            let mut ids = self.ids.lock();
            let mut state = found.object.state.lock();
            state.perm.check_owner(creds)?;
            let weak = match &state.pages {
                Pages::Kept(file) => Arc::downgrade(file),
                Pages::Doomed(file) => file.clone(),
            };
            let file = core::mem::replace(&mut state.pages, Pages::Doomed(weak));
            state.perm.mode |= DESTROY;
            ids.forget_key(id);
            file
        };
        // Unlocked: this may free the pages.
        drop(file);
        let gone = Self::purge(&mut self.ids.lock());
        drop(gone);
        Ok(())
    }

    /// Changes owner and permission (`IPC_SET`).
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&self, creds: &Creds, id: i32, record: &PermRecord) -> Result<(), Errno> {
        let found = self.find(id)?;
        let mut state = found.object.state.lock();
        state.perm.check_owner(creds)?;
        state.perm.update(record)?;
        state.ctime = now();
        Ok(())
    }

    /// What is told of a segment (`IPC_STAT`).
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn stat(&self, found: &Found<Segment>, creds: Option<&Creds>) -> Result<SegmentRecord, Errno> {
        if let Some(creds) = creds {
            found.object.state.lock().perm.check(creds, super::perm::READ)?;
        }
        Ok(found.object.record(found.key, found.seq))
    }

    /// The segment at an index (`SHM_STAT`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn at(&self, index: i32) -> Result<Found<Segment>, Errno> {
        let found = self.ids.lock().at(index)?;
        if found.object.is_gone() { Err(Errno::EINVAL) } else { Ok(found) }
    }

    /// The highest index in use.
    #[must_use]
    pub fn highest(&self) -> usize {
        let (highest, gone) = {
            let mut ids = self.ids.lock();
            let gone = Self::purge(&mut ids);
            (ids.highest(), gone)
        };
        drop(gone);
        highest
    }

    fn all(&self) -> Vec<Found<Segment>> {
        let all = self.ids.lock().all();
        all.into_iter().filter(|found| !found.object.is_gone()).collect()
    }

    /// Sums over all segments (`SHM_INFO`).
    #[must_use]
    pub fn totals(&self) -> Totals {
        let all = self.all();
        let sum =
            |f: fn(&Segment) -> u64| all.iter().fold(0u64, |sum, found| sum.saturating_add(f(&found.object)));
        Totals {
            ids: all.len() as u64,
            pages: sum(Segment::pages),
            resident: sum(Segment::resident),
            ..Totals::default()
        }
    }

    /// `/proc/sysvipc/shm`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::from(
            "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      \
             atime      dtime      ctime                   rss                  swap\n",
        );
        for found in self.all() {
            let record = found.object.record(found.key, found.seq);
            let perm = record.perm;
            let _ = writeln!(
                out,
                "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
                if found.key == PRIVATE { 0 } else { found.key },
                found.id,
                perm.mode,
                record.size,
                record.cpid,
                record.lpid,
                record.attached,
                perm.uid,
                perm.gid,
                perm.cuid,
                perm.cgid,
                record.atime,
                record.dtime,
                record.ctime,
                found.object.resident() * 4096,
                0
            );
        }
        out
    }
}
