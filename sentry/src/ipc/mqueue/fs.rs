//! [`MqueueFs`]: the queues of an IPC namespace by name, as the file system that is mounted at `/dev/mqueue`.

use super::users::Users;
use super::{Attributes, Queue};
use crate::abi::Errno;
use crate::cache::Mapping;
use crate::fs::filesystem::{DentryPolicy, FileSystem, StatFs, anonymous_device};
use crate::fs::node::{DirEntry, DirSink, NewNode, S_IFDIR};
use crate::fs::{Attr, DirNode, FileNode, FsCx, Node, NodeKind, NodeOps, OpenFile, SetAttr, TimeSpec};
use crate::ipc::Account;
use crate::security::Capability;
use crate::user::{IoReader, IoWriter};
use crate::wait::Stop;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

/// Level of the names' lock.
const LEVEL: Level = Level(148);
/// What statfs(2) tells as `f_type`.
const MAGIC: u64 = 0x1980_0202;
/// Longest name.
const NAME_MAX: usize = 255;

/// Limits of `/proc/sys/fs/mqueue`.
pub struct Limits {
    /// `queues_max`
    pub queues: AtomicU64,
    /// `msg_max`
    pub messages: AtomicU64,
    /// `msgsize_max`
    pub bytes: AtomicU64,
    /// `msg_default`
    pub default_messages: AtomicU64,
    /// `msgsize_default`
    pub default_bytes: AtomicU64,
}

/// The queues of a namespace.
pub struct Names {
    account: Arc<Account>,
    users: Arc<Users>,
    dev: u64,
    next_ino: AtomicU64,
    names: SpinLock<BTreeMap<Vec<u8>, Arc<Node>>>,
    attr: SpinLock<Attr>,
    /// Limits.
    pub limits: Limits,
}

/// The queue of a node of this file system.
#[must_use]
pub fn queue(node: &Node) -> Option<Arc<Queue>> {
    match &node.kind {
        NodeKind::File(file) => file.as_any().downcast_ref::<QueueFile>().map(|file| file.0.clone()),
        _ => None,
    }
}

impl Names {
    /// No queues; `account` pays.
    #[must_use]
    pub fn new(account: &Arc<Account>) -> Arc<Self> {
        let now = TimeSpec::now();
        let dev = anonymous_device();
        let attr = Attr {
            dev,
            ino: 1,
            mode: S_IFDIR | 0o1777,
            nlink: 2,
            blksize: 4096,
            atime: now,
            mtime: now,
            ctime: now,
            ..Attr::default()
        };
        Arc::new(Self {
            account: account.clone(),
            users: Users::new(),
            dev,
            next_ino: AtomicU64::new(2),
            names: SpinLock::new(LEVEL, BTreeMap::new()),
            attr: SpinLock::new(LEVEL, attr),
            limits: Limits {
                queues: AtomicU64::new(256),
                messages: AtomicU64::new(10),
                bytes: AtomicU64::new(8192),
                default_messages: AtomicU64::new(10),
                default_bytes: AtomicU64::new(8192),
            },
        })
    }

    /// Finds a queue.
    ///
    /// # Errors
    /// `ENOENT`, `ENAMETOOLONG`.
    pub fn find(&self, name: &[u8]) -> Result<Arc<Node>, Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.names.lock().get(name).cloned().ok_or(Errno::ENOENT)
    }

    /// Makes a queue; `None` for the default size. The caller's user may have queues of `limit` bytes.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC` at the limit of queues, `EMFILE` at that of bytes, `ENOMEM`.
    pub fn make(
        &self,
        cx: &FsCx<'_>,
        name: &[u8],
        mode: u32,
        (attributes, limit): (Option<Attributes>, u64),
    ) -> Result<Arc<Node>, Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let attributes = attributes.unwrap_or_else(|| self.default_size());
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        let claim = self.users.claim(cx.creds.uid, limit, attributes)?;
        let queue = Queue::new(cx, (&self.account, claim), (self.dev, ino), mode, attributes)?;
        let node = Node::new(queue.clone(), NodeKind::File(Arc::new(QueueFile(queue))));
        let mut names = self.names.lock();
        if names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let full = names.len() as u64 >= self.limits.queues.load(Ordering::Relaxed);
        if full && !cx.creds.has(Capability::SysResource) {
            return Err(Errno::ENOSPC);
        }
        names.insert(name.to_vec(), node.clone());
        Ok(node)
    }

    fn default_size(&self) -> Attributes {
        let least = |one: &AtomicU64, other: &AtomicU64| {
            let value = one.load(Ordering::Relaxed).min(other.load(Ordering::Relaxed));
            usize::try_from(value).unwrap_or(usize::MAX)
        };
        Attributes {
            max_messages: least(&self.limits.messages, &self.limits.default_messages),
            max_bytes: least(&self.limits.bytes, &self.limits.default_bytes),
        }
    }

    /// Removes a name; the queue stays for those who have it open.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        let gone = self.names.lock().remove(name).ok_or(Errno::ENOENT)?;
        drop(gone);
        Ok(())
    }

    /// The attributes of the directory of all queues.
    #[must_use]
    pub fn root_attr(&self) -> Attr {
        *self.attr.lock()
    }
}

