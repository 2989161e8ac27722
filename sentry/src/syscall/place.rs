//! What system calls with paths share: who calls, where look-ups start, and what a descriptor with a path means.

use super::{Cx, Fd};
use crate::abi::Errno;
use crate::abi::file::{AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use crate::fs::lookup::{Follow, Last, Resolve, Tail, Walker};
use crate::fs::notify;
use crate::fs::stream::Caller;
use crate::fs::{Attr, FsContext, FsCx, Mount, Node, OpenFile, Path};
use crate::security::Creds;
use crate::user::UserAddr;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Longest path with its null byte.
pub(super) const PATH_MAX: usize = 4096;

/// The caller as the file system sees it.
pub(super) struct Scope {
    pub(super) creds: Arc<Creds>,
    pub(super) fs: Arc<FsContext>,
    caller: Caller,
}

impl Scope {
    pub(super) fn new(cx: &Cx<'_>) -> Self {
        // Session and group are looked up only when a device is opened, which asks for them.
        let caller = Caller { pid: cx.task.pid(), tid: cx.task.tid(), ..Caller::default() };
        Self { creds: cx.task.creds(), fs: cx.task.fs(), caller }
    }

    /// As [`Scope::new`], with the caller's session and process group, for opening terminals.
    pub(super) fn for_open(cx: &Cx<'_>) -> Self {
        Self { caller: super::descriptor::caller(cx), ..Self::new(cx) }
    }

    /// For file systems.
    pub(super) fn cx<'a>(&'a self, cx: &'a Cx<'_>) -> FsCx<'a> {
        FsCx { sleeper: cx.sleeper, interrupt: &**cx.task, creds: &self.creds, caller: self.caller }
    }

    /// Where a look-up of `path` starts.
    ///
    /// # Errors
    /// `EBADF`; `ENOTDIR` for the descriptor of something that has no place.
    pub(super) fn start(&self, cx: &Cx<'_>, dir: Fd, path: &[u8]) -> Result<Path, Errno> {
        if dir.0 == AT_FDCWD || path.first() == Some(&b'/') {
            return Ok(self.fs.cwd());
        }
        let file = cx.files.get(dir)?;
        file.path().cloned().ok_or(Errno::ENOTDIR)
    }

    /// Finds `path`.
    ///
    /// # Errors
    /// As path_resolution(7).
    pub(super) fn find(&self, cx: &Cx<'_>, dir: Fd, path: &[u8], follow: Follow) -> Result<Path, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let start = self.start(cx, dir, path)?;
        let fs = self.cx(cx);
        Walker::new(&fs, self.fs.root(), start, path, Resolve::empty())?.target(follow)
    }

    /// Finds the directory of the last name of `path`.
    ///
    /// # Errors
    /// As path_resolution(7).
    pub(super) fn find_parent<'p>(
        &self,
        cx: &Cx<'_>,
        dir: Fd,
        path: &'p [u8],
    ) -> Result<(Path, Last<'p>, Tail), Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let start = self.start(cx, dir, path)?;
        let fs = self.cx(cx);
        let root = self.fs.root();
        let mut walker = Walker::new(&fs, root, start, path, Resolve::empty())?;
        let (last, tail) = walker.parent()?;
        let last = match last {
            Last::Name(name) => Last::Name(alloc::borrow::Cow::Owned(name.into_owned())),
            Last::Dot => Last::Dot,
            Last::DotDot => Last::DotDot,
            Last::None => Last::None,
        };
        Ok((walker.at().clone(), last, tail))
    }

    /// Finds what a call with a descriptor, a path and flags means.
    ///
    /// # Errors
    /// As path_resolution(7); `EBADF`.
    pub(super) fn find_target(
        &self,
        cx: &Cx<'_>,
        dir: Fd,
        path: &[u8],
        flags: u32,
        empty: Empty,
    ) -> Result<Target, Errno> {
        if path.is_empty() && empty == Empty::Descriptor {
            if dir.0 == AT_FDCWD {
                return Ok(Target::Place(self.fs.cwd()));
            }
            return Ok(Target::of(cx.files.get(dir)?));
        }
        let follow = if flags & AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
        Ok(Target::Place(self.find(cx, dir, path, follow)?))
    }
}

/// What an empty path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    /// `ENOENT`.
    Error,
    /// The descriptor itself (`AT_EMPTY_PATH`).
    Descriptor,
}

impl Empty {
    /// By the flag `AT_EMPTY_PATH`.
    pub(super) const fn by(flags: u32) -> Self {
        if flags & crate::abi::file::AT_EMPTY_PATH != 0 { Self::Descriptor } else { Self::Error }
    }
}

/// What a call acts on.
pub(super) enum Target {
    /// A place in the tree.
    Place(Path),
    /// An open file that has no place.
    File(Arc<OpenFile>),
}

impl Target {
    /// What an open file stands for.
    pub(super) fn of(file: Arc<OpenFile>) -> Self {
        match file.path() {
            Some(path) => Self::Place(path.clone()),
            None => Self::File(file),
        }
    }

    /// Its node, if it has one.
    pub(super) fn node(&self) -> Result<Option<&Arc<Node>>, Errno> {
        match self {
            Self::Place(path) => path.node().map(Some),
            Self::File(file) => Ok(file.node()),
        }
    }

    /// The mount it is seen through.
    pub(super) fn mount(&self) -> Option<&Arc<Mount>> {
        match self {
            Self::Place(path) => Some(&path.mount),
            Self::File(_) => None,
        }
    }

    /// Tells those who watch it.
    pub(super) fn tell(&self, mask: notify::Mask) {
        match self {
            Self::Place(path) => notify::at(&path.dentry, mask),
            Self::File(file) => notify::through(file, mask),
        }
    }

    /// Its attributes.
    pub(super) fn attr(&self, fs: &FsCx<'_>) -> Result<Attr, Errno> {
        match self {
            Self::Place(path) => path.node()?.ops.attr(fs),
            Self::File(file) => match (file.stream(), file.node()) {
                (_, Some(node)) => node.ops.attr(fs),
                (Some(stream), None) => Ok(stream.attr()),
                (None, None) => Err(Errno::EBADF),
            },
        }
    }
}

/// Reads a path argument.
///
/// # Errors
/// `EFAULT`, `ENAMETOOLONG`.
pub(super) fn read_path(cx: &Cx<'_>, from: UserAddr) -> Result<Vec<u8>, Errno> {
    cx.user().read_cstr(from, PATH_MAX, Errno::ENAMETOOLONG)
}

/// As [`read_path`], where a null pointer with `AT_EMPTY_PATH` is an empty path.
///
/// # Errors
/// `EFAULT`, `ENAMETOOLONG`.
pub(super) fn read_path_or_null(cx: &Cx<'_>, from: UserAddr, flags: u32) -> Result<Vec<u8>, Errno> {
    if from.is_null() && Empty::by(flags) == Empty::Descriptor {
        return Ok(Vec::new());
    }
    read_path(cx, from)
}
