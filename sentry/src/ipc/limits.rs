//! The limits of a namespace under `/proc/sys/kernel` and `/proc/sys/fs/mqueue` (proc(5)).

use super::IpcNamespace;
use crate::abi::Errno;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// Largest number of ids of a kind (`IPCMNI`).
const IDS_MAX: u64 = 32768;

/// The counters behind a file, and the largest value of each.
fn counters<'a>(namespace: &'a IpcNamespace, name: &str) -> Option<(Vec<&'a AtomicU64>, u64)> {
    const INT: u64 = i32::MAX as u64;
    let one = |counter, most| Some((alloc::vec![counter], most));
    match name {
        "kernel/shmmax" => one(&namespace.segments.max_size, u64::MAX),
        "kernel/shmall" => one(&namespace.segments.max_pages, u64::MAX),
        "kernel/shmmni" => one(&namespace.segments.max_ids, IDS_MAX),
        "kernel/msgmax" => one(&namespace.queues.max_message, INT),
        "kernel/msgmnb" => one(&namespace.queues.max_bytes, INT),
        "kernel/msgmni" => one(&namespace.queues.max_ids, IDS_MAX),
        "fs/mqueue/queues_max" => one(&namespace.mqueues.limits.queues, INT),
        "fs/mqueue/msg_max" => one(&namespace.mqueues.limits.messages, 65536),
        "fs/mqueue/msgsize_max" => one(&namespace.mqueues.limits.bytes, 16 << 20),
        "fs/mqueue/msg_default" => one(&namespace.mqueues.limits.default_messages, 65536),
        "fs/mqueue/msgsize_default" => one(&namespace.mqueues.limits.default_bytes, 16 << 20),
        "kernel/sem" => Some((namespace.sets.limits.iter().collect(), INT)),
        _ => None,
    }
}

/// The text of a file without its newline; `None` when it is not one of these.
#[must_use]
pub fn read(namespace: &IpcNamespace, name: &str) -> Option<String> {
    let (counters, _) = counters(namespace, name)?;
    let values: Vec<String> =
        counters.iter().map(|counter| format!("{}", counter.load(Ordering::Relaxed))).collect();
    Some(values.join("\t"))
}

/// Sets limits from text; `None` when the file is not one of these.
pub fn write(namespace: &IpcNamespace, name: &str, text: &[u8]) -> Option<Result<(), Errno>> {
    let (counters, most) = counters(namespace, name)?;
    let Ok(text) = core::str::from_utf8(text) else { return Some(Err(Errno::EINVAL)) };
    let values: Result<Vec<u64>, Errno> = text
        .split_ascii_whitespace()
        .map(|word| word.parse().ok().filter(|value| *value <= most).ok_or(Errno::EINVAL))
        .collect();
    Some(values.and_then(|values| {
        if values.is_empty() || values.len() > counters.len() {
            return Err(Errno::EINVAL);
        }
        for (counter, value) in counters.iter().zip(values) {
            counter.store(value, Ordering::Relaxed);
        }
        Ok(())
    }))
}
