//! Behaviour of the VFS over tmpfs and overlay: random operations against a simple model, and cases by hand.

use super::lookup::{Follow, Resolve, Walker};
use super::names::{self, EXCHANGE, NOREPLACE, Side};
use super::node::NewNode;
use super::open::{How, open};
use super::overlay::OverlayFs;
use super::tmpfs::{Options, TmpFs};
use super::*;
use crate::abi::Errno;
use crate::abi::file::{O_CREAT, O_EXCL, O_PATH, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY};
use crate::mm::Budget;
use crate::platform::hosted;
use crate::security::Creds;
use crate::user::IoReader;
use crate::wait::Blocked;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// A file system mounted as the root of a process that is root.
struct World<'a> {
    cx: FsCx<'a>,
    root: Path,
}

fn blocked(result: Result<Arc<OpenFile>, Blocked>) -> Result<Arc<OpenFile>, Errno> {
    result.map_err(|blocked| match blocked {
        Blocked::Errno(errno) => errno,
        other => panic!("{other:?}"),
    })
}

impl World<'_> {
    fn find(&self, path: &str) -> Result<Path, Errno> {
        lookup::resolve(&self.cx, &self.root, path.as_bytes(), Follow::No)
    }

    fn open(&self, path: &str, flags: u32) -> Result<Arc<OpenFile>, Errno> {
        blocked(open(&self.cx, &self.root, &self.root, path.as_bytes(), &How::flags(flags)))
    }

    fn with_parent<T>(
        &self,
        path: &str,
        f: impl FnOnce(&Path, &lookup::Last<'_>, lookup::Tail) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let root = self.root.clone();
        let mut walker = Walker::new(&self.cx, root.clone(), root, path.as_bytes(), Resolve::empty())?;
        let (last, tail) = walker.parent()?;
        f(walker.at(), &last, tail)
    }

    fn make(&self, path: &str, what: &NewNode) -> Result<(), Errno> {
        self.with_parent(path, |dir, last, tail| {
            names::create(&self.cx, dir, last, tail, what, 0o755).map(drop)
        })
    }

    fn unlink(&self, path: &str) -> Result<(), Errno> {
        self.with_parent(path, |dir, last, tail| names::unlink(&self.cx, dir, last, tail))
    }

    fn rmdir(&self, path: &str) -> Result<(), Errno> {
        self.with_parent(path, |dir, last, _| names::rmdir(&self.cx, dir, last))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        let target = self.find(from)?;
        self.with_parent(to, |dir, last, tail| names::link(&self.cx, &target, dir, last, tail))
    }

    fn rename(&self, from: &str, to: &str, flags: u32) -> Result<(), Errno> {
        self.with_parent(from, |dir, last, tail| {
            self.with_parent(to, |new_dir, new_last, new_tail| {
                let from = Side { dir, last, tail };
                let to = Side { dir: new_dir, last: new_last, tail: new_tail };
                names::rename(&self.cx, &from, &to, flags)
            })
        })
    }

    fn write(&self, path: &str, flags: u32, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let file = self.open(path, O_WRONLY | flags)?;
        let mut from = IoReader::kernel(bytes);
        let done = io::write_at(&self.cx, &file, io::WriteAt::Offset(offset), &mut from, u64::MAX);
        assert_eq!(done, Ok((offset + bytes.len() as u64, bytes.len())));
        Ok(())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let file = self.open(path, 0)?;
        let size = usize::try_from(self.find(path)?.node()?.ops.attr(&self.cx)?.size).unwrap();
        let mut bytes = vec![0; size + 10];
        let done = io::read_bytes(&self.cx, &file, 0, &mut bytes)?;
        assert_eq!(done, size);
        bytes.truncate(done);
        Ok(bytes)
    }

    fn list(&self, path: &str) -> Result<Vec<(String, u8)>, Errno> {
        let found = self.find(path)?;
        let dir = found.node()?.dir()?.clone();
        let mut names = Vec::new();
        let mut position = 0;
        // In small pieces, as a program with a small buffer would.
        loop {
            let mut room = 3;
            dir.read_dir(&self.cx, position, &mut |entry| {
                if room == 0 {
                    return false;
                }
                room -= 1;
                position = entry.next;
                names.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.kind));
                true
            })?;
            if room > 0 {
                break;
            }
        }
        names.retain(|(name, _)| name != "." && name != "..");
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "a name was listed twice in {path}");
        Ok(names)
    }

    /// Everything as text: type, links, contents.
    fn dump(&self, path: &str, into: &mut String) {
        for (name, kind) in self.list(path).unwrap() {
            let child = format!("{path}/{name}");
            let node = self.find(&child).unwrap().node().unwrap().clone();
            let attr = node.ops.attr(&self.cx).unwrap();
            assert_eq!(u32::from(kind) << 12, node.type_bits());
            assert_eq!(attr.mode & node::S_IFMT, node.type_bits());
            match &node.kind {
                NodeKind::Dir(_) => {
                    into.push_str(&format!("{child}/\n"));
                    self.dump(&child, into);
                }
                NodeKind::File(_) => {
                    let bytes = self.read(&child).unwrap();
                    let text = short(&bytes);
                    into.push_str(&format!("{child} {} {text:?}\n", attr.nlink));
                }
                _ => into.push_str(&format!("{child} other\n")),
            }
        }
    }
}