/// An instance of the file system; all of a namespace show the same queues.
pub struct MqueueFs {
    root: Arc<Node>,
}

impl MqueueFs {
    /// The file system of these names.
    #[must_use]
    pub fn new(names: &Arc<Names>) -> Arc<Self> {
        let root = Arc::new(Root(names.clone()));
        Arc::new(Self { root: Node::new(root.clone(), NodeKind::Dir(root)) })
    }
}

impl FileSystem for MqueueFs {
    fn type_name(&self) -> &str {
        "mqueue"
    }

    fn root(&self) -> Arc<Node> {
        self.root.clone()
    }

    fn statfs(&self, _cx: &FsCx<'_>) -> Result<StatFs, Errno> {
        Ok(StatFs { magic: MAGIC, block_size: 4096, name_max: NAME_MAX as u64, ..StatFs::default() })
    }

    fn dentry_policy(&self) -> DentryPolicy {
        DentryPolicy::Never
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Root(Arc<Names>);

impl NodeOps for Root {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self, _cx: &FsCx<'_>) -> Result<Attr, Errno> {
        Ok(self.0.root_attr())
    }

    fn set_attr(&self, _cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        let mut attr = self.0.attr.lock();
        if let Some(mode) = change.mode {
            attr.mode = S_IFDIR | (mode & 0o7777);
        }
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        Ok(())
    }
}

impl DirNode for Root {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        self.0.find(name)
    }

    fn create(&self, cx: &FsCx<'_>, name: &[u8], what: &NewNode, mode: u32) -> Result<Arc<Node>, Errno> {
        match what {
            NewNode::File => self.0.make(cx, name, mode, (None, u64::MAX)),
            _ => Err(Errno::EPERM),
        }
    }

    fn link(&self, _cx: &FsCx<'_>, _name: &[u8], _node: &Arc<Node>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn unlink(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<(), Errno> {
        self.0.remove(name)
    }

    fn rmdir(&self, _cx: &FsCx<'_>, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn rename(
        &self,
        _cx: &FsCx<'_>,
        _name: &[u8],
        _target: &Arc<Node>,
        _target_name: &[u8],
        _there: Option<&Arc<Node>>,
        _flags: u32,
    ) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn read_dir(&self, cx: &FsCx<'_>, position: u64, sink: DirSink<'_>) -> Result<(), Errno> {
        let mut entries: Vec<(Vec<u8>, u64, u8)> = alloc::vec![(b".".to_vec(), 1, 4), (b"..".to_vec(), 1, 4)];
        let nodes: Vec<(Vec<u8>, Arc<Node>)> =
            self.0.names.lock().iter().map(|(name, node)| (name.clone(), node.clone())).collect();
        for (name, node) in nodes {
            entries.push((name, node.ops.attr(cx)?.ino, 8));
        }
        let skip = usize::try_from(position).unwrap_or(usize::MAX);
        for (next, (name, ino, kind)) in (1u64..).zip(entries).skip(skip) {
            if !sink(&DirEntry { ino, kind, next, name: &name }) {
                break;
            }
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct QueueFile(Arc<Queue>);

impl FileNode for QueueFile {
    fn mapping(&self) -> Option<Arc<Mapping>> {
        None
    }

    fn read(
        &self,
        _cx: &FsCx<'_>,
        _file: &OpenFile,
        offset: u64,
        to: &mut IoWriter<'_>,
    ) -> Result<usize, Stop> {
        let text = self.0.text();
        let rest = usize::try_from(offset).ok().and_then(|offset| text.as_bytes().get(offset..));
        let done = to.write(rest.unwrap_or_default());
        match to.fault() {
            Some(fault) if done == 0 => Err(Stop::Fault(fault)),
            _ => Ok(done),
        }
    }

    fn write(
        &self,
        _cx: &FsCx<'_>,
        _file: &OpenFile,
        _offset: u64,
        _from: &mut IoReader<'_>,
    ) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn sync(&self, _cx: &FsCx<'_>) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
