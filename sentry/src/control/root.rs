//! A container's tree of mounts, from its specification.

use super::Refusal;
use crate::abi::Errno;
use crate::fs::fuse::{Connection, Share};
use crate::fs::lookup::{self, Follow, Last, Tail};
use crate::fs::mount::Depth;
use crate::fs::names;
use crate::fs::node::NewNode;
use crate::fs::overlay::OverlayFs;
use crate::fs::tmpfs::{self, TmpFs};
use crate::fs::tty::DevPts;
use crate::fs::{FileSystem, FsCx, Mount, MountFlags, MountNamespace, Path, SetAttr, block, dev, proc, sys};
use crate::ipc::mqueue::MqueueFs;
use crate::mm::Budget;
use crate::task::Container;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_proto::control::{BlockNode, ContainerSpec, MountSource, RootWrites};

/// What a container's processes see.
pub(super) struct Tree {
    pub(super) namespace: Arc<MountNamespace>,
    /// What its cgroup files tell of.
    pub(super) cgroup: Arc<super::view::View>,
}

/// Builds the mounts of a container.
///
/// # Errors
/// What could not be mounted, naming its path.
pub(super) fn build(
    cx: &FsCx<'_>,
    files: &Arc<Connection>,
    spec: &ContainerSpec,
    container: &Arc<Container>,
    budget: &Arc<Budget>,
) -> Result<Tree, Refusal> {
    let view = super::view::View::new(container, budget);
    for device in &spec.devices {
        attach(device, container, budget)?;
    }
    let root = root_fs(cx, files, spec, budget)?;
    let namespace = MountNamespace::new(Mount::of(root, b"overlay", MountFlags::RELATIME));
    let tree = Tree { namespace, cgroup: view };
    for mount in &spec.mounts {
        let options = Options::parse(&mount.options);
        let fs: Arc<dyn FileSystem> = match &mount.source {
            MountSource::Proc => proc::new(&tree.cgroup.proc_source()),
            MountSource::Sysfs => {
                let disks = block::owned_by(owner(container));
                sys::new(crate::platform::get().cpus(), &tree.cgroup.link_source(), &disks)
            }
            MountSource::Cgroup => sys::cgroup(&tree.cgroup.cgroup_source()),
            MountSource::Tmpfs => new_tmpfs(&options, budget)?,
            MountSource::Mqueue => MqueueFs::new(&container.ipc.mqueues),
            MountSource::Devpts => DevPts::new(options.rest.join(",").as_bytes()),
            MountSource::Share(name) => open_share(cx, files, name)?,
        };
        let at = mount_point(cx, &tree.namespace, mount.destination.as_bytes(), &fs)?;
        let source = options.source(&mount.source);
        tree.namespace
            .mount(cx.sleeper, fs, source.as_bytes(), options.flags, &at)
            .map_err(Refusal::of(format!("mounting {}", mount.destination)))?;
        if mount.destination == "/dev" && mount.source == MountSource::Tmpfs {
            find(cx, &tree.namespace, b"/dev")
                .and_then(|dev| dev::tree::populate(cx, &dev))
                .map_err(Refusal::of("devices in /dev"))?;
        }
    }
    for device in &spec.devices {
        make_device(cx, &tree.namespace, device)
            .map_err(Refusal::of(format!("block device {}", device.path)))?;
    }
    for path in &spec.masked_paths {
        mask(cx, &tree.namespace, path)?;
    }
    for path in &spec.readonly_paths {
        make_read_only(cx, &tree.namespace, path)?;
    }
    if spec.root.writes == RootWrites::ReadOnly {
        let root = tree.namespace.root_mount();
        root.set_flags(root.flags() | MountFlags::READ_ONLY);
    }
    Ok(tree)
}

/// Identity of a container, as an owner of block devices.
pub(super) fn owner(container: &Arc<Container>) -> usize {
    Arc::as_ptr(container).addr()
}

/// Makes what is in a slot a device of the container.
fn attach(device: &BlockNode, container: &Arc<Container>, budget: &Arc<Budget>) -> Result<(), Refusal> {
    let slot = usize::try_from(device.slot).unwrap_or(usize::MAX);
    let port = crate::platform::get().block(slot).ok_or(Errno::ENODEV);
    port.and_then(|port| block::attach(slot, port, owner(container), budget))
        .map(drop)
        .map_err(Refusal::of(format!("block device {} in slot {slot}", device.path)))
}

/// Makes the special file of a block device, in place of one that is there.
fn make_device(cx: &FsCx<'_>, namespace: &MountNamespace, device: &BlockNode) -> Result<(), Errno> {
    let slot = usize::try_from(device.slot).unwrap_or(usize::MAX);
    let cut = device.path.rfind('/').map_or(0, |at| at + 1);
    let (dir, name) = device.path.split_at(cut);
    let dir = namespace.mkdir_all(cx, dir.as_bytes())?;
    let last = Last::Name(Cow::Borrowed(name.as_bytes()));
    let new = NewNode::BlockDevice(block::number(slot));
    let made = match names::create(cx, &dir, &last, Tail::Plain, &new, device.mode) {
        Err(Errno::EEXIST) => {
            names::unlink(cx, &dir, &last, Tail::Plain)?;
            names::create(cx, &dir, &last, Tail::Plain, &new, device.mode)?
        }
        made => made?,
    };
    let change = SetAttr {
        mode: Some(device.mode & 0o7777),
        uid: Some(device.uid),
        gid: Some(device.gid),
        ..SetAttr::default()
    };
    made.node()?.ops.set_attr(cx, &change)
}

fn open_share(cx: &FsCx<'_>, files: &Arc<Connection>, name: &str) -> Result<Arc<Share>, Refusal> {
    Share::open(files, cx, name).map_err(Refusal::of(format!("share {name:?}")))
}

