//! Path look-up (path_resolution(7)): [`Walker`] goes from text to a [`Path`], or to the directory of the last name.

use crate::abi::Errno;
use crate::fs::node::{LinkTarget, NewNode, NodeOps};
use crate::fs::permission::{self, Want};
use crate::fs::{Attr, Dentry, FsCx, MountFlags, Node, NodeKind, OpenFile, Path, SetAttr};
use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;

/// Symbolic links followed at most.
const LINKS_MAX: usize = 40;

bitflags! {
    /// How far a look-up may go, with the bits of openat2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Resolve: u64 {
        /// `RESOLVE_NO_XDEV`.
        const NO_XDEV = 1;
        /// `RESOLVE_NO_MAGICLINKS`.
        const NO_MAGICLINKS = 2;
        /// `RESOLVE_NO_SYMLINKS`.
        const NO_SYMLINKS = 4;
        /// `RESOLVE_BENEATH`.
        const BENEATH = 8;
        /// `RESOLVE_IN_ROOT`.
        const IN_ROOT = 16;
        /// `RESOLVE_CACHED`.
        const CACHED = 32;
    }
}

/// What to do with a symbolic link at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Go where it points.
    Yes,
    /// It is the target itself (`O_NOFOLLOW`, `AT_SYMLINK_NOFOLLOW`).
    No,
}

/// The last name of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last<'a> {
    /// An ordinary name.
    Name(Cow<'a, [u8]>),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// There is none: the path is `/`, or a link led directly to a place.
    None,
}

/// How a path ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With the name.
    Plain,
    /// With slashes after the name: it must be a directory.
    Slash,
}

/// A path being looked up.
pub struct Walker<'a> {
    cx: &'a FsCx<'a>,
    /// Where `/` and `..` end.
    root: Path,
    /// Where the walk stands: a directory, unless the walk has ended.
    at: Path,
    rest: &'a [u8],
    /// Contents of symbolic links being followed, with how much of each is done.
    links: Vec<(Vec<u8>, usize)>,
    followed: usize,
    resolve: Resolve,
}

