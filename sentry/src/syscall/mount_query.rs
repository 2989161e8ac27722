//! listmount and statmount: mounts by their unique ids, which are never used again (also `STATX_MNT_ID_UNIQUE`).

use super::place::Scope;
use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::fs::filesystem::device_parts;
use crate::fs::mount::Sharing;
use crate::fs::path::{self, Reach};
use crate::fs::{Attr, Mount, MountFlags, MountNamespace, Path};
use crate::security::Capability;
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use alloc::vec::Vec;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(457, "statmount", 4, statmount, Restart::Never, Support::Full),
    row!(458, "listmount", 4, listmount, Restart::Never, Support::Full),
];

/// Unique ids are above this, so that no old one is taken for one.
const UNIQUE_OFFSET: u64 = 1 << 31;
/// `LSMT_ROOT`: the root of the caller.
const OWN_ROOT: u64 = u64::MAX;

/// The id of a mount that no other mount has or had.
pub(super) fn unique_id(mount: &Mount) -> u64 {
    UNIQUE_OFFSET + u64::from(mount.id)
}

/// `struct mnt_id_req`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    id: u64,
    parameter: u64,
    namespace: u64,
}

/// Reads a request of the size that it names.
fn request(cx: &Cx<'_>, from: UserPtr<u32>) -> Result<Request, Errno> {
    const FIRST_SIZE: usize = 24;
    let size = usize::try_from(cx.user().read(from)?).map_err(|_| Errno::E2BIG)?;
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < FIRST_SIZE {
        return Err(Errno::EINVAL);
    }
    let mut bytes = alloc::vec![0; size];
    cx.user().read_bytes(from.addr(), &mut bytes)?;
    if bytes.get(size_of::<Request>()..).unwrap_or_default().iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    bytes.resize(size_of::<Request>(), 0);
    let request = Request::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)?;
    if request.spare != 0 || request.id <= UNIQUE_OFFSET {
        return Err(Errno::EINVAL);
    }
    Ok(request)
}

/// What a request is about: a namespace, and where the caller's look at it begins.
struct View {
    namespace: Arc<MountNamespace>,
    root: Path,
    /// The caller may see what is not below its root.
    sees_all: bool,
}

impl View {
    fn new(cx: &Cx<'_>, scope: &Scope, id: u64) -> Result<Self, Errno> {
        let own = scope.fs.namespace();
        let admin = |namespace: &MountNamespace| scope.creds.has_in(Capability::SysAdmin, &namespace.owner);
        if id == 0 || id == own.id {
            let (root, sees_all) = (scope.fs.root(), admin(&own));
            return Ok(Self { namespace: own, root, sees_all });
        }
        let processes = cx.task.container().processes();
        let mut spaces = processes.iter().filter_map(|process| process.any_thread()).map(|task| task.fs());
        let found = spaces.find(|fs| fs.namespace().id == id).ok_or(Errno::ENOENT)?;
        let namespace = found.namespace();
        if !admin(&namespace) {
            return Err(Errno::ENOENT);
        }
        Ok(Self { root: namespace.root(), namespace, sees_all: true })
    }

    fn mount(&self, id: u64) -> Result<Arc<Mount>, Errno> {
        let found = self.namespace.mounts().into_iter().find(|mount| unique_id(mount) == id);
        found.ok_or(Errno::ENOENT)
    }

    fn check(&self, at: &Path) -> Result<(), Errno> {
        if self.sees_all || is_below(at, &self.root) { Ok(()) } else { Err(Errno::EPERM) }
    }
}

/// Whether `at` is reached from `top`.
fn is_below(at: &Path, top: &Path) -> bool {
    let mut at = at.clone();
    while !Arc::ptr_eq(&at.mount, &top.mount) {
        match at.mount.place() {
            Some(place) => at = place,
            None => return false,
        }
    }
    Arc::ptr_eq(&at.dentry, &top.dentry) || top.dentry.is_ancestor_of(&at.dentry)
}

