//! sysfs and the cgroup file system (sysfs(5), cgroups(7)): what programs read to size themselves.

mod block;
mod cgroup;
mod cpu;
mod net;

use crate::abi::Errno;
use crate::fs::block::Disk;
use crate::fs::filesystem::{FileSystem, anonymous_device};
use crate::fs::pseudo::{Meta, PseudoDir, PseudoFile, PseudoFs, Text};
use crate::fs::{FsCx, Node};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;

pub use cgroup::{CgroupSource, cgroup};
pub use net::LinkSource;

const SYSFS_MAGIC: u64 = 0x6265_6572;

/// Builds nodes with rising inode numbers.
struct Builder {
    dev: u64,
    ino: Cell<u64>,
}

impl Builder {
    fn meta(&self, mode: u32) -> Meta {
        self.ino.set(self.ino.get() + 1);
        Meta::new(self.dev, self.ino.get(), mode)
    }

    fn text(&self, text: String) -> Arc<Node> {
        let make = move |_: &FsCx<'_>| -> Result<Vec<u8>, Errno> { Ok(text.clone().into_bytes()) };
        PseudoFile::node(self.meta(0o444), Text(make))
    }

    fn dir(&self, entries: Vec<(&'static str, Arc<Node>)>) -> Arc<Node> {
        PseudoDir::fixed(self.meta(0o555), entries)
    }
}

/// The sysfs of a container with those block devices, in a sandbox with that many CPUs.
#[must_use]
pub fn new(cpus: usize, links: &Arc<dyn LinkSource>, disks: &[Arc<Disk>]) -> Arc<dyn FileSystem> {
    let at = Builder { dev: anonymous_device(), ino: Cell::new(0) };
    let range = cgroup::cpu_list(cpus);
    let cpu = PseudoDir::node(at.meta(0o555), cpu::Cpus { dev: at.dev, count: cpus.max(1) });
    let node0 = at.dir(alloc::vec![
        ("cpulist", at.text(range)),
        ("cpumap", at.text(cpu::mask(cpus))),
        ("distance", at.text(String::from("10\n"))),
    ]);
    let node = at.dir(alloc::vec![
        ("node0", node0),
        ("online", at.text(String::from("0\n"))),
        ("possible", at.text(String::from("0\n"))),
    ]);
    let devices = at.dir(alloc::vec![("system", at.dir(alloc::vec![("cpu", cpu), ("node", node)]))]);
    let huge = at.dir(alloc::vec![
        ("defrag", at.text(String::from("always defer defer+madvise madvise [never]\n"))),
        ("enabled", at.text(String::from("always madvise [never]\n"))),
        ("hpage_pmd_size", at.text(String::from("2097152\n"))),
    ]);
    let kernel = at.dir(alloc::vec![
        ("mm", at.dir(alloc::vec![("transparent_hugepage", huge)])),
        ("ostype", at.text(String::from("Chitin\n"))),
    ]);
    let fs = at.dir(alloc::vec![("cgroup", at.dir(Vec::new()))]);
    let class = at.dir(alloc::vec![("block", block::by_name(&at, disks)), ("net", net::class(&at, links))]);
    let root = at.dir(alloc::vec![
        ("block", block::directories(&at, disks)),
        ("bus", at.dir(Vec::new())),
        ("class", class),
        ("dev", at.dir(alloc::vec![("block", block::by_number(&at, disks))])),
        ("devices", devices),
        ("firmware", at.dir(Vec::new())),
        ("fs", fs),
        ("kernel", kernel),
        ("module", at.dir(Vec::new())),
        ("power", at.dir(Vec::new())),
    ]);
    PseudoFs::new("sysfs", SYSFS_MAGIC, root)
}

/// An empty directory that stays empty: a mount that hides something, or one of a kind that is not there yet.
#[must_use]
pub fn empty(type_name: &'static str) -> Arc<dyn FileSystem> {
    let at = Builder { dev: anonymous_device(), ino: Cell::new(0) };
    PseudoFs::new(type_name, crate::fs::tmpfs::MAGIC, at.dir(Vec::new()))
}