impl<'a> Walker<'a> {
    /// A walk of `path` for a process with this root directory; relative paths start at `start`.
    ///
    /// # Errors
    /// `ENOENT` for an empty path, `ENOTDIR` for a relative path from something that is no directory, `EXDEV` for an
    /// absolute one with `RESOLVE_BENEATH`.
    pub fn new(
        cx: &'a FsCx<'a>,
        root: Path,
        start: Path,
        path: &'a [u8],
        resolve: Resolve,
    ) -> Result<Self, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let scoped = resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT);
        let absolute = path.first() == Some(&b'/');
        if absolute && resolve.contains(Resolve::BENEATH) {
            return Err(Errno::EXDEV);
        }
        if !start.dentry.is_dir() && (!absolute || scoped) {
            return Err(Errno::ENOTDIR);
        }
        let root = if scoped { start.clone() } else { root };
        let at = if absolute { root.clone() } else { start };
        Ok(Self { cx, root, at, rest: path, links: Vec::new(), followed: 0, resolve })
    }

    /// Where the walk stands.
    #[must_use]
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// The next name, `None` at the end.
    fn next_name(&mut self) -> Option<Cow<'a, [u8]>> {
        while let Some((text, done)) = self.links.last_mut() {
            let rest = text.get(*done..).unwrap_or_default();
            let start = rest.iter().position(|byte| *byte != b'/');
            if let Some(start) = start {
                let rest = rest.get(start..).unwrap_or_default();
                let len = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
                *done += start + len;
                return Some(Cow::Owned(rest.get(..len).unwrap_or_default().to_vec()));
            }
            self.links.pop();
        }
        let start = self.rest.iter().position(|byte| *byte != b'/')?;
        let rest = self.rest.get(start..).unwrap_or_default();
        let len = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let (name, after) = rest.split_at(len);
        self.rest = after;
        Some(Cow::Borrowed(name))
    }

    /// What follows the name just taken: `None` when there are more names.
    fn tail(&self) -> Option<Tail> {
        let mut tail = Tail::Plain;
        let texts = self.links.iter().map(|(text, done)| text.get(*done..).unwrap_or_default());
        for text in texts.chain([self.rest]) {
            match text.iter().find(|byte| **byte != b'/') {
                Some(_) => return None,
                None if !text.is_empty() => tail = Tail::Slash,
                None => {}
            }
        }
        Some(tail)
    }

    /// Walks to the end.
    ///
    /// # Errors
    /// As open(2): `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`, `EXDEV`.
    pub fn target(mut self, follow: Follow) -> Result<Path, Errno> {
        while let Some(name) = self.next_name() {
            let tail = self.tail();
            let follow = if tail == Some(Tail::Plain) { follow } else { Follow::Yes };
            self.step(&name, follow)?;
            if tail != Some(Tail::Plain) && !self.at.dentry.is_dir() {
                return Err(Errno::ENOTDIR);
            }
        }
        Ok(self.at)
    }

    /// Walks to the directory of the last name, which [`Walker::at`] tells then.
    ///
    /// # Errors
    /// As [`Walker::target`].
    pub fn parent(&mut self) -> Result<(Last<'a>, Tail), Errno> {
        while let Some(name) = self.next_name() {
            let Some(tail) = self.tail() else {
                self.step(&name, Follow::Yes)?;
                if !self.at.dentry.is_dir() {
                    return Err(Errno::ENOTDIR);
                }
                continue;
            };
            permission::may_search(self.cx, &self.at.dentry)?;
            self.trim();
            let last = match &*name {
                b"." => Last::Dot,
                b".." => Last::DotDot,
                _ => Last::Name(name),
            };
            return Ok((last, tail));
        }
        Ok((Last::None, Tail::Plain))
    }

    /// Goes one name further.
    fn step(&mut self, name: &[u8], follow: Follow) -> Result<(), Errno> {
        permission::may_search(self.cx, &self.at.dentry)?;
        match name {
            b"." => Ok(()),
            b".." => self.step_up(),
            _ => {
                self.trim();
                let child = self.at.dentry.child(self.cx, name)?;
                self.enter(child, follow)
            }
        }
    }

    /// Goes to a child of where the walk stands, through a symbolic link if it is one.
    ///
    /// # Errors
    /// `ENOENT` when it is negative, and as [`Walker::target`].
    pub fn enter(&mut self, child: Arc<Dentry>, follow: Follow) -> Result<(), Errno> {
        let node = child.node()?;
        if follow == Follow::Yes && matches!(node.kind, NodeKind::Symlink(_)) && !child.is_mountpoint() {
            let node = node.clone();
            return self.follow(&node);
        }
        self.at.dentry = child;
        if self.at.dentry.is_mountpoint() {
            let before = self.at.mount.clone();
            self.at.enter_mounts();
            if self.resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&before, &self.at.mount) {
                return Err(Errno::EXDEV);
            }
        }
        Ok(())
    }

    /// Forgets names when there are too many, those that lead nowhere among them.
    fn trim(&self) {
        let superblock = &self.at.mount.superblock;
        superblock.cache.trim(&superblock.root);
    }

    /// Goes to `..`.
    ///
    /// # Errors
    /// `EXDEV` where `RESOLVE_*` forbids it.
    pub fn step_up(&mut self) -> Result<(), Errno> {
        if self.resolve.contains(Resolve::BENEATH) && self.at == self.root {
            return Err(Errno::EXDEV);
        }
        let parent = self.at.parent(&self.root);
        if self.resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&parent.mount, &self.at.mount) {
            return Err(Errno::EXDEV);
        }
        self.at = parent;
        Ok(())
    }

    /// Goes where a symbolic link in the directory where the walk stands points: its text is walked next, or the walk
    /// stands at the place it leads to.
    ///
    /// # Errors
    /// `ELOOP`, `EXDEV`, `ENOENT`.
    pub fn follow(&mut self, link: &Arc<Node>) -> Result<(), Errno> {
        let NodeKind::Symlink(ops) = &link.kind else { return Err(Errno::EINVAL) };
        self.followed += 1;
        if self.followed > LINKS_MAX
            || self.resolve.contains(Resolve::NO_SYMLINKS)
            || self.at.mount.flags().contains(MountFlags::NO_SYMFOLLOW)
        {
            return Err(Errno::ELOOP);
        }
        match ops.target(self.cx)? {
            LinkTarget::Path(text) => {
                if text.is_empty() {
                    return Err(Errno::ENOENT);
                }
                if text.first() == Some(&b'/') {
                    if self.resolve.contains(Resolve::BENEATH) {
                        return Err(Errno::EXDEV);
                    }
                    let leaves = !Arc::ptr_eq(&self.root.mount, &self.at.mount);
                    if self.resolve.contains(Resolve::NO_XDEV) && leaves {
                        return Err(Errno::EXDEV);
                    }
                    self.at = self.root.clone();
                }
                self.links.push((text, 0));
                Ok(())
            }
            LinkTarget::File(file) => {
                let path = file.path().cloned().unwrap_or_else(|| self.anonymous(&file));
                self.jump(path)
            }
            LinkTarget::Place(path) => self.jump(path),
        }
    }

    fn jump(&mut self, to: Path) -> Result<(), Errno> {
        if self.resolve.contains(Resolve::NO_MAGICLINKS) {
            return Err(Errno::ELOOP);
        }
        if self.resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT) {
            return Err(Errno::EXDEV);
        }
        if self.resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&to.mount, &self.at.mount) {
            return Err(Errno::EXDEV);
        }
        self.at = to;
        Ok(())
    }

    /// A place for an open file that has none.
    fn anonymous(&self, file: &Arc<OpenFile>) -> Path {
        let node = Node::new(Arc::new(AnonymousOps(file.clone())), NodeKind::Open(file.clone()));
        let mount = self.at.mount.clone();
        let dentry = Dentry::disconnected(&mount.superblock.cache, node, b"anonymous");
        Path { mount, dentry }
    }
}