fn listmount(cx: &mut Cx<'_>, from: UserPtr<u32>, to: UserPtr<u64>, count: u64, flags: u32) -> SysResult {
    const REVERSE: u32 = 1;
    const MOST: u64 = 1_000_000;
    if flags & !REVERSE != 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > MOST {
        return Err(Errno::EOVERFLOW.into());
    }
    if !to.addr().is_range(count * 8) {
        return Err(Errno::EFAULT.into());
    }
    let request = request(cx, from)?;
    let last = request.parameter;
    if last != 0 && last <= UNIQUE_OFFSET {
        return Err(Errno::EINVAL.into());
    }
    let scope = Scope::new(cx);
    let view = View::new(cx, &scope, request.namespace)?;
    let top = match request.id {
        OWN_ROOT => view.root.clone(),
        id => view.mount(id)?.root_path(),
    };
    view.check(&top)?;
    let mut mounts = view.namespace.mounts();
    if flags & REVERSE != 0 {
        mounts.reverse();
        mounts.retain(|mount| last == 0 || unique_id(mount) < last);
    } else {
        mounts.retain(|mount| unique_id(mount) > last);
    }
    mounts.retain(|mount| unique_id(mount) != request.id && is_below(&mount.root_path(), &top));
    let count = usize::try_from(count).map_err(|_| Errno::EOVERFLOW)?;
    let ids: Vec<u64> = mounts.iter().take(count).map(|mount| unique_id(mount)).collect();
    cx.user().write_bytes(to.addr(), ids.as_bytes())?;
    Ok(ids.len())
}

/// What statmount(2) may be asked for.
mod ask {
    pub(super) const SB_BASIC: u64 = 1;
    pub(super) const MNT_BASIC: u64 = 2;
    pub(super) const PROPAGATE_FROM: u64 = 4;
    pub(super) const MNT_ROOT: u64 = 8;
    pub(super) const MNT_POINT: u64 = 0x10;
    pub(super) const FS_TYPE: u64 = 0x20;
    pub(super) const MNT_NS_ID: u64 = 0x40;
    pub(super) const MNT_OPTS: u64 = 0x80;
    pub(super) const FS_SUBTYPE: u64 = 0x100;
    pub(super) const SB_SOURCE: u64 = 0x200;
    pub(super) const OPT_ARRAY: u64 = 0x400;
    pub(super) const OPT_SEC_ARRAY: u64 = 0x800;
    pub(super) const SUPPORTED_MASK: u64 = 0x1000;
    /// Whatever is answered with text.
    pub(super) const STRINGS: u64 =
        MNT_ROOT | MNT_POINT | FS_TYPE | MNT_OPTS | FS_SUBTYPE | SB_SOURCE | OPT_ARRAY | OPT_SEC_ARRAY;
    pub(super) const SUPPORTED: u64 =
        SB_BASIC | MNT_BASIC | PROPAGATE_FROM | MNT_NS_ID | SUPPORTED_MASK | STRINGS;
}

/// `struct statmount` before its text.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Answer {
    size: u32,
    mnt_opts: u32,
    mask: u64,
    sb_dev: [u32; 2],
    sb_magic: u64,
    sb_flags: u32,
    fs_type: u32,
    mnt_id: u64,
    mnt_parent_id: u64,
    mnt_id_old: u32,
    mnt_parent_id_old: u32,
    mnt_attr: u64,
    mnt_propagation: u64,
    mnt_peer_group: u64,
    mnt_master: u64,
    propagate_from: u64,
    mnt_root: u32,
    mnt_point: u32,
    mnt_ns_id: u64,
    fs_subtype: u32,
    sb_source: u32,
    opt_num: u32,
    opt_array: u32,
    opt_sec_num: u32,
    opt_sec_array: u32,
    supported_mask: u64,
    spare: [u64; 45],
}

const ANSWER_SIZE: usize = size_of::<Answer>();
const _: () = assert!(ANSWER_SIZE == 512);

/// An answer as it is made.
struct Making {
    answer: Answer,
    text: Vec<u8>,
    /// Bytes that the caller has room for.
    room: u64,
}

