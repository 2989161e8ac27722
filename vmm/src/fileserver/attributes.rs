//! Attributes: getattr, setattr, extended attributes, statfs, readlink.

use super::nodes::Node;
use super::request::{Reply, Request};
use super::shares::Share;
use super::{Answer, FileServer};
use chitin_proto::fuse::{
    Attr, AttrOut, GetattrIn, GetxattrIn, GetxattrOut, ROOT_ID, SetattrIn, SetxattrIn, StatfsOut, setattr,
};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Longest extended attribute value (`XATTR_SIZE_MAX`).
const MAX_XATTR: usize = 65536;

/// Attributes as FUSE has them.
pub(super) fn attr_of(stat: &Stat) -> Attr {
    let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
    let nanoseconds = |value: u64| u32::try_from(value).unwrap_or(0);
    Attr {
        ino: stat.st_ino,
        size: unsigned(stat.st_size),
        blocks: unsigned(stat.st_blocks),
        atime: stat.st_atime.cast_unsigned(),
        mtime: stat.st_mtime.cast_unsigned(),
        ctime: stat.st_ctime.cast_unsigned(),
        atime_nsec: nanoseconds(stat.st_atime_nsec),
        mtime_nsec: nanoseconds(stat.st_mtime_nsec),
        ctime_nsec: nanoseconds(stat.st_ctime_nsec),
        mode: stat.st_mode,
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: device_number(stat.st_rdev),
        blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
        flags: 0,
    }
}

/// `new_encode_dev`: 12 bits of major, 20 of minor, as FUSE carries them.
fn device_number(rdev: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12
}

/// Attributes of the directory of shares.
pub(super) fn root_attr() -> Attr {
    Attr { ino: ROOT_ID, mode: 0o040_555, nlink: 2, blksize: 4096, ..Attr::default() }
}

pub(super) fn check_writable(share: &Share) -> Answer {
    if share.is_writable() { Ok(()) } else { Err(Errno::ROFS) }
}