/// Attributes of an open file that no name leads to.
struct AnonymousOps(Arc<OpenFile>);

impl NodeOps for AnonymousOps {
    fn as_any(&self) -> &dyn core::any::Any {
        self
    }

    fn attr(&self, cx: &FsCx<'_>) -> Result<Attr, Errno> {
        match (self.0.stream(), self.0.node()) {
            (Some(stream), _) => Ok(stream.attr()),
            (None, Some(node)) => node.ops.attr(cx),
            (None, None) => Err(Errno::EIO),
        }
    }

    fn set_attr(&self, _: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        // The kernel keeps no times or owners of such files; changing size is not for them.
        if change.size.is_some() { Err(Errno::EINVAL) } else { Ok(()) }
    }
}

/// The place that `path` leads to, for the kernel's own use: no `RESOLVE_*`, relative to `root` itself.
///
/// # Errors
/// As [`Walker::target`].
pub fn resolve(cx: &FsCx<'_>, root: &Path, path: &[u8], follow: Follow) -> Result<Path, Errno> {
    if path.iter().all(|byte| *byte == b'/') {
        return Ok(root.clone());
    }
    Walker::new(cx, root.clone(), root.clone(), path, Resolve::empty())?.target(follow)
}

/// Makes the missing directories of `path` below `root`, with mode 0755.
///
/// # Errors
/// As mkdir(2); `ENOTDIR`.
pub fn mkdir_all(cx: &FsCx<'_>, root: &Path, path: &[u8]) -> Result<Path, Errno> {
    let mut done = Vec::new();
    let mut at = root.clone();
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        done.push(b'/');
        done.extend_from_slice(name);
        at = match resolve(cx, root, &done, Follow::Yes) {
            Err(Errno::ENOENT) => {
                let mut walker = Walker::new(cx, root.clone(), root.clone(), &done, Resolve::empty())?;
                let (last, _) = walker.parent()?;
                match crate::fs::names::create(cx, walker.at(), &last, Tail::Slash, &NewNode::Dir, 0o755) {
                    Ok(_) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno),
                }
                resolve(cx, root, &done, Follow::Yes)?
            }
            other => other?,
        };
    }
    if at.dentry.is_dir() { Ok(at) } else { Err(Errno::ENOTDIR) }
}

/// Whether a name may be used for `want`, for access(2).
///
/// # Errors
/// `EACCES`, `EROFS`.
pub fn check_access(cx: &FsCx<'_>, path: &Path, want: Want) -> Result<(), Errno> {
    let node = path.node()?;
    if want.contains(Want::EXECUTE)
        && matches!(node.kind, NodeKind::File(_))
        && path.mount.flags().contains(MountFlags::NO_EXEC)
    {
        return Err(Errno::EACCES);
    }
    permission::check_path(cx, path, want)?;
    if want.contains(Want::WRITE) && !permission::is_special(node) && path.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    Ok(())
}
