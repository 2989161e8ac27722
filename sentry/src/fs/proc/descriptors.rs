//! `fd`, `fdinfo` and the network files of a process.

use super::process::check_seen;
use super::root::parse_id;
use super::source::ProcTask;
use crate::abi::Errno;
use crate::fs::filesystem::device_parts;
use crate::fs::node::LinkTarget;
use crate::fs::pseudo::{Entry, Listing, Meta, PseudoDir, PseudoFile, PseudoLink, Text};
use crate::fs::{FdTable, FileBody, FsCx, Node, OpenFile, lock};
use crate::syscall::Fd;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;

struct Fds {
    meta: Meta,
    task: Arc<dyn ProcTask>,
}

/// Number of the mount that files without a name are on.
const ANONYMOUS_MOUNT: u32 = 1;

struct FdInfos {
    meta: Meta,
    task: Arc<dyn ProcTask>,
}

/// `/proc/PID/fd`.
pub(super) fn fd_dir(meta: Meta, task: &Arc<dyn ProcTask>) -> Arc<Node> {
    PseudoDir::node(meta, Fds { meta, task: task.clone() })
}

/// `/proc/PID/fdinfo`.
pub(super) fn fdinfo_dir(meta: Meta, task: &Arc<dyn ProcTask>) -> Arc<Node> {
    PseudoDir::node(meta, FdInfos { meta, task: task.clone() })
}

fn table(task: &dyn ProcTask) -> Result<Arc<FdTable>, Errno> {
    task.files().ok_or(Errno::ENOENT)
}

fn named(name: &[u8]) -> Result<Fd, Errno> {
    let number = parse_id(name).ok_or(Errno::ENOENT)?;
    i32::try_from(number).map(Fd).map_err(|_| Errno::ENOENT)
}

fn list(task: &dyn ProcTask, meta: &Meta, kind: u8) -> Result<Vec<Entry>, Errno> {
    let numbers = table(task)?.numbers().into_iter();
    let entry = |number: i32| Entry { name: format!("{number}").into_bytes(), ino: ino(meta, number), kind };
    Ok(numbers.map(entry).collect())
}

fn ino(meta: &Meta, number: i32) -> u64 {
    meta.ino + 1000 + u64::from(number.cast_unsigned())
}

impl Listing for Fds {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let fd = named(name)?;
        table(&*self.task)?.get(fd).map_err(|_| Errno::ENOENT)?;
        let task = self.task.clone();
        let meta = Meta { ino: ino(&self.meta, fd.0), mode: 0, ..self.meta };
        Ok(PseudoLink::node(meta, move |cx| {
            check_seen(&*task, cx)?;
            let file = table(&*task)?.get(fd).map_err(|_| Errno::ENOENT)?;
            Ok(LinkTarget::File(file))
        }))
    }

    fn entries(&self, _cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        list(&*self.task, &self.meta, 10)
    }
}

/// A line for each lock that was taken by this file or by its process, as in `/proc/locks` (proc_locks(5)).
fn describe_locks(
    cx: &FsCx<'_>,
    task: &dyn ProcTask,
    file: &OpenFile,
    out: &mut String,
) -> Result<(), Errno> {
    let Some(node) = file.node() else { return Ok(()) };
    let held = lock::held(node, file.lock_owner(), Arc::as_ptr(&table(task)?).addr());
    if held.is_empty() {
        return Ok(());
    }
    let attr = node.ops.attr(cx)?;
    let (major, minor) = device_parts(attr.dev);
    for (number, lock) in (1..).zip(held) {
        let mode = if lock.mode == lock::Mode::Shared { "READ" } else { "WRITE" };
        let pid = u32::try_from(lock.pid).map_or(-1, |pid| task.shown(pid).cast_signed());
        let last = lock.last.map_or_else(|| String::from("EOF"), |last| format!("{last}"));
        let (kind, ino, start) = (lock.kind, attr.ino, lock.start);
        let _ = writeln!(
            out,
            "lock:\t{number}: {kind} ADVISORY  {mode} {pid} {major:02x}:{minor:02x}:{ino} {start} {last}"
        );
    }
    Ok(())
}

impl Listing for FdInfos {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        let fd = named(name)?;
        table(&*self.task)?.get(fd).map_err(|_| Errno::ENOENT)?;
        let task = self.task.clone();
        let meta = Meta { ino: ino(&self.meta, fd.0), mode: 0o400, ..self.meta };
        Ok(PseudoFile::node(
            meta,
            Text(move |cx: &FsCx<'_>| {
                check_seen(&*task, cx)?;
                let entry = table(&*task)?.entry(fd).map_err(|_| Errno::ENOENT)?;
                let position = *entry.file.position.lock(cx.sleeper);
                let flags = entry.file.flags() | if entry.close_on_exec { 0o2_000_000 } else { 0 };
                let mount = entry.file.path().map_or(ANONYMOUS_MOUNT, |path| path.mount.id);
                let ino = match (entry.file.body(), entry.file.node()) {
                    (_, Some(node)) => node.ops.attr(cx)?.ino,
                    (FileBody::Stream(stream, _), None) => stream.attr().ino,
                    _ => 0,
                };
                let mut text =
                    format!("pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{ino}\n");
                describe_locks(cx, &*task, &entry.file, &mut text)?;
                if let FileBody::Stream(stream, _) = entry.file.body() {
                    stream.fdinfo(&mut text);
                }
                task.describe_pidfd(&entry.file, &mut text);
                Ok(text.into_bytes())
            }),
        ))
    }

    fn entries(&self, _cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        list(&*self.task, &self.meta, 8)
    }
}
