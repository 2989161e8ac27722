//! `/sys/class/net`: the interfaces of a network namespace, which makes the values.

use super::Builder;
use crate::abi::Errno;
use crate::fs::pseudo::{Entry, Listing, PseudoDir, PseudoFile, Text};
use crate::fs::{FsCx, Node};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The interfaces of a network namespace.
pub trait LinkSource: Send + Sync {
    /// Their names.
    fn links(&self) -> Vec<String>;

    /// What a file of an interface's directory says; `None` where reading it fails with `EINVAL`.
    fn value(&self, link: &str, file: &str) -> Option<String>;
}

const FILES: [&str; 12] = [
    "addr_len",
    "address",
    "broadcast",
    "carrier",
    "dev_id",
    "flags",
    "ifindex",
    "iflink",
    "mtu",
    "operstate",
    "tx_queue_len",
    "type",
];
const STATISTICS: [&str; 8] = [
    "rx_bytes",
    "rx_dropped",
    "rx_errors",
    "rx_packets",
    "tx_bytes",
    "tx_dropped",
    "tx_errors",
    "tx_packets",
];

fn file(at: &Builder, source: &Arc<dyn LinkSource>, link: &str, name: String) -> Arc<Node> {
    let (source, link) = (source.clone(), String::from(link));
    let make = move |_: &FsCx<'_>| -> Result<Vec<u8>, Errno> {
        source.value(&link, &name).map(|value| format!("{value}\n").into_bytes()).ok_or(Errno::EINVAL)
    };
    PseudoFile::node(at.meta(0o444), Text(make))
}

/// The directory, with the interfaces that the namespace has when the file system is made.
pub(super) fn class(at: &Builder, source: &Arc<dyn LinkSource>) -> Arc<Node> {
    let links = source.links().into_iter().map(|name| (interface(at, source, &name), name)).collect();
    PseudoDir::node(at.meta(0o555), Links(links))
}

/// Interfaces' directories, with their names.
struct Links(Vec<(Arc<Node>, String)>);

impl Listing for Links {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let found = self.0.iter().find(|(_, link)| link.as_bytes() == name);
        found.map(|(node, _)| node.clone()).ok_or(Errno::ENOENT)
    }

    fn entries(&self, cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        let entry = |(node, name): &(Arc<Node>, String)| Entry {
            name: name.as_bytes().to_vec(),
            ino: node.ops.attr(cx).map_or(0, |attr| attr.ino),
            kind: crate::fs::node::dirent_kind(node.type_bits()),
        };
        Ok(self.0.iter().map(entry).collect())
    }
}

fn interface(at: &Builder, source: &Arc<dyn LinkSource>, link: &str) -> Arc<Node> {
    let statistics = STATISTICS.map(|name| (name, file(at, source, link, format!("statistics/{name}"))));
    let statistics = at.dir(statistics.to_vec());
    let mut files: Vec<(&'static str, Arc<Node>)> =
        FILES.iter().map(|name| (*name, file(at, source, link, String::from(*name)))).collect();
    files.push(("statistics", statistics));
    at.dir(files)
}
