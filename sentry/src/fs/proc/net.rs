//! `/proc/PID/net` (proc_net(5)): tables of the process's network namespace, which makes their text.

use super::source::ProcTask;
use crate::abi::Errno;
use crate::fs::pseudo::{Meta, PseudoFile, Text};
use crate::fs::{FsCx, Node};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The files that there are.
const FILES: [&str; 27] = [
    "arp",
    "dev",
    "dev_mcast",
    "icmp",
    "icmp6",
    "if_inet6",
    "igmp",
    "igmp6",
    "ipv6_route",
    "netlink",
    "netstat",
    "packet",
    "raw",
    "raw6",
    "route",
    "snmp",
    "snmp6",
    "sockstat",
    "sockstat6",
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "udplite",
    "udplite6",
    "unix",
    "wireless",
];

/// The files of the directory.
pub(super) fn files(dev: u64, tid: u32, task: &Arc<dyn ProcTask>) -> Vec<(&'static str, Arc<Node>)> {
    let file = |(index, name): (u64, &'static str)| {
        let task = task.clone();
        let make = move |_: &FsCx<'_>| -> Result<Vec<u8>, Errno> {
            Ok(task.net(name).map(String::into_bytes).unwrap_or_default())
        };
        (name, PseudoFile::node(Meta::new(dev, super::inode(tid, 90 + index), 0o444), Text(make)))
    };
    (0..).zip(FILES).map(file).collect()
}
