//! `/sys/block`, `/sys/class/block` and `/sys/dev/block`: the block devices of a container.

use super::Builder;
use crate::abi::Errno;
use crate::fs::block::Disk;
use crate::fs::filesystem::device_parts;
use crate::fs::node::{LinkTarget, dirent_kind};
use crate::fs::pseudo::{Entry, Listing, PseudoDir, PseudoFile, PseudoLink, Text};
use crate::fs::{FsCx, Node};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Entries by names that are not known beforehand.
struct Named(Vec<(String, Arc<Node>)>);

impl Listing for Named {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let found = self.0.iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, node)| node.clone()).ok_or(Errno::ENOENT)
    }

    fn entries(&self, cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        let entry = |(name, node): &(String, Arc<Node>)| Entry {
            name: name.as_bytes().to_vec(),
            ino: node.ops.attr(cx).map_or(0, |attr| attr.ino),
            kind: dirent_kind(node.type_bits()),
        };
        Ok(self.0.iter().map(entry).collect())
    }
}

/// `/sys/block`: the directories themselves.
pub(super) fn directories(at: &Builder, disks: &[Arc<Disk>]) -> Arc<Node> {
    let entries = disks.iter().map(|disk| (disk.name(), directory(at, disk))).collect();
    PseudoDir::node(at.meta(0o555), Named(entries))
}

/// `/sys/class/block`: links by name.
pub(super) fn by_name(at: &Builder, disks: &[Arc<Disk>]) -> Arc<Node> {
    let entries = disks.iter().map(|disk| (disk.name(), link(at, disk))).collect();
    PseudoDir::node(at.meta(0o555), Named(entries))
}

/// `/sys/dev/block`: links by number.
pub(super) fn by_number(at: &Builder, disks: &[Arc<Disk>]) -> Arc<Node> {
    let entries = disks.iter().map(|disk| (number(disk), link(at, disk))).collect();
    PseudoDir::node(at.meta(0o555), Named(entries))
}

fn number(disk: &Disk) -> String {
    let (major, minor) = device_parts(disk.number());
    format!("{major}:{minor}")
}

fn link(at: &Builder, disk: &Disk) -> Arc<Node> {
    let target = format!("../../block/{}", disk.name()).into_bytes();
    PseudoLink::node(at.meta(0), move |_| Ok(LinkTarget::Path(target.clone())))
}

fn directory(at: &Builder, disk: &Arc<Disk>) -> Arc<Node> {
    let geometry = *disk.geometry();
    let line = |value: u64| at.text(format!("{value}\n"));
    let queue = at.dir(alloc::vec![
        ("discard_granularity", line(u64::from(geometry.block_size))),
        ("discard_max_bytes", line(u64::from(geometry.max_discard_sectors) * 512)),
        ("hw_sector_size", line(u64::from(geometry.block_size))),
        ("logical_block_size", line(u64::from(geometry.block_size))),
        ("max_sectors_kb", line(512)),
        ("minimum_io_size", line(u64::from(geometry.physical_block_size))),
        ("optimal_io_size", line(0)),
        ("physical_block_size", line(u64::from(geometry.physical_block_size))),
        ("read_ahead_kb", line(1024)),
        ("rotational", line(0)),
        ("write_cache", at.text(String::from("write back\n"))),
        ("write_zeroes_max_bytes", line(u64::from(geometry.max_zero_sectors) * 512)),
    ]);
    let serial = {
        let disk = disk.clone();
        let make = move |cx: &FsCx<'_>| Ok(disk.serial(cx.sleeper).into_bytes());
        PseudoFile::node(at.meta(0o444), Text(make))
    };
    let (major, minor) = device_parts(disk.number());
    let name = disk.name();
    at.dir(alloc::vec![
        ("alignment_offset", line(0)),
        ("dev", at.text(format!("{}\n", number(disk)))),
        ("queue", queue),
        ("range", line(16)),
        ("removable", line(0)),
        ("ro", line(u64::from(geometry.is_read_only))),
        ("serial", serial),
        ("size", line(geometry.sectors)),
        ("uevent", at.text(format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE=disk\n"))),
    ])
}
