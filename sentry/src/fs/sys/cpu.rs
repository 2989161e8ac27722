//! `/sys/devices/system/cpu`: which CPUs there are, and that each is a core of its own in one package.

use super::cgroup::cpu_list;
use crate::abi::Errno;
use crate::fs::pseudo::{Entry, Listing, Meta, PseudoDir, PseudoFile, Text};
use crate::fs::{FsCx, Node};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The first `cpus` CPUs as a mask: groups of 32 bits in hexadecimal.
pub(super) fn mask(cpus: usize) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut left = cpus.max(1);
    while left > 0 {
        let bits = left.min(32);
        let word = u32::MAX >> (32 - bits);
        words.push(if left <= 32 { format!("{word:x}") } else { format!("{word:08x}") });
        left -= bits;
    }
    words.reverse();
    words.join(",") + "\n"
}

/// One of `cpus` CPUs as a mask.
fn mask_of(number: usize, cpus: usize) -> String {
    let groups = cpus.div_ceil(32).max(1);
    let word = |group: usize| if number / 32 == group { 1u32 << (number % 32) } else { 0 };
    let first = format!("{:x}", word(groups - 1));
    let rest = (0..groups - 1).rev().map(|group| format!(",{:08x}", word(group)));
    rest.fold(first, |mask, group| mask + &group) + "\n"
}

/// Inode numbers of files of CPUs begin here.
const FIRST_INO: u64 = 1 << 32;
/// Inode numbers of one CPU.
const PER_CPU: u64 = 64;

/// The directory of all CPUs.
pub(super) struct Cpus {
    /// Device of the file system.
    pub(super) dev: u64,
    /// CPUs.
    pub(super) count: usize,
}

const FILES: [&str; 6] = ["isolated", "kernel_max", "offline", "online", "possible", "present"];

fn text(dev: u64, ino: u64, text: String) -> Arc<Node> {
    let make = move |_: &FsCx<'_>| -> Result<Vec<u8>, Errno> { Ok(text.clone().into_bytes()) };
    PseudoFile::node(Meta::new(dev, ino, 0o444), Text(make))
}

fn number(name: &[u8]) -> Option<usize> {
    let digits = core::str::from_utf8(name.strip_prefix(b"cpu")?).ok()?;
    digits.parse().ok().filter(|number| format!("{number}") == digits)
}

impl Cpus {
    fn cpu(&self, number: usize) -> Arc<Node> {
        let first = FIRST_INO + (number as u64 + 1) * PER_CPU;
        let mut next = first;
        let mut file = |name: &'static str, contents: String| {
            next += 1;
            (name, text(self.dev, next, contents))
        };
        let (own, all) = (format!("{number}\n"), cpu_list(self.count));
        let (own_mask, all_mask) = (mask_of(number, self.count), mask(self.count));
        let topology = [
            file("cluster_id", String::from("-1\n")),
            file("core_cpus", own_mask.clone()),
            file("core_cpus_list", own.clone()),
            file("core_id", own.clone()),
            file("core_siblings", all_mask.clone()),
            file("core_siblings_list", all.clone()),
            file("die_id", String::from("0\n")),
            file("package_cpus", all_mask),
            file("package_cpus_list", all),
            file("physical_package_id", String::from("0\n")),
            file("thread_siblings", own_mask),
            file("thread_siblings_list", own),
        ];
        let online = file("online", String::from("1\n"));
        let topology = PseudoDir::fixed(Meta::new(self.dev, first + PER_CPU - 1, 0o555), topology);
        PseudoDir::fixed(Meta::new(self.dev, first, 0o555), [online, ("topology", topology)])
    }
}

impl Listing for Cpus {
    fn lookup(&self, _cx: &FsCx<'_>, name: &[u8]) -> Result<Arc<Node>, Errno> {
        if let Some(number) = number(name) {
            return if number < self.count { Ok(self.cpu(number)) } else { Err(Errno::ENOENT) };
        }
        let at = FILES.iter().position(|file| file.as_bytes() == name).ok_or(Errno::ENOENT)?;
        let contents = match FILES.get(at) {
            Some(&"kernel_max") => String::from("63\n"),
            Some(&"isolated" | &"offline") => String::from("\n"),
            _ => cpu_list(self.count),
        };
        Ok(text(self.dev, FIRST_INO + at as u64, contents))
    }

    fn entries(&self, _cx: &FsCx<'_>) -> Result<Vec<Entry>, Errno> {
        let cpu = |number: usize| Entry {
            name: format!("cpu{number}").into_bytes(),
            ino: FIRST_INO + (number as u64 + 1) * PER_CPU,
            kind: 4,
        };
        let mut entries: Vec<Entry> = (0..self.count).map(cpu).collect();
        let files = (FIRST_INO..).zip(FILES);
        entries.extend(files.map(|(ino, name)| Entry { name: name.as_bytes().to_vec(), ino, kind: 8 }));
        Ok(entries)
    }
}
