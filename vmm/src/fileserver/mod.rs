//! The file server behind virtio-fs: answers FUSE requests ([`chitin_proto::fuse`]) about trees of the host that were
//! handed over as descriptors.
//!
//! | module | contents |
//! |---|---|
//! | [`shares`] | the trees, by name; they come and go while the VM runs |
//! | [`name`] | checked names |
//! | [`nodes`] | what the guest has looked up, with a budget of descriptors |
//! | [`handles`] | what the guest has opened |
//! | [`request`] | taking a request apart, putting an answer together |
//! | `attributes`, `lookup`, `directory`, `data`, `change` | the operations |
//!
//! Nothing here ever resolves more than one path component, and never a symbolic link: a name is looked up in the
//! descriptor of its directory with `O_NOFOLLOW`, `.` and `..` are not names. Only regular files and directories are
//! opened; FIFOs, sockets and devices are shown, never touched. Files of proc, sysfs and their like are not opened
//! either, so that a tree that contains them gives no handle on the host's kernel.

mod attributes;
mod change;
mod data;
mod directory;
pub mod handles;
mod lookup;
pub mod name;
pub mod nodes;
pub mod request;
pub mod shares;
#[cfg(test)]
mod tests;

use crate::virtio::chain::Chain;
use chitin_proto::fuse::{self, OutHeader, opcode};
use handles::Handles;
use nodes::Nodes;
use request::{Reply, Request};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use shares::Shares;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The server. One thread owns it.
#[derive(Debug)]
pub struct FileServer {
    shares: Arc<Shares>,
    nodes: Nodes,
    handles: Handles,
    /// `/proc/self/fd`: the way from an `O_PATH` descriptor to an open file.
    descriptors: OwnedFd,
    /// Whether the file system of a device number is one whose files are not opened.
    pseudo: HashMap<u64, bool>,
}

/// What an operation yields: how many bytes of answer it has put after the header.
type Answer = Result<(), Errno>;

impl FileServer {
    /// A server for `shares` that keeps at most `budget` descriptors of looked-up nodes.
    ///
    /// # Errors
    /// That of opening `/proc/self/fd`.
    pub fn new(shares: Arc<Shares>, budget: usize) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptors = rustix::fs::open("/proc/self/fd", flags, Mode::empty())?;
        Ok(Self {
            shares,
            nodes: Nodes::new(budget),
            handles: Handles::default(),
            descriptors,
            pseudo: HashMap::new(),
        })
    }

    /// Serves one request and writes the answer into its chain. Returns the answer's bytes.
    ///
    /// # Errors
    /// What rule of the protocol the guest broke.
    pub fn serve(&mut self, chain: &mut Chain<'_>) -> Result<usize, String> {
        let Chain { readable, writable, .. } = chain;
        let mut request = Request::parse(readable)?;
        match request.header.opcode {
            opcode::FORGET => {
                self.forget(&mut request);
                return Ok(0);
            }
            opcode::BATCH_FORGET => {
                self.batch_forget(&mut request);
                return Ok(0);
            }
            _ => {}
        }
        let size = size_of::<OutHeader>();
        if writable.left() < size {
            return Err(format!("no room for the answer to FUSE request {}", request.header.opcode));
        }
        let mut header = writable.split_front(size);
        let mut reply = Reply::new(writable);
        let result = self.dispatch(&mut request, &mut reply);
        let (error, payload) = match result {
            Ok(()) => (0, reply.len()),
            Err(errno) => (-errno.raw_os_error(), 0),
        };
        let len = u32::try_from(size + payload).map_err(|_| "answer too long".to_owned())?;
        header.write_value(&OutHeader { len, error, unique: request.header.unique });
        Ok(size + payload)
    }

    fn dispatch(&mut self, request: &mut Request<'_, '_>, reply: &mut Reply<'_, '_>) -> Answer {
        match request.header.opcode {
            opcode::LOOKUP => self.lookup(request, reply),
            opcode::GETATTR => self.getattr(request, reply),
            opcode::SETATTR => self.setattr(request, reply),
            opcode::READLINK => self.readlink(request, reply),
            opcode::STATFS => self.statfs(request, reply),
            opcode::SETXATTR => self.setxattr(request),
            opcode::GETXATTR => self.getxattr(request, reply),
            opcode::LISTXATTR => self.listxattr(request, reply),
            opcode::REMOVEXATTR => self.removexattr(request),
            opcode::OPEN => self.open(request, reply),
            opcode::READ => self.read(request, reply),
            opcode::WRITE => self.write(request, reply),
            opcode::RELEASE | opcode::RELEASEDIR => self.release(request),
            opcode::FLUSH => Ok(()),
            opcode::FSYNC | opcode::FSYNCDIR => self.fsync(request),
            opcode::FALLOCATE => self.fallocate(request),
            opcode::LSEEK => self.lseek(request, reply),
            opcode::OPENDIR => self.opendir(request, reply),
            opcode::READDIR => self.readdir(request, reply),
            opcode::READDIRPLUS => self.readdirplus(request, reply),
            opcode::CREATE => self.create(request, reply),
            opcode::MKNOD => self.mknod(request, reply),
            opcode::MKDIR => self.mkdir(request, reply),
            opcode::SYMLINK => self.symlink(request, reply),
            opcode::LINK => self.link(request, reply),
            opcode::UNLINK => self.unlink(request),
            opcode::RMDIR => self.rmdir(request),
            opcode::RENAME => self.rename(request),
            opcode::RENAME2 => self.rename2(request),
            _ => Err(Errno::NOSYS),
        }
    }

    fn forget(&mut self, request: &mut Request<'_, '_>) {
        if let Ok(fuse::ForgetIn { nlookup }) = request.argument() {
            self.nodes.forget(request.header.node, nlookup);
        }
    }

    fn batch_forget(&mut self, request: &mut Request<'_, '_>) {
        let Ok(batch) = request.argument::<fuse::BatchForgetIn>() else { return };
        for _ in 0..batch.count {
            let Ok(one) = request.argument::<fuse::ForgetOne>() else { return };
            self.nodes.forget(one.node, one.nlookup);
        }
    }

    /// Nodes known now; for tests and counters.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Files open now.
    #[must_use]
    pub fn handle_count(&self) -> usize {
        self.handles.len()
    }
}