/// The same, as simply as can be.
#[derive(Clone, Default)]
struct Model {
    nodes: Vec<Kind>,
}

#[derive(Clone)]
enum Kind {
    Dir(BTreeMap<String, usize>),
    File(Vec<u8>, u32),
}

impl Model {
    fn new() -> Self {
        Self { nodes: vec![Kind::Dir(BTreeMap::new())] }
    }

    fn find(&self, path: &str) -> Result<usize, Errno> {
        let mut at = 0;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Kind::Dir(names) = &self.nodes[at] else { return Err(Errno::ENOTDIR) };
            at = *names.get(name).ok_or(Errno::ENOENT)?;
        }
        Ok(at)
    }

    fn parent<'p>(&self, path: &'p str) -> Result<(usize, &'p str), Errno> {
        let (dir, name) = path.rsplit_once('/').unwrap();
        let dir = self.find(dir)?;
        if matches!(self.nodes[dir], Kind::Dir(_)) { Ok((dir, name)) } else { Err(Errno::ENOTDIR) }
    }

    fn names(&mut self, dir: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[dir] {
            Kind::Dir(names) => names,
            Kind::File(..) => panic!(),
        }
    }

    fn is_dir(&self, id: usize) -> bool {
        matches!(self.nodes[id], Kind::Dir(_))
    }

    fn make(&mut self, path: &str, kind: Kind) -> Result<(), Errno> {
        let (dir, name) = self.parent(path)?;
        if self.names(dir).contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let id = self.nodes.len();
        self.nodes.push(kind);
        self.names(dir).insert(name.to_string(), id);
        Ok(())
    }

    fn unlinked(&mut self, id: usize) {
        if let Kind::File(_, links) = &mut self.nodes[id] {
            *links -= 1;
        }
    }

    fn unlink(&mut self, path: &str) -> Result<(), Errno> {
        let (dir, name) = self.parent(path)?;
        let id = *self.names(dir).get(name).ok_or(Errno::ENOENT)?;
        if self.is_dir(id) {
            return Err(Errno::EISDIR);
        }
        self.names(dir).remove(name);
        self.unlinked(id);
        Ok(())
    }

    fn rmdir(&mut self, path: &str) -> Result<(), Errno> {
        let (dir, name) = self.parent(path)?;
        let id = *self.names(dir).get(name).ok_or(Errno::ENOENT)?;
        match &self.nodes[id] {
            Kind::File(..) => return Err(Errno::ENOTDIR),
            Kind::Dir(names) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
            Kind::Dir(_) => {}
        }
        self.names(dir).remove(name);
        Ok(())
    }

    fn link(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let id = self.find(from)?;
        let (dir, name) = self.parent(to)?;
        if self.names(dir).contains_key(name) {
            return Err(Errno::EEXIST);
        }
        match &mut self.nodes[id] {
            Kind::Dir(_) => return Err(Errno::EPERM),
            Kind::File(_, links) => *links += 1,
        }
        self.names(dir).insert(name.to_string(), id);
        Ok(())
    }

    fn is_below(&self, dir: usize, at: usize) -> bool {
        dir == at
            || matches!(&self.nodes[at], Kind::Dir(names) if names.values().any(|child| self.is_below(dir, *child)))
    }

    fn rename(&mut self, from: &str, to: &str, flags: u32) -> Result<(), Errno> {
        let (dir, name) = self.parent(from)?;
        let (new_dir, new_name) = self.parent(to)?;
        let id = *self.names(dir).get(name).ok_or(Errno::ENOENT)?;
        let there = self.names(new_dir).get(new_name).copied();
        if flags & NOREPLACE != 0 && there.is_some() {
            return Err(Errno::EEXIST);
        }
        if flags & EXCHANGE != 0 && there.is_none() {
            return Err(Errno::ENOENT);
        }
        if self.is_below(new_dir, id) {
            return Err(Errno::EINVAL);
        }
        if there.is_some_and(|there| self.is_below(dir, there)) {
            return Err(if flags & EXCHANGE != 0 { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        if there == Some(id) {
            return Ok(());
        }
        if flags & EXCHANGE != 0 {
            self.names(dir).insert(name.to_string(), there.unwrap());
            self.names(new_dir).insert(new_name.to_string(), id);
            return Ok(());
        }
        if let Some(there) = there {
            match (self.is_dir(id), &self.nodes[there]) {
                (true, Kind::File(..)) => return Err(Errno::ENOTDIR),
                (false, Kind::Dir(_)) => return Err(Errno::EISDIR),
                (true, Kind::Dir(names)) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
            self.unlinked(there);
        }
        self.names(dir).remove(name);
        self.names(new_dir).insert(new_name.to_string(), id);
        Ok(())
    }

    fn write(&mut self, path: &str, flags: u32, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        if flags & O_CREAT != 0 {
            match self.make(path, Kind::File(Vec::new(), 1)) {
                Err(Errno::EEXIST) if flags & O_EXCL == 0 => {}
                other => other?,
            }
        }
        let id = self.find(path)?;
        let Kind::File(contents, _) = &mut self.nodes[id] else { return Err(Errno::EISDIR) };
        if flags & O_TRUNC != 0 {
            contents.clear();
        }
        if contents.len() < offset + bytes.len() {
            contents.resize(offset + bytes.len(), 0);
        }
        contents[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        match &self.nodes[self.find(path)?] {
            Kind::File(contents, _) => Ok(contents.clone()),
            Kind::Dir(_) => Err(Errno::EISDIR),
        }
    }

    fn dump(&self, path: &str, into: &mut String) {
        let Kind::Dir(names) = &self.nodes[self.find(path).unwrap()] else { panic!() };
        for (name, id) in names {
            let child = format!("{path}/{name}");
            match &self.nodes[*id] {
                Kind::Dir(_) => {
                    into.push_str(&format!("{child}/\n"));
                    self.dump(&child, into);
                }
                Kind::File(contents, links) => {
                    let text = short(contents);
                    into.push_str(&format!("{child} {links} {text:?}\n"));
                }
            }
        }
    }
}

/// Contents as text, without the zeroes.
fn short(bytes: &[u8]) -> String {
    let text: String = bytes.iter().filter(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
    format!("{}:{text}", bytes.len())
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit
    }

    fn path(&mut self) -> String {
        (0..1 + self.below(3)).map(|_| ["/a", "/b", "/c", "/d"][self.below(4)]).collect()
    }
}

/// Does the same to both and compares.
fn step(world: &World<'_>, model: &mut Model, random: &mut Random) {
    let (one, two) = (random.path(), random.path());
    let flags = [0, 0, NOREPLACE, EXCHANGE][random.below(4)];
    let what = random.below(9);
    let (real, wanted) = match what {
        0 | 1 => (world.make(&one, &NewNode::Dir), model.make(&one, Kind::Dir(BTreeMap::new()))),
        2 => (world.unlink(&one), model.unlink(&one)),
        3 => (world.rmdir(&one), model.rmdir(&one)),
        4 => (world.link(&one, &two), model.link(&one, &two)),
        5 => (world.rename(&one, &two, flags), model.rename(&one, &two, flags)),
        6 | 7 => {
            let flags = [0, O_CREAT, O_CREAT | O_TRUNC, O_CREAT | O_EXCL][random.below(4)];
            let offset = [0, 3, 5000][random.below(3)];
            let bytes = format!("{}", random.below(1000));
            let real = world.write(&one, flags, offset as u64, bytes.as_bytes());
            let wanted = model.write(&one, flags, offset, bytes.as_bytes());
            // Linux looks at the kind of the last name before or after others: for creation, EISDIR or EEXIST.
            (real, wanted)
        }
        _ => {
            let (real, wanted) = (world.read(&one), model.read(&one));
            if let (Ok(real), Ok(wanted)) = (&real, &wanted) {
                assert_eq!(real, wanted, "{one}");
            }
            (real.map(drop), wanted.map(drop))
        }
    };
    assert_eq!(real, wanted, "operation {what} on {one} and {two} with {flags}");
}

fn compare(world: &World<'_>, model: &Model) {
    let (mut real, mut wanted) = (String::new(), String::new());
    world.dump("", &mut real);
    model.dump("", &mut wanted);
    assert_eq!(real, wanted);
}

fn with_world(fs: Arc<dyn FileSystem>, sleeper: &Sleeper, f: impl FnOnce(&World<'_>)) {
    let creds = Creds::root();
    let root = Mount::of(fs, b"test", MountFlags::RELATIME).root_path();
    f(&World { cx: FsCx::kernel(sleeper, &creds), root });
}

fn tmpfs() -> Arc<TmpFs> {
    TmpFs::new(&Budget::root(), &Options::default())
}

#[test]
fn tmpfs_is_as_its_model() {
    for seed in 1..20 {
        hosted::run(seed, move |sleeper| {
            with_world(tmpfs(), sleeper, |world| {
                let (mut model, mut random) = (Model::new(), Random(seed * 7919));
                for _ in 0..600 {
                    step(world, &mut model, &mut random);
                }
                compare(world, &model);
            });
        });
    }
}

#[test]
fn overlay_is_as_its_model() {
    for seed in 1..20 {
        hosted::run(seed, move |sleeper| {
            let lower = tmpfs();
            let (mut model, mut random) = (Model::new(), Random(seed * 104_729));
            with_world(lower.clone(), sleeper, |world| {
                for _ in 0..150 {
                    step(world, &mut model, &mut random);
                }
            });
            let before = model.clone();
            let creds = Creds::root();
            let cx = FsCx::kernel(sleeper, &creds);
            let overlay = OverlayFs::new(&cx, vec![lower.clone()], &Budget::root()).unwrap();
            with_world(overlay, sleeper, |world| {
                compare(world, &model);
                for round in 0..400 {
                    step(world, &mut model, &mut random);
                    if round % 50 == 0 {
                        compare(world, &model);
                        // What is not in use is forgotten; what was changed must not be.
                        let superblock = &world.root.mount.superblock;
                        superblock.cache.empty(&superblock.root);
                    }
                }
                compare(world, &model);
            });
            with_world(lower, sleeper, |world| compare(world, &before));
        });
    }
}

#[test]
fn a_file_of_a_layer_keeps_its_identity() {
    hosted::run(1, |sleeper| {
        let lower = tmpfs();
        with_world(lower.clone(), sleeper, |world| {
            world.write("/f", O_CREAT, 0, b"lower").unwrap();
            world.link("/f", "/g").unwrap();
        });
        let creds = Creds::root();
        let cx = FsCx::kernel(sleeper, &creds);
        let overlay = OverlayFs::new(&cx, vec![lower], &Budget::root()).unwrap();
        with_world(overlay, sleeper, |world| {
            let attr = |path| world.find(path).unwrap().node().unwrap().ops.attr(&world.cx).unwrap();
            let before = attr("/f");
            let reader = world.open("/f", 0).unwrap();
            world.write("/g", 0, 0, b"upper").unwrap();
            assert_eq!((attr("/f").ino, attr("/g").ino), (before.ino, before.ino));
            assert_eq!(attr("/f").nlink, 2);
            let mut bytes = [0; 5];
            io::read_bytes(&world.cx, &reader, 0, &mut bytes).unwrap();
            assert_eq!(&bytes, b"upper", "an open file sees the copy");
            world.unlink("/f").unwrap();
            world.unlink("/g").unwrap();
            io::read_bytes(&world.cx, &reader, 0, &mut bytes).unwrap();
            assert_eq!(&bytes, b"upper");
            assert_eq!(world.find("/f").err(), Some(Errno::ENOENT).filter(|_| true).or(None));
        });
    });
}

#[test]
fn look_up_as_linux_does() {
    hosted::run(1, |sleeper| {
        with_world(tmpfs(), sleeper, |world| {
            world.make("/d", &NewNode::Dir).unwrap();
            world.write("/d/f", O_CREAT, 0, b"x").unwrap();
            world.make("/loop", &NewNode::Symlink(b"loop".to_vec())).unwrap();
            world.make("/to", &NewNode::Symlink(b"/d".to_vec())).unwrap();
            world.make("/dangling", &NewNode::Symlink(b"d/new".to_vec())).unwrap();
            let fails = |path: &str, flags| world.open(path, flags).err();
            assert_eq!(fails("/loop", 0), Some(Errno::ELOOP));
            assert_eq!(fails("/d/f/", 0), Some(Errno::ENOTDIR));
            assert_eq!(fails("/d/f/x", 0), Some(Errno::ENOTDIR));
            assert_eq!(fails("/d", O_RDWR), Some(Errno::EISDIR));
            assert_eq!(fails("/d", O_RDWR | O_CREAT), Some(Errno::EISDIR));
            assert_eq!(fails("/x/", O_RDWR | O_CREAT), Some(Errno::EISDIR));
            assert_eq!(fails("", 0), Some(Errno::ENOENT));
            assert_eq!(fails(&format!("/{}", "n".repeat(256)), 0), Some(Errno::ENAMETOOLONG));
            assert_eq!(fails("/to/../d/../../d/f", 0), None);
            assert_eq!(fails("/dangling", O_CREAT | O_EXCL | O_RDWR), Some(Errno::EEXIST));
            assert_eq!(fails("/dangling", O_CREAT | O_RDWR), None);
            assert!(world.find("/d/new").unwrap().node().is_ok());
            assert_eq!(world.make("/d/..", &NewNode::Dir), Err(Errno::EEXIST));
            assert_eq!(world.rmdir("/d/."), Err(Errno::EINVAL));
            assert_eq!(world.rmdir("/d/.."), Err(Errno::ENOTEMPTY));
            assert_eq!(world.unlink("/"), Err(Errno::EISDIR));
            assert_eq!(world.make("/s/", &NewNode::File), Err(Errno::ENOENT));
            assert!(world.make("/s/", &NewNode::Dir).is_ok());
            let place = world.open("/d/f", O_PATH).unwrap();
            assert!(place.is_path() && !place.is_readable());
            let unnamed = world.open("/d", O_TMPFILE | O_RDWR).unwrap();
            let path = unnamed.path().unwrap();
            let shown = String::from_utf8(path::display(path, &world.root)).unwrap();
            assert!(shown.starts_with("/d/#") && shown.ends_with(" (deleted)"), "{shown}");
            world
                .with_parent("/d/named", |dir, last, tail| names::link(&world.cx, path, dir, last, tail))
                .unwrap();
            assert!(world.find("/d/named").unwrap().node().is_ok());
        });
    });
}

#[test]
fn permissions_by_mode_and_capability() {
    hosted::run(1, |sleeper| {
        with_world(tmpfs(), sleeper, |world| {
            world.make("/d", &NewNode::Dir).unwrap();
            world.write("/d/f", O_CREAT, 0, b"x").unwrap();
            let user = Creds { uid: 5, euid: 5, fsuid: 5, effective: 0, ..Creds::root() };
            let as_user = World { cx: FsCx { creds: &user, ..world.cx }, root: world.root.clone() };
            assert!(as_user.open("/d/f", 0).is_ok());
            assert_eq!(as_user.open("/d/f", O_RDWR).err(), Some(Errno::EACCES));
            assert_eq!(as_user.unlink("/d/f"), Err(Errno::EACCES));
            assert_eq!(as_user.make("/d/g", &NewNode::File), Err(Errno::EACCES));
            let node = world.find("/d").unwrap().node().unwrap().clone();
            change::mode(&world.cx, None, &node, 0o1777).unwrap();
            assert!(as_user.make("/d/g", &NewNode::File).is_ok());
            assert_eq!(as_user.unlink("/d/f"), Err(Errno::EPERM), "sticky");
            assert!(as_user.unlink("/d/g").is_ok());
            change::mode(&world.cx, None, &node, 0o700).unwrap();
            assert_eq!(as_user.open("/d/f", 0).err(), Some(Errno::EACCES));
            assert_eq!(change::mode(&as_user.cx, None, &node, 0o777), Err(Errno::EPERM));
            world.root.mount.set_flags(MountFlags::READ_ONLY);
            assert_eq!(world.open("/d/f", O_RDWR).err(), Some(Errno::EROFS));
            assert_eq!(world.make("/e", &NewNode::Dir), Err(Errno::EROFS));
            assert_eq!(world.unlink("/d/f"), Err(Errno::EROFS));
        });
    });
}

#[test]
fn mounts_cover_and_uncover() {
    hosted::run(1, |sleeper| {
        let creds = Creds::root();
        let cx = FsCx::kernel(sleeper, &creds);
        let namespace = MountNamespace::new(Mount::of(tmpfs(), b"root", MountFlags::RELATIME));
        let at = namespace.mkdir_all(&cx, b"/m/n").unwrap();
        let world = World { cx, root: namespace.root() };
        world.write("/m/n/below", O_CREAT, 0, b"").unwrap();
        namespace.mount(sleeper, tmpfs(), b"tmpfs", MountFlags::RELATIME, &at).unwrap();
        assert_eq!(world.find("/m/n/below").unwrap_err_or_none(), Some(Errno::ENOENT));
        world.write("/m/n/above", O_CREAT, 0, b"").unwrap();
        assert_eq!(world.list("/m/n").unwrap(), vec![("above".to_string(), 8)]);
        assert_eq!(world.rmdir("/m/n"), Err(Errno::EBUSY));
        assert_eq!(world.rename("/m/n/above", "/m/x", 0), Err(Errno::EXDEV));
        let open = world.open("/m/n/above", 0).unwrap();
        let shown = path::display(open.path().unwrap(), &world.root);
        assert_eq!(shown, b"/m/n/above");
        let top = world.find("/m/n").unwrap();
        assert_eq!(top.parent(&world.root).dentry.name().as_ref(), b"m");
        assert_eq!(namespace.unmount(sleeper, top.clone(), mount::Unmount::WhenIdle), Err(Errno::EBUSY));
        drop(open);
        // A bind mount of a subtree, with its own flags.
        let bound = namespace.mkdir_all(&cx, b"/b").unwrap();
        let flags = Some(MountFlags::READ_ONLY);
        namespace.bind(sleeper, &world.find("/m").unwrap(), mount::Depth::Tree, flags, &bound).unwrap();
        assert_eq!(world.list("/b/n").unwrap(), vec![("above".to_string(), 8)]);
        assert_eq!(world.open("/b/x", O_RDWR | O_CREAT).err(), Some(Errno::EROFS));
        let (copy, paths) =
            namespace.copy(sleeper, core::slice::from_ref(&world.root), namespace.owner.clone()).unwrap();
        assert_eq!(copy.mounts().len(), namespace.mounts().len());
        namespace.unmount(sleeper, top, mount::Unmount::Detach).unwrap();
        assert!(world.find("/m/n/below").unwrap().node().is_ok());
        let other = World { cx, root: paths[0].clone() };
        assert!(other.find("/m/n/above").unwrap().node().is_ok(), "the copy keeps its mount");
    });
}

trait ErrOrNone {
    fn unwrap_err_or_none(self) -> Option<Errno>;
}

impl ErrOrNone for Result<Path, Errno> {
    fn unwrap_err_or_none(self) -> Option<Errno> {
        self.and_then(|path| path.node().map(drop)).err()
    }
}