fn root_fs(
    cx: &FsCx<'_>,
    files: &Arc<Connection>,
    spec: &ContainerSpec,
    budget: &Arc<Budget>,
) -> Result<Arc<dyn FileSystem>, Refusal> {
    let mut layers: Vec<Arc<dyn FileSystem>> = Vec::new();
    for name in &spec.root.shares {
        layers.push(open_share(cx, files, name)?);
    }
    let single =
        layers.first().cloned().ok_or_else(|| Refusal::new(Errno::EINVAL, "the root has no share"))?;
    match spec.root.writes {
        RootWrites::Through if layers.len() == 1 => Ok(single),
        RootWrites::Through => Err(Refusal::new(Errno::EINVAL, "writes through need a root of one share")),
        RootWrites::Overlay | RootWrites::ReadOnly => {
            let overlay = OverlayFs::new(cx, layers, budget);
            Ok(overlay.map_err(Refusal::of(String::from("the layers of the root")))?)
        }
    }
}

/// Options of a mount, sorted into what the mount and what the file system takes.
struct Options {
    flags: MountFlags,
    rest: Vec<String>,
}

impl Options {
    fn parse(options: &[String]) -> Self {
        let mut parsed = Self { flags: MountFlags::RELATIME, rest: Vec::new() };
        for option in options {
            match option.as_str() {
                "ro" => parsed.flags |= MountFlags::READ_ONLY,
                "rw" => parsed.flags -= MountFlags::READ_ONLY,
                "nosuid" => parsed.flags |= MountFlags::NO_SUID,
                "nodev" => parsed.flags |= MountFlags::NO_DEV,
                "noexec" => parsed.flags |= MountFlags::NO_EXEC,
                "noatime" => parsed.flags = (parsed.flags - MountFlags::RELATIME) | MountFlags::NO_ATIME,
                "nodiratime" => parsed.flags |= MountFlags::NO_DIRATIME,
                "strictatime" => {
                    parsed.flags = (parsed.flags - MountFlags::RELATIME) | MountFlags::STRICT_ATIME
                }
                "relatime" => parsed.flags |= MountFlags::RELATIME,
                _ => parsed.rest.push(option.clone()),
            }
        }
        parsed
    }

    /// What `/proc/mounts` tells as the source.
    fn source(&self, source: &MountSource) -> String {
        String::from(match source {
            MountSource::Proc => "proc",
            MountSource::Sysfs => "sysfs",
            MountSource::Cgroup => "cgroup",
            MountSource::Tmpfs => "tmpfs",
            MountSource::Mqueue => "mqueue",
            MountSource::Devpts => "devpts",
            MountSource::Share(name) => name.as_str(),
        })
    }
}

fn new_tmpfs(options: &Options, budget: &Arc<Budget>) -> Result<Arc<dyn FileSystem>, Refusal> {
    let text = options.rest.join(",");
    let parsed = tmpfs::Options::default()
        .parse(text.as_bytes())
        .map_err(Refusal::of(format!("tmpfs options {text:?}")))?;
    Ok(TmpFs::new(budget, &parsed))
}

/// Finds where to mount, making it when it is missing, as runc does.
fn mount_point(
    cx: &FsCx<'_>,
    namespace: &MountNamespace,
    path: &[u8],
    fs: &Arc<dyn FileSystem>,
) -> Result<Path, Refusal> {
    let shown = String::from_utf8_lossy(path).into_owned();
    let made =
        if fs.root().is_dir() { namespace.mkdir_all(cx, path) } else { make_file(cx, namespace, path) };
    made.map_err(Refusal::of(format!("mount point {shown}")))
}

fn make_file(cx: &FsCx<'_>, namespace: &MountNamespace, path: &[u8]) -> Result<Path, Errno> {
    let root = namespace.root();
    match find(cx, namespace, path) {
        Err(Errno::ENOENT) => {}
        found => return found,
    }
    let cut = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let (dir, name) = path.split_at(cut);
    let dir = lookup::mkdir_all(cx, &root, dir)?;
    names::create(cx, &dir, &Last::Name(Cow::Borrowed(name)), Tail::Plain, &NewNode::File, 0o644)?;
    find(cx, namespace, path)
}

fn find(cx: &FsCx<'_>, namespace: &MountNamespace, path: &[u8]) -> Result<Path, Errno> {
    lookup::resolve(cx, &namespace.root(), path, Follow::Yes)
}

/// Hides a path: an empty read-only tmpfs over a directory, `/dev/null` over a file.
fn mask(cx: &FsCx<'_>, namespace: &MountNamespace, path: &str) -> Result<(), Refusal> {
    let Ok(at) = find(cx, namespace, path.as_bytes()) else { return Ok(()) };
    let is_dir = at.node().is_ok_and(|node| node.is_dir());
    let done = if is_dir {
        let empty = sys::empty("tmpfs");
        namespace
            .mount(cx.sleeper, empty, b"tmpfs", MountFlags::READ_ONLY | MountFlags::RELATIME, &at)
            .map(drop)
    } else {
        find(cx, namespace, b"/dev/null")
            .and_then(|null| namespace.bind(cx.sleeper, &null, Depth::One, None, &at).map(drop))
    };
    done.map_err(Refusal::of(format!("masking {path}")))
}

fn make_read_only(cx: &FsCx<'_>, namespace: &MountNamespace, path: &str) -> Result<(), Refusal> {
    let Ok(at) = find(cx, namespace, path.as_bytes()) else { return Ok(()) };
    let flags = at.mount.flags() | MountFlags::READ_ONLY;
    namespace
        .bind(cx.sleeper, &at, Depth::One, Some(flags), &at)
        .map(drop)
        .map_err(Refusal::of(format!("making {path} read-only")))
}