impl Making {
    /// Adds a text unless it is empty; where it begins.
    fn add(&mut self, flag: u64, text: &[u8]) -> Result<u32, Errno> {
        // An empty text stands at the beginning for all that have none.
        if self.text.is_empty() {
            self.text.push(0);
        }
        if text.is_empty() {
            return Ok(0);
        }
        let start = u32::try_from(self.text.len()).map_err(|_| Errno::EOVERFLOW)?;
        self.text.extend_from_slice(text);
        if (ANSWER_SIZE + self.text.len()) as u64 >= self.room {
            return Err(Errno::EOVERFLOW);
        }
        self.text.push(0);
        self.answer.mask |= flag;
        Ok(start)
    }
}

fn attributes(flags: MountFlags) -> u64 {
    const PAIRS: [(MountFlags, u64); 7] = [
        (MountFlags::READ_ONLY, 1),
        (MountFlags::NO_SUID, 2),
        (MountFlags::NO_DEV, 4),
        (MountFlags::NO_EXEC, 8),
        (MountFlags::NO_ATIME, 0x10),
        (MountFlags::NO_DIRATIME, 0x80),
        (MountFlags::NO_SYMFOLLOW, 0x20_0000),
    ];
    let set = PAIRS.iter().filter(|(flag, _)| flags.contains(*flag));
    let told = set.fold(0, |told, (_, bit)| told | bit);
    let moves = flags.intersects(MountFlags::NO_ATIME | MountFlags::RELATIME);
    if moves { told } else { told | 0x20 }
}

/// The group that a slave hears from as far as the caller sees it.
fn heard_from(mount: &Mount, view: &View) -> u64 {
    let mut near = mount.sharing().master();
    while let Some(group) = near {
        if group.members().iter().any(|member| is_below(&member.root_path(), &view.root)) {
            return u64::from(group.id);
        }
        near = group.live_master();
    }
    0
}

fn propagation(sharing: &Sharing) -> u64 {
    let told = if sharing.group().is_some() { 1 << 20 } else { 0 }
        | if sharing.master().is_some() { 1 << 19 } else { 0 }
        | if matches!(sharing, Sharing::Unbindable) { 1 << 17 } else { 0 };
    if told == 0 { 1 << 18 } else { told }
}

fn numbers(cx: &Cx<'_>, scope: &Scope, view: &View, mount: &Arc<Mount>, asked: u64, to: &mut Answer) {
    if asked & ask::SB_BASIC != 0 {
        let fs = scope.cx(cx);
        let attr = mount.root.node().and_then(|node| node.ops.attr(&fs)).unwrap_or_else(|_| Attr::default());
        let (major, minor) = device_parts(attr.dev);
        to.sb_dev = [u32::try_from(major).unwrap_or(0), u32::try_from(minor).unwrap_or(0)];
        to.sb_magic = mount.superblock.fs.statfs(&fs).map_or(0, |stat| stat.magic);
        to.sb_flags = u32::from(mount.superblock.fs.is_read_only());
        to.mask |= ask::SB_BASIC;
    }
    if asked & ask::MNT_BASIC != 0 {
        let parent = mount.place().map_or_else(|| mount.clone(), |place| place.mount);
        let sharing = mount.sharing();
        to.mnt_id = unique_id(mount);
        to.mnt_parent_id = unique_id(&parent);
        to.mnt_id_old = mount.id;
        to.mnt_parent_id_old = parent.id;
        to.mnt_attr = attributes(mount.flags());
        to.mnt_propagation = propagation(&sharing);
        to.mnt_peer_group = sharing.group().map_or(0, |group| u64::from(group.id));
        to.mnt_master = sharing.master().map_or(0, |group| u64::from(group.id));
        to.mask |= ask::MNT_BASIC;
    }
    if asked & ask::PROPAGATE_FROM != 0 {
        to.propagate_from = heard_from(mount, view);
        to.mask |= ask::PROPAGATE_FROM;
    }
}

