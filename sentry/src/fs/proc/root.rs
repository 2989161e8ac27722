//! `/proc` itself: a directory for each process, `self`, and the fixed files.

use super::source::ProcSource;
use super::{inode, process, sysctl, system};
use crate::abi::Errno;
use crate::fs::node::LinkTarget;
use crate::fs::pseudo::{Entry, Listing, Meta, PseudoDir, PseudoLink, StaticDir};
use crate::fs::{FsCx, Node};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

struct Root {
    dev: u64,
    source: Arc<dyn ProcSource>,
    fixed: StaticDir,
}

/// The root of a procfs.
pub(super) fn node(source: &Arc<dyn ProcSource>, dev: u64) -> Arc<Node> {
    let mut fixed = StaticDir(system::files(source, dev));
    type Target = fn(&dyn ProcSource, &FsCx<'_>) -> Result<LinkTarget, Errno>;
    let link = |ino, source: &Arc<dyn ProcSource>, target: Target| {
        let source = source.clone();
        PseudoLink::node(Meta::new(dev, ino, 0), move |cx: &FsCx<'_>| target(&*source, cx))
    };
    fixed.0.insert(
        "self",
        link(2, source, |source, cx| {
            caller(source, cx).map(|(pid, _)| LinkTarget::Path(format!("{pid}").into_bytes()))
        }),
    );
    fixed.0.insert(
        "thread-self",
        link(3, source, |source, cx| {
            let named = |(pid, tid)| LinkTarget::Path(format!("{pid}/task/{tid}").into_bytes());
            caller(source, cx).map(named)
        }),
    );
    fixed.0.insert("mounts", PseudoLink::fixed(Meta::new(dev, 4, 0), "self/mounts"));
    fixed.0.insert("net", PseudoLink::fixed(Meta::new(dev, 5, 0), "self/net"));
    fixed.0.insert("sys", sysctl::node(source, dev));
    fixed.0.extend(system::keys(source, dev));
    fixed.0.insert("sysvipc", system::sysvipc(source, dev));
    PseudoDir::node(Meta::new(dev, 1, 0o555), Root { dev, source: source.clone(), fixed })
}

/// Process and thread id of the caller; `ENOENT` for the kernel itself, and for who is not seen here.
fn caller(source: &dyn ProcSource, cx: &FsCx<'_>) -> Result<(u32, u32), Errno> {
    let pid = source.shown(cx.caller.pid);
    if pid == 0 { Err(Errno::ENOENT) } else { Ok((pid, source.shown(cx.caller.tid))) }
}

impl Listing for Root {
    fn lookup(&self, cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        match parse_id(name) {
            Some(pid) => {
                let task = self.source.task(pid).ok_or(Errno::ENOENT)?;
                Ok(process::process_dir(&self.source, self.dev, &task))
            }
            None => self.fixed.lookup(cx, name),
        }
    }

    fn entries(&self, cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        let mut entries = self.fixed.entries(cx)?;
        let pids = self.source.pids().into_iter();
        entries.extend(pids.map(|pid| Entry {
            name: format!("{pid}").into_bytes(),
            ino: inode(pid, 0),
            kind: 4,
        }));
        Ok(entries)
    }
}

/// A decimal number without sign or leading zero, as the names of processes, threads and descriptors are.
pub(super) fn parse_id(name: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(name).ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