impl FileServer {
    /// Opens a node for I/O through `/proc/self/fd`.
    ///
    /// # Errors
    /// `ENXIO` for FIFOs, sockets and devices, `ELOOP` for symbolic links, `EACCES` in pseudo file systems, and what
    /// open(2) says.
    pub(super) fn reopen(&mut self, id: u64, flags: OFlags) -> Result<OwnedFd, Errno> {
        let Node { kind, dev, .. } = *self.nodes.get(id)?;
        match kind {
            FileType::RegularFile => {}
            FileType::Directory => {
                if flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
                    return Err(Errno::ISDIR);
                }
            }
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::NXIO),
        }
        let fd = self.nodes.fd(id)?;
        if kind == FileType::RegularFile {
            let pseudo = match self.pseudo.get(&dev) {
                Some(known) => *known,
                None => {
                    let pseudo = is_pseudo(&rustix::fs::fstatfs(fd)?);
                    self.pseudo.insert(dev, pseudo);
                    pseudo
                }
            };
            if pseudo {
                return Err(Errno::ACCESS);
            }
        }
        let number = fd.as_raw_fd().to_string();
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        rustix::fs::openat(&self.descriptors, number, flags, Mode::empty())
    }

    pub(super) fn stat(&mut self, id: u64) -> Result<Stat, Errno> {
        rustix::fs::fstat(self.nodes.fd(id)?)
    }

    pub(super) fn attr_out(&mut self, id: u64, handle: Option<u64>) -> Result<AttrOut, Errno> {
        if id == ROOT_ID {
            return Ok(AttrOut { attr: root_attr(), ..AttrOut::default() });
        }
        let attr_valid = self.nodes.get(id)?.share.valid_seconds();
        let stat = match handle {
            Some(handle) => rustix::fs::fstat(self.handles.fd(handle)?)?,
            None => self.stat(id)?,
        };
        Ok(AttrOut { attr_valid, attr_valid_nsec: 0, dummy: 0, attr: attr_of(&stat) })
    }

    pub(super) fn getattr(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let GetattrIn { flags, fh, .. } = request.argument()?;
        let out = self.attr_out(request.header.node, (flags & 1 != 0).then_some(fh))?;
        reply.put(&out)
    }

    pub(super) fn setattr(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let (id, wish): (u64, SetattrIn) = (request.header.node, request.argument()?);
        if id == ROOT_ID {
            return Err(Errno::ROFS);
        }
        check_writable(&self.nodes.get(id)?.share)?;
        let handle = (wish.valid & setattr::FH != 0).then_some(wish.fh);
        if wish.valid & (setattr::UID | setattr::GID) != 0 {
            let uid = (wish.valid & setattr::UID != 0).then(|| Uid::from_raw(wish.uid));
            let gid = (wish.valid & setattr::GID != 0).then(|| Gid::from_raw(wish.gid));
            if uid.is_some_and(|id| id.as_raw() == u32::MAX) || gid.is_some_and(|id| id.as_raw() == u32::MAX)
            {
                return Err(Errno::INVAL);
            }
            rustix::fs::chownat(self.nodes.fd(id)?, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if wish.valid & setattr::MODE != 0 {
            self.set_mode(id, wish.mode)?;
        }
        if wish.valid & setattr::SIZE != 0 {
            match handle {
                Some(handle) => rustix::fs::ftruncate(self.handles.fd(handle)?, wish.size)?,
                None => rustix::fs::ftruncate(self.reopen(id, OFlags::WRONLY)?, wish.size)?,
            }
        }
        if wish.valid & (setattr::ATIME | setattr::MTIME) != 0 {
            let times = Timestamps {
                last_access: time(&wish, setattr::ATIME, setattr::ATIME_NOW, wish.atime, wish.atime_nsec),
                last_modification: time(
                    &wish,
                    setattr::MTIME,
                    setattr::MTIME_NOW,
                    wish.mtime,
                    wish.mtime_nsec,
                ),
            };
            rustix::fs::utimensat(self.nodes.fd(id)?, c"", &times, AtFlags::EMPTY_PATH)?;
        }
        let out = self.attr_out(id, handle)?;
        reply.put(&out)
    }

    fn set_mode(&mut self, id: u64, mode: u32) -> Answer {
        match self.nodes.get(id)?.kind {
            FileType::Symlink => return Err(Errno::OPNOTSUPP),
            FileType::RegularFile | FileType::Directory => {}
            // Devices and FIFOs are shown only.
            _ => return Err(Errno::PERM),
        }
        let number = self.nodes.fd(id)?.as_raw_fd().to_string();
        rustix::fs::chmodat(&self.descriptors, number, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
    }

    pub(super) fn readlink(&mut self, request: &Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let target = rustix::fs::readlinkat(self.nodes.fd(request.header.node)?, c"", Vec::new())?;
        reply.put_bytes(target.as_bytes())
    }

    pub(super) fn statfs(&mut self, request: &Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        if request.header.node == ROOT_ID {
            return reply.put(&StatfsOut { bsize: 4096, namelen: 255, frsize: 4096, ..StatfsOut::default() });
        }
        let stat = rustix::fs::fstatfs(self.nodes.fd(request.header.node)?)?;
        let narrow = |value: i64| u32::try_from(value).unwrap_or(0);
        reply.put(&StatfsOut {
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            bsize: narrow(stat.f_bsize),
            namelen: narrow(stat.f_namelen),
            frsize: narrow(stat.f_frsize),
            ..StatfsOut::default()
        })
    }

    /// A descriptor for extended attributes; only regular files and directories have them here.
    fn xattr_fd(&mut self, id: u64) -> Result<OwnedFd, Errno> {
        if id == ROOT_ID {
            return Err(Errno::OPNOTSUPP);
        }
        self.reopen(id, OFlags::RDONLY).map_err(|errno| match errno {
            Errno::LOOP | Errno::NXIO => Errno::OPNOTSUPP,
            other => other,
        })
    }

    pub(super) fn setxattr(&mut self, request: &mut Request<'_, '_>) -> Answer {
        let SetxattrIn { size, flags } = request.argument()?;
        let name = request.leading_text()?;
        if size as usize > MAX_XATTR || request.body.left() < size as usize {
            return Err(Errno::INVAL);
        }
        let mut value = vec![0; size as usize];
        request.body.read(&mut value);
        check_writable(&self.nodes.get(request.header.node)?.share)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        rustix::fs::fsetxattr(self.xattr_fd(request.header.node)?, name, &value, flags)
    }

    pub(super) fn getxattr(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let GetxattrIn { size, .. } = request.argument()?;
        let name = request.leading_text()?;
        let fd = self.xattr_fd(request.header.node)?;
        if size == 0 {
            return put_size(reply, rustix::fs::fgetxattr_query(fd.as_fd(), name)?);
        }
        let mut value = vec![0; (size as usize).min(MAX_XATTR)];
        let len = rustix::fs::fgetxattr(fd.as_fd(), name, value.as_mut_slice())?;
        reply.put_bytes(value.get(..len).unwrap_or_default())
    }

    pub(super) fn listxattr(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let GetxattrIn { size, .. } = request.argument()?;
        let fd = self.xattr_fd(request.header.node)?;
        if size == 0 {
            return put_size(reply, rustix::fs::flistxattr_query(fd.as_fd())?);
        }
        let mut list = vec![0; (size as usize).min(MAX_XATTR)];
        let len = rustix::fs::flistxattr(fd.as_fd(), list.as_mut_slice())?;
        reply.put_bytes(list.get(..len).unwrap_or_default())
    }

    pub(super) fn removexattr(&mut self, request: &mut Request<'_, '_>) -> Answer {
        let name = request.leading_text()?;
        check_writable(&self.nodes.get(request.header.node)?.share)?;
        rustix::fs::fremovexattr(self.xattr_fd(request.header.node)?, name)
    }
}

fn put_size(reply: &mut Reply<'_, '_>, size: usize) -> Answer {
    reply.put(&GetxattrOut { size: u32::try_from(size).unwrap_or(u32::MAX), padding: 0 })
}

fn time(wish: &SetattrIn, set: u32, now: u32, seconds: u64, nanoseconds: u32) -> Timespec {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    if wish.valid & set == 0 {
        special(UTIME_OMIT)
    } else if wish.valid & now != 0 {
        special(UTIME_NOW)
    } else {
        Timespec { tv_sec: seconds.cast_signed(), tv_nsec: i64::from(nanoseconds.min(999_999_999)) }
    }
}

/// Whether files of this file system talk to the kernel rather than hold data.
fn is_pseudo(stat: &rustix::fs::StatFs) -> bool {
    const MAGIC: [u32; 17] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x0027_e0eb, // cgroup
        0x6367_7270, // cgroup2
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0xcafe_4a11, // bpf
        0xde5e_81e4, // efivarfs
        0x6265_6570, // configfs
        0x6165_676c, // pstore
        0x6e73_6673, // nsfs
        0x1cd1,      // devpts
        0xf97c_ff8c, // selinuxfs
        0x6573_5543, // fusectl
        0x4249_4e4d, // binfmt_misc
        0x1980_0202, // mqueue
    ];
    u32::try_from(stat.f_type & 0xffff_ffff).is_ok_and(|kind| MAGIC.contains(&kind))
}
