//! Changing directories: create, remove, rename, link.
//!
//! The server runs with the process's own identity; what it makes is given to the caller's user and group afterwards.
//! In a set-group-id directory the group is the directory's, as the host made it.

use super::attributes::check_writable;
use super::handles::Handle;
use super::name::Name;
use super::nodes::open_path;
use super::request::{Reply, Request};
use super::{Answer, FileServer};
use chitin_proto::fuse::{CreateIn, EntryOut, LinkIn, MkdirIn, MknodIn, OpenOut, ROOT_ID, Rename2In};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const SET_ID_BITS: u32 = 0o6000;
const SET_GROUP: u32 = 0o2000;

/// Who owns what is made.
#[derive(Clone, Copy)]
struct Owner {
    uid: Uid,
    gid: Option<Gid>,
}

impl Owner {
    /// The caller, in directory `dir`.
    fn new(request: &Request<'_, '_>, dir: BorrowedFd<'_>) -> Result<Self, Errno> {
        if request.header.uid == u32::MAX || request.header.gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        let inherits = rustix::fs::fstat(dir)?.st_mode & SET_GROUP != 0;
        let gid = (!inherits).then(|| Gid::from_raw(request.header.gid));
        Ok(Self { uid: Uid::from_raw(request.header.uid), gid })
    }
}

