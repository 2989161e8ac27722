//! Looking names up.

use super::attributes::attr_of;
use super::name::Name;
use super::nodes::open_path;
use super::request::{Reply, Request};
use super::shares::Share;
use super::{Answer, FileServer};
use chitin_proto::fuse::{EntryOut, ROOT_ID};
use rustix::fs::Stat;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;

impl FileServer {
    pub(super) fn lookup(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let name = request.name()?;
        let entry = match self.find(request.header.node, &name) {
            Err(Errno::NOENT) if request.header.node != ROOT_ID => {
                // "No such entry" may be cached as long as an entry.
                let entry_valid = self.nodes.get(request.header.node)?.share.valid_seconds();
                EntryOut { entry_valid, ..EntryOut::default() }
            }
            other => other?,
        };
        reply.put(&entry).inspect_err(|_| self.nodes.forget(entry.node, 1))
    }

    /// Finds `name` in directory `parent` and counts a reference to it.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ESTALE`, and what openat(2) says.
    pub(super) fn find(&mut self, parent: u64, name: &Name) -> Result<EntryOut, Errno> {
        if parent == ROOT_ID {
            let share = self.shares.get(name).ok_or(Errno::NOENT)?;
            return self.enter_share(&share);
        }
        let share = Arc::clone(&self.nodes.get(parent)?.share);
        let fd = open_path(self.nodes.fd(parent)?, name)?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(self.enter(&share, Some((parent, name.clone())), fd, &stat))
    }

    /// Counts a reference to the root of `share`.
    ///
    /// # Errors
    /// That of duplicating its descriptor.
    pub(super) fn enter_share(&mut self, share: &Arc<Share>) -> Result<EntryOut, Errno> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&share.root, 0)?;
        let stat = rustix::fs::fstat(&fd)?;
        let entry = self.enter(share, None, fd, &stat);
        // The name may mean another tree tomorrow.
        Ok(EntryOut { entry_valid: 0, ..entry })
    }

    /// Counts a reference to what `fd` is open on.
    pub(super) fn enter(
        &mut self,
        share: &Arc<Share>,
        origin: Option<(u64, Name)>,
        fd: OwnedFd,
        stat: &Stat,
    ) -> EntryOut {
        let valid = share.valid_seconds();
        let node = self.nodes.enter(share, origin, fd, stat);
        EntryOut {
            node,
            generation: 0,
            entry_valid: valid,
            attr_valid: valid,
            entry_valid_nsec: 0,
            attr_valid_nsec: 0,
            attr: attr_of(stat),
        }
    }
}
