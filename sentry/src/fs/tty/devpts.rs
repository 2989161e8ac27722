//! [`DevPts`]: the file system of `/dev/pts` (devpts in Linux' documentation): `ptmx`, and a device node for each slave.
//!
//! Every mount is an instance of its own. Opening `ptmx` makes a terminal; its node goes when the master is closed.

use super::pty::{Master, Pty, Slave};
use crate::abi::Errno;
use crate::fs::dev::{self, DeviceOpen};
use crate::fs::filesystem::{anonymous_device, device, device_parts};
use crate::fs::pseudo::{Entry, Listing, Meta, PseudoDir};
use crate::fs::{
    Attr, DentryPolicy, FileSystem, FsCx, Node, NodeKind, NodeOps, SetAttr, StatFs, Stream, TimeSpec,
};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::any::Any;

/// Level of the table of terminals of an instance.
const LEVEL: Level = Level(101);
/// Level of the attributes of a node.
const ATTR_LEVEL: Level = Level(102);

const MAGIC: u64 = 0x1cd1;
const S_IFCHR: u32 = 0o020_000;
const PTS_MAJOR: u64 = 136;
const TTY_MAJOR: u64 = 5;
const DT_CHR: u8 = 2;

/// Attributes of a node, which its owner may change.
struct DeviceNode(SpinLock<Attr>);

impl NodeOps for DeviceNode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self, _cx: &FsCx<'_>) -> Result<Attr, Errno> {
        Ok(*self.0.lock())
    }

    fn set_attr(&self, _cx: &FsCx<'_>, change: &SetAttr) -> Result<(), Errno> {
        let mut attr = self.0.lock();
        if let Some(mode) = change.mode {
            attr.mode = S_IFCHR | (mode & 0o7777);
        }
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        attr.atime = change.atime.unwrap_or(attr.atime);
        attr.mtime = change.mtime.unwrap_or(attr.mtime);
        attr.ctime = change.ctime.unwrap_or(attr.ctime);
        Ok(())
    }
}

/// Options of a mount.
#[derive(Clone, Copy)]
struct Options {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: u32,
    ptmx_mode: u32,
}

impl Options {
    /// Reads `gid=5,mode=620,ptmxmode=666`; what is not known is ignored, as `newinstance` is.
    fn parse(text: &[u8]) -> Self {
        let mut options = Self { uid: None, gid: None, mode: 0o600, ptmx_mode: 0 };
        let text = core::str::from_utf8(text).unwrap_or_default();
        for (name, value) in text.split(',').filter_map(|option| option.split_once('=')) {
            match name {
                "uid" => options.uid = value.parse().ok(),
                "gid" => options.gid = value.parse().ok(),
                "mode" => options.mode = u32::from_str_radix(value, 8).unwrap_or(options.mode),
                "ptmxmode" => options.ptmx_mode = u32::from_str_radix(value, 8).unwrap_or(options.ptmx_mode),
                _ => {}
            }
        }
        options
    }
}

/// A slave's node, and its terminal.
struct Slot {
    pty: Weak<Pty>,
    node: Arc<Node>,
}

/// The terminals of an instance.
pub(super) struct Table {
    dev: u64,
    options: Options,
    ptmx: Arc<Node>,
    slots: SpinLock<BTreeMap<u32, Slot>>,
}

fn device_node(dev: u64, ino: u64, rdev: u64, mode: u32, (uid, gid): (u32, u32)) -> Arc<Node> {
    let now = TimeSpec::now();
    let attr = Attr {
        dev,
        ino,
        mode: S_IFCHR | mode,
        nlink: 1,
        uid,
        gid,
        rdev,
        blksize: 1024,
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    };
    Node::new(Arc::new(DeviceNode(SpinLock::new(ATTR_LEVEL, attr))), NodeKind::CharDevice(rdev))
}

impl Table {
    /// Takes a terminal's node away.
    pub(super) fn remove(&self, number: u32) {
        let slot = self.slots.lock().remove(&number);
        drop(slot);
    }
}

struct Root(Arc<Table>);

impl Listing for Root {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        if name == b"ptmx" {
            return Ok(self.0.ptmx.clone());
        }
        let number: u32 =
            core::str::from_utf8(name).ok().and_then(|name| name.parse().ok()).ok_or(Errno::ENOENT)?;
        self.0.slots.lock().get(&number).map(|slot| slot.node.clone()).ok_or(Errno::ENOENT)
    }

    fn entries(&self, _cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        let ptmx = Entry { name: b"ptmx".to_vec(), ino: 2, kind: DT_CHR };
        let slots = self.0.slots.lock();
        let slaves = slots.keys().map(|number| Entry {
            name: format!("{number}").into_bytes(),
            ino: u64::from(*number) + 3,
            kind: DT_CHR,
        });
        Ok(core::iter::once(ptmx).chain(slaves).collect())
    }
}

/// An instance of devpts.
pub struct DevPts {
    root: Arc<Node>,
    table: Arc<Table>,
}