fn texts(view: &View, mount: &Arc<Mount>, asked: u64, making: &mut Making) -> Result<(), Errno> {
    let fs = &mount.superblock.fs;
    if asked & ask::FS_TYPE != 0 {
        let name = fs.type_name();
        let name = name.split_once('.').map_or(name, |(kind, _)| kind);
        making.answer.fs_type = making.add(ask::FS_TYPE, name.as_bytes())?;
    }
    if asked & ask::MNT_ROOT != 0 {
        let whole = Path { mount: mount.clone(), dentry: mount.superblock.root.clone() };
        let text = path::display(&mount.root_path(), &whole);
        let is_whole = Arc::ptr_eq(&mount.root, &mount.superblock.root);
        making.answer.mnt_root = making.add(ask::MNT_ROOT, if is_whole { b"/" } else { &text })?;
    }
    if asked & ask::MNT_POINT != 0 {
        let (text, reach) = path::text(&mount.root_path(), &view.root);
        let text = if reach == Reach::Inside { &*text } else { b"" };
        making.answer.mnt_point = making.add(ask::MNT_POINT, text)?;
    }
    let options = fs.options();
    if asked & ask::MNT_OPTS != 0 {
        making.answer.mnt_opts = making.add(ask::MNT_OPTS, options.as_bytes())?;
    }
    if asked & ask::OPT_ARRAY != 0 {
        let listed = options.replace(',', "\0");
        making.answer.opt_array = making.add(ask::OPT_ARRAY, listed.as_bytes())?;
        let count = options.split(',').filter(|option| !option.is_empty()).count();
        making.answer.opt_num = u32::try_from(count).unwrap_or(u32::MAX);
    }
    if asked & ask::OPT_SEC_ARRAY != 0 {
        making.answer.opt_sec_array = making.add(ask::OPT_SEC_ARRAY, b"")?;
    }
    if asked & ask::FS_SUBTYPE != 0 {
        let subtype = fs.type_name().split_once('.').map_or("", |(_, subtype)| subtype);
        making.answer.fs_subtype = making.add(ask::FS_SUBTYPE, subtype.as_bytes())?;
    }
    if asked & ask::SB_SOURCE != 0 {
        let source: &[u8] = if mount.source.is_empty() { b"none" } else { &mount.source };
        making.answer.sb_source = making.add(ask::SB_SOURCE, source)?;
    }
    Ok(())
}

fn statmount(cx: &mut Cx<'_>, from: UserPtr<u32>, to: UserAddr, room: u64, flags: u32) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let request = request(cx, from)?;
    let scope = Scope::new(cx);
    let view = View::new(cx, &scope, request.namespace)?;
    if !to.is_range(room) {
        return Err(Errno::EFAULT.into());
    }
    let asked = request.parameter;
    if asked & ask::STRINGS != 0 && room == ANSWER_SIZE as u64 {
        return Err(Errno::EOVERFLOW.into());
    }
    let mount = view.mount(request.id)?;
    view.check(&mount.root_path())?;
    let mut making = Making { answer: Answer::new_zeroed(), text: Vec::new(), room };
    numbers(cx, &scope, &view, &mount, asked, &mut making.answer);
    texts(&view, &mount, asked, &mut making)?;
    let answer = &mut making.answer;
    if asked & ask::MNT_NS_ID != 0 {
        answer.mnt_ns_id = view.namespace.id;
        answer.mask |= ask::MNT_NS_ID;
    }
    if asked & ask::SUPPORTED_MASK != 0 {
        answer.supported_mask = ask::SUPPORTED;
        answer.mask |= ask::SUPPORTED_MASK;
    }
    let fixed = usize::try_from(room).unwrap_or(ANSWER_SIZE).min(ANSWER_SIZE);
    if !making.text.is_empty() {
        let place = to.checked_add(ANSWER_SIZE as u64).ok_or(Errno::EFAULT)?;
        cx.user().write_bytes(place, &making.text)?;
    }
    answer.size = u32::try_from(fixed + making.text.len()).map_err(|_| Errno::EOVERFLOW)?;
    cx.user().write_bytes(to, answer.as_bytes().get(..fixed).unwrap_or_default())?;
    Ok(0)
}
