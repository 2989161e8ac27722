//! Signals when something happens in a directory (fcntl(2), `F_NOTIFY`).

use super::event::Mask;
use super::{WATCHES, Watched, instance::WATCHES_MAX};
use crate::abi::Errno;
use crate::fs::async_io::Ready;
use crate::fs::{Node, OpenFile};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bitflags::bitflags;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

bitflags! {
    /// `DN_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Interest: u32 {
        /// A file was read.
        const ACCESS = 0x1;
        /// A file was written.
        const MODIFY = 0x2;
        /// A file was made or moved here.
        const CREATE = 0x4;
        /// A file was removed or moved away.
        const DELETE = 0x8;
        /// A file got another name here.
        const RENAME = 0x10;
        /// Attributes of a file changed.
        const ATTRIB = 0x20;
        /// Not only once.
        const MULTISHOT = 0x8000_0000;
    }
}

impl Interest {
    /// What an event of inotify(7) is to whoever asked for signals.
    const fn of(event: Mask) -> Self {
        let mut interest = Self::empty();
        if event.intersects(Mask::ACCESS) {
            interest = interest.union(Self::ACCESS);
        }
        if event.intersects(Mask::MODIFY) {
            interest = interest.union(Self::MODIFY);
        }
        if event.intersects(Mask::CREATE.union(Mask::MOVED_TO)) {
            interest = interest.union(Self::CREATE);
        }
        if event.intersects(Mask::DELETE.union(Mask::MOVED_FROM)) {
            interest = interest.union(Self::DELETE);
        }
        if event.intersects(Mask::ATTRIB) {
            interest = interest.union(Self::ATTRIB);
        }
        interest
    }
}

/// A wish for signals, by one description and the descriptor table that it was made with.
pub struct Bell {
    file: Weak<OpenFile>,
    table: usize,
    fd: AtomicI32,
    interest: AtomicU32,
}

impl Bell {
    fn interest(&self) -> Interest {
        Interest::from_bits_retain(self.interest.load(Ordering::Relaxed))
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        WATCHES.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Asks for signals by a descriptor of a directory, or adds to what was asked for.
///
/// # Errors
/// `ENOTDIR`, `ENOSPC` with too many.
pub fn ask(file: &Arc<OpenFile>, table: usize, fd: i32, interest: Interest) -> Result<(), Errno> {
    let node = file.node().filter(|node| node.is_dir()).ok_or(Errno::ENOTDIR)?;
    if WATCHES.fetch_add(1, Ordering::SeqCst) >= WATCHES_MAX {
        WATCHES.fetch_sub(1, Ordering::SeqCst);
        return Err(Errno::ENOSPC);
    }
    // Made before the lock is taken: it may turn out to be there already.
    let new = Arc::new(Bell {
        file: Arc::downgrade(file),
        table,
        fd: AtomicI32::new(fd),
        interest: AtomicU32::new(interest.bits()),
    });
    file.set_rings();
    let mut lists = node.state.watched.0.lock();
    let same = |bell: &&Arc<Bell>| bell.table == table && Weak::ptr_eq(&bell.file, &new.file);
    if let Some(there) = lists.bells.iter().find(same) {
        there.fd.store(fd, Ordering::Relaxed);
        there.interest.fetch_or(interest.bits(), Ordering::Relaxed);
    } else {
        lists.bells.push(new.clone());
    }
    drop(lists);
    drop(new);
    Ok(())
}

/// Ends the wishes of a description: those made with one descriptor table, or all.
pub fn end(file: &OpenFile, table: Option<usize>) {
    let Some(node) = file.node() else { return };
    let ends = |bell: &Arc<Bell>| {
        core::ptr::eq(bell.file.as_ptr(), file) && table.is_none_or(|table| bell.table == table)
    };
    node.state.watched.take_bells(ends);
}

impl Watched {
    fn take_bells(&self, mut takes: impl FnMut(&Arc<Bell>) -> bool) -> Vec<Arc<Bell>> {
        let mut lists = self.0.lock();
        if lists.bells.is_empty() {
            return Vec::new();
        }
        let bells = core::mem::take(&mut lists.bells);
        let (taken, kept) = bells.into_iter().partition(&mut takes);
        lists.bells = kept;
        drop(lists);
        taken
    }
}

/// Something happened to a directory or an entry of it.
pub(super) fn ring(dir: &Node, event: Mask) {
    ring_for(dir, Interest::of(event));
}

/// An entry got another name in its directory.
pub(super) fn renamed(dir: &Node) {
    ring_for(dir, Interest::RENAME);
}

fn ring_for(dir: &Node, what: Interest) {
    let mut ringing = Vec::new();
    let once = dir.state.watched.take_bells(|bell| {
        let rings = bell.interest().intersects(what);
        if rings {
            ringing.push(bell.clone());
        }
        rings && !bell.interest().contains(Interest::MULTISHOT)
    });
    drop(once);
    for bell in ringing {
        if let Some(file) = bell.file.upgrade() {
            /// `POLL_MSG`.
            const CODE: i32 = 3;
            let (send, signal) = file.async_io.sender();
            if let Some(send) = send {
                let fd = bell.fd.load(Ordering::Relaxed);
                send(Ready { signal, code: CODE, band: 0x441, fd });
            }
        }
    }
}