impl DevPts {
    /// An instance without terminals; `options` are those of mount(8), such as `gid=5,mode=620,ptmxmode=666`.
    #[must_use]
    pub fn new(options: &[u8]) -> Arc<Self> {
        register();
        let options = Options::parse(options);
        let dev = anonymous_device();
        let owner = (options.uid.unwrap_or(0), options.gid.unwrap_or(0));
        let ptmx = device_node(dev, 2, device(TTY_MAJOR, 2), options.ptmx_mode, owner);
        let table = Arc::new(Table { dev, options, ptmx, slots: SpinLock::new(LEVEL, BTreeMap::new()) });
        Arc::new(Self { root: PseudoDir::node(Meta::new(dev, 1, 0o755), Root(table.clone())), table })
    }

    /// Makes a terminal, owned by `uid` and `gid`; its slave is locked.
    ///
    /// # Errors
    /// `ENOSPC` when there are too many.
    pub fn open_master(&self, uid: u32, gid: u32) -> Result<Arc<Master>, Errno> {
        let table = &self.table;
        let mut number = 0;
        loop {
            number = {
                let slots = table.slots.lock();
                (number..).find(|number| !slots.contains_key(number)).unwrap_or(0)
            };
            let pty = Pty::new(number)?;
            let owner = (table.options.uid.unwrap_or(uid), table.options.gid.unwrap_or(gid));
            let (ino, rdev) = (u64::from(number) + 3, device(PTS_MAJOR, u64::from(number)));
            let node = device_node(table.dev, ino, rdev, table.options.mode, owner);
            let mut slots = table.slots.lock();
            if slots.contains_key(&number) {
                continue;
            }
            slots.insert(number, Slot { pty: Arc::downgrade(&pty), node });
            drop(slots);
            return Ok(Master::listed(pty, Arc::downgrade(table)));
        }
    }

    /// A terminal whose master the kernel drives, for a container: its master, and its slave opened once.
    ///
    /// # Errors
    /// `ENOSPC` when there are too many.
    pub fn open_pair(&self, uid: u32, gid: u32) -> Result<(Arc<Master>, Arc<Slave>), Errno> {
        let master = self.open_master(uid, gid)?;
        master.pty().unlock();
        let slave = master.pty().open_slave()?;
        Ok((master, slave))
    }

    fn open_slave(&self, number: u64) -> Result<Arc<Slave>, Errno> {
        let number = u32::try_from(number).map_err(|_| Errno::ENXIO)?;
        let pty = self.table.slots.lock().get(&number).and_then(|slot| slot.pty.upgrade());
        pty.ok_or(Errno::EIO)?.open_slave()
    }
}

impl FileSystem for DevPts {
    fn type_name(&self) -> &str {
        "devpts"
    }

    fn root(&self) -> Arc<Node> {
        self.root.clone()
    }

    fn statfs(&self, _cx: &FsCx<'_>) -> Result<StatFs, Errno> {
        Ok(StatFs { magic: MAGIC, block_size: 4096, name_max: 255, ..StatFs::default() })
    }

    fn dentry_policy(&self) -> DentryPolicy {
        DentryPolicy::Never
    }

    fn options(&self) -> String {
        let options = &self.table.options;
        let gid = options.gid.map(|gid| format!("gid={gid},")).unwrap_or_default();
        format!("{gid}mode={:03o},ptmxmode={:03o}", options.mode, options.ptmx_mode)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Announces who opens terminals' devices. Once is enough; more does no harm.
pub fn register() {
    static DONE: chitin_core::once::Once<()> = chitin_core::once::Once::new();
    if DONE.set(()) {
        dev::register(PTS_MAJOR, 0..=0xf_ffff, open_pts);
        dev::register(TTY_MAJOR, 0..=1, open_controlling);
        dev::register(TTY_MAJOR, 2..=2, open_ptmx);
    }
}

fn open_pts(request: &DeviceOpen<'_>) -> Result<Arc<dyn Stream>, Errno> {
    let fs = request.path.mount.superblock.fs.as_any();
    let (_, minor) = device_parts(request.device);
    Ok(fs.downcast_ref::<DevPts>().ok_or(Errno::ENXIO)?.open_slave(minor)?)
}

fn open_ptmx(request: &DeviceOpen<'_>) -> Result<Arc<dyn Stream>, Errno> {
    let creds = request.cx.creds;
    let fs = request.path.mount.superblock.fs.as_any();
    if let Some(fs) = fs.downcast_ref::<DevPts>() {
        return Ok(fs.open_master(creds.fsuid, creds.fsgid)?);
    }
    // A node outside of devpts means the instance that is mounted beside it.
    let beside = request.path.parent(request.path).child(request.cx, b"pts")?;
    let fs = beside.mount.superblock.fs.as_any();
    Ok(fs.downcast_ref::<DevPts>().ok_or(Errno::ENXIO)?.open_master(creds.fsuid, creds.fsgid)?)
}

/// `/dev/tty`: the controlling terminal of the caller.
fn open_controlling(request: &DeviceOpen<'_>) -> Result<Arc<dyn Stream>, Errno> {
    let caller = request.cx.caller;
    let pty = super::pty::of_session(caller.container, caller.sid).ok_or(Errno::ENXIO)?;
    Ok(pty.open_slave()?)
}