impl FileServer {
    /// The descriptor of a directory that is about to be changed.
    fn changeable(&mut self, dir: u64) -> Result<BorrowedFd<'_>, Errno> {
        if dir == ROOT_ID {
            return Err(Errno::ROFS);
        }
        check_writable(&self.nodes.get(dir)?.share)?;
        self.nodes.fd(dir)
    }

    fn put_new(&mut self, dir: u64, name: &Name, reply: &mut Reply<'_, '_>) -> Answer {
        let entry = self.find(dir, name)?;
        reply.put(&entry).inspect_err(|_| self.nodes.forget(entry.node, 1))
    }

    pub(super) fn create(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let CreateIn { flags, mode, .. } = request.argument()?;
        let (dir, name) = (request.header.node, request.name()?);
        let fd = self.changeable(dir)?;
        let owner = Owner::new(request, fd)?;
        let exclusive = OFlags::from_bits_truncate(flags).contains(OFlags::EXCL);
        let share = std::sync::Arc::clone(&self.nodes.get(dir)?.share);
        let flags = Self::open_flags(flags, share.policy);
        let (entry, fd): (EntryOut, OwnedFd) = match make_file(self.nodes.fd(dir)?, &name, flags, mode, owner)
        {
            Ok(fd) => (self.find(dir, &name)?, fd),
            Err(Errno::EXIST) if !exclusive => {
                let entry = self.find(dir, &name)?;
                match self.reopen(entry.node, flags) {
                    Ok(fd) => (entry, fd),
                    Err(errno) => {
                        self.nodes.forget(entry.node, 1);
                        return Err(errno);
                    }
                }
            }
            Err(errno) => return Err(errno),
        };
        let open_flags = Self::cache_flags(share.policy);
        let fh =
            self.handles.insert(Handle { fd: Some(fd), node: entry.node, share: Some(share), position: 0 });
        let out = OpenOut { fh, open_flags, padding: 0 };
        reply.put(&entry).and_then(|()| reply.put(&out)).inspect_err(|_| {
            self.nodes.forget(entry.node, 1);
            let _ = self.handles.remove(fh);
        })
    }

    pub(super) fn mknod(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let MknodIn { mode, .. } = request.argument()?;
        let (dir, name) = (request.header.node, request.name()?);
        if mode & 0o170_000 != 0 && FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Err(Errno::PERM);
        }
        let fd = self.changeable(dir)?;
        let owner = Owner::new(request, fd)?;
        make_file(fd, &name, OFlags::WRONLY, mode, owner)?;
        self.put_new(dir, &name, reply)
    }

    pub(super) fn mkdir(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let MkdirIn { mode, .. } = request.argument()?;
        let (dir, name) = (request.header.node, request.name()?);
        let fd = self.changeable(dir)?;
        let owner = Owner::new(request, fd)?;
        rustix::fs::mkdirat(fd, name.as_c_str(), Mode::from_raw_mode(mode & 0o1777))?;
        let made = open_path(fd, &name)?;
        rustix::fs::chownat(&made, c"", Some(owner.uid), owner.gid, AtFlags::EMPTY_PATH)?;
        self.put_new(dir, &name, reply)
    }

    pub(super) fn symlink(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let (name, target) = request.name_and_text()?;
        let dir = request.header.node;
        let fd = self.changeable(dir)?;
        let owner = Owner::new(request, fd)?;
        rustix::fs::symlinkat(target, fd, name.as_c_str())?;
        rustix::fs::chownat(fd, name.as_c_str(), Some(owner.uid), owner.gid, AtFlags::SYMLINK_NOFOLLOW)?;
        self.put_new(dir, &name, reply)
    }

    pub(super) fn link(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let LinkIn { oldnode } = request.argument()?;
        let (dir, name) = (request.header.node, request.name()?);
        self.changeable(dir)?;
        if self.nodes.get(oldnode)?.share.id != self.nodes.get(dir)?.share.id {
            return Err(Errno::XDEV);
        }
        let (old, new_dir) = self.nodes.two_fds(oldnode, dir)?;
        let number = old.as_raw_fd().to_string();
        rustix::fs::linkat(&self.descriptors, number, new_dir, name.as_c_str(), AtFlags::SYMLINK_FOLLOW)?;
        self.put_new(dir, &name, reply)
    }

    pub(super) fn unlink(&mut self, request: &mut Request<'_, '_>) -> Answer {
        self.remove(request, AtFlags::empty())
    }

    pub(super) fn rmdir(&mut self, request: &mut Request<'_, '_>) -> Answer {
        self.remove(request, AtFlags::REMOVEDIR)
    }

    fn remove(&mut self, request: &mut Request<'_, '_>, flags: AtFlags) -> Answer {
        let (dir, name) = (request.header.node, request.name()?);
        self.changeable(dir)?;
        self.nodes.hold_entry(dir, &name);
        rustix::fs::unlinkat(self.nodes.fd(dir)?, name.as_c_str(), flags)
    }

    pub(super) fn rename(&mut self, request: &mut Request<'_, '_>) -> Answer {
        let newdir: u64 = request.argument()?;
        self.move_entry(request, newdir, RenameFlags::empty())
    }

    pub(super) fn rename2(&mut self, request: &mut Request<'_, '_>) -> Answer {
        let Rename2In { newdir, flags, .. } = request.argument()?;
        let flags = RenameFlags::from_bits(flags)
            .filter(|flags| !flags.contains(RenameFlags::WHITEOUT))
            .ok_or(Errno::INVAL)?;
        self.move_entry(request, newdir, flags)
    }

    fn move_entry(&mut self, request: &mut Request<'_, '_>, newdir: u64, flags: RenameFlags) -> Answer {
        let (dir, (name, new_name)) = (request.header.node, request.two_names()?);
        self.changeable(dir)?;
        self.changeable(newdir)?;
        if self.nodes.get(dir)?.share.id != self.nodes.get(newdir)?.share.id {
            return Err(Errno::XDEV);
        }
        self.nodes.hold_entry(dir, &name);
        self.nodes.hold_entry(newdir, &new_name);
        let (from, to) = self.nodes.two_fds(dir, newdir)?;
        rustix::fs::renameat_with(from, name.as_c_str(), to, new_name.as_c_str(), flags)
    }
}

/// Makes a regular file that must not exist and opens it.
fn make_file(
    dir: BorrowedFd<'_>,
    name: &Name,
    flags: OFlags,
    mode: u32,
    owner: Owner,
) -> Result<OwnedFd, Errno> {
    let flags = flags - OFlags::TRUNC;
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name.as_c_str(), flags, Mode::from_raw_mode(mode & 0o1777))?;
    rustix::fs::fchown(fd.as_fd(), Some(owner.uid), owner.gid)?;
    if mode & SET_ID_BITS != 0 {
        // Set last: a change of owner takes them away.
        rustix::fs::fchmod(fd.as_fd(), Mode::from_raw_mode(mode & 0o7777))?;
    }
    Ok(fd)
}
