//! Reading directories. `.` and `..` are not listed: the sentry knows them better.

use super::handles::Handle;
use super::name::Name;
use super::request::{Reply, Request};
use super::{Answer, FileServer};
use chitin_proto::fuse::{Dirent, DirentPlus, EntryOut, MAX_TRANSFER, OpenIn, OpenOut, ROOT_ID, ReadIn};
use rustix::fs::{FileType, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Bytes of host directory read at once.
const BATCH: usize = 32 * 1024;

/// Whether entries come with their attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Plus,
}

/// One entry to be listed.
struct Listed {
    name: Name,
    ino: u64,
    kind: u32,
    next: u64,
}

impl FileServer {
    pub(super) fn opendir(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        let _: OpenIn = request.argument()?;
        let node = request.header.node;
        let handle = if node == ROOT_ID {
            Handle { fd: None, node, share: None, position: 0 }
        } else {
            let fd = self.reopen(node, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let share = Arc::clone(&self.nodes.get(node)?.share);
            Handle { fd: Some(fd), node, share: Some(share), position: 0 }
        };
        let fh = self.handles.insert(handle);
        reply.put(&OpenOut { fh, ..OpenOut::default() }).inspect_err(|_| {
            let _ = self.handles.remove(fh);
        })
    }

    pub(super) fn readdir(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        self.list(request, reply, Form::Plain)
    }

    pub(super) fn readdirplus(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        self.list(request, reply, Form::Plus)
    }

    fn list(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>, form: Form) -> Answer {
        let ReadIn { fh, offset, size, .. } = request.argument()?;
        let room = (size.min(MAX_TRANSFER) as usize).min(reply.room.left());
        let mut offset = offset;
        loop {
            let batch = self.read_batch(fh, offset)?;
            if batch.is_empty() {
                return Ok(());
            }
            for entry in batch {
                if reply.len() + entry_size(&entry, form) > room {
                    // Not even one fits: say so, lest this looks like the end.
                    return if reply.is_empty() { Err(Errno::INVAL) } else { Ok(()) };
                }
                offset = entry.next;
                self.put_entry(fh, &entry, reply, form)?;
            }
        }
    }

    /// The next entries of an open directory from `offset` on.
    fn read_batch(&mut self, fh: u64, offset: u64) -> Result<Vec<Listed>, Errno> {
        let handle = self.handles.get_mut(fh)?;
        let Some(fd) = &handle.fd else { return Ok(self.list_shares(offset)) };
        if handle.position != offset {
            rustix::fs::seek(fd, SeekFrom::Start(offset))?;
            handle.position = offset;
        }
        let mut buffer = [MaybeUninit::uninit(); BATCH];
        let mut entries = Vec::new();
        // A batch of nothing but unlistable entries must not look like the end.
        while entries.is_empty() {
            let before = handle.position;
            let mut raw = RawDir::new(fd, &mut buffer);
            while let Some(entry) = raw.next() {
                let entry = entry?;
                handle.position = entry.next_entry_cookie();
                if let Some(name) = Name::new(entry.file_name().to_bytes()) {
                    let kind = dirent_type(entry.file_type());
                    entries.push(Listed { name, ino: entry.ino(), kind, next: entry.next_entry_cookie() });
                }
                if raw.is_buffer_empty() {
                    break;
                }
            }
            if handle.position == before {
                break;
            }
        }
        Ok(entries)
    }

    fn list_shares(&self, offset: u64) -> Vec<Listed> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        (start..)
            .map_while(|index| {
                let (name, share) = self.shares.nth(index)?;
                let stat = rustix::fs::fstat(&share.root).ok()?;
                let kind = dirent_type(FileType::from_raw_mode(stat.st_mode));
                Some(Listed { name, ino: stat.st_ino, kind, next: index as u64 + 1 })
            })
            .take(64)
            .collect()
    }

    fn put_entry(&mut self, fh: u64, entry: &Listed, reply: &mut Reply<'_, '_>, form: Form) -> Answer {
        let name = entry.name.as_bytes();
        let dirent = Dirent {
            ino: entry.ino,
            off: entry.next,
            namelen: u32::try_from(name.len()).unwrap_or(0),
            kind: entry.kind,
        };
        let mut taken = 0;
        let put = match form {
            Form::Plain => reply.put(&dirent),
            Form::Plus => {
                let dir = self.handles.get(fh)?.node;
                // An entry that cannot be looked up (gone, or no descriptor left) is listed without attributes.
                let found = self.find(dir, &entry.name).unwrap_or_default();
                taken = found.node;
                reply.put(&DirentPlus { entry: found, dirent })
            }
        };
        let padding = [0; 8];
        put.and_then(|()| reply.put_bytes(name))
            .and_then(|()| reply.put_bytes(padding.get(..padding_of(name.len())).unwrap_or_default()))
            .inspect_err(|_| self.nodes.forget(taken, 1))
    }
}

const fn padding_of(len: usize) -> usize {
    len.next_multiple_of(8) - len
}

fn entry_size(entry: &Listed, form: Form) -> usize {
    let head = match form {
        Form::Plain => size_of::<Dirent>(),
        Form::Plus => size_of::<EntryOut>() + size_of::<Dirent>(),
    };
    head + entry.name.as_bytes().len().next_multiple_of(8)
}

/// `DT_*`: the type bits of a mode, shifted down.
const fn dirent_type(kind: FileType) -> u32 {
    kind.as_raw_mode() >> 12
}
