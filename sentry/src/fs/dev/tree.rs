//! What a container finds in `/dev` (OCI runtime specification, "Default Devices" and "Dev symbolic links").

use crate::abi::Errno;
use crate::fs::filesystem::device;
use crate::fs::lookup::{Last, Tail};
use crate::fs::node::NewNode;
use crate::fs::{FsCx, Path, SetAttr, names};
use alloc::borrow::Cow;

const DEVICES: [(&str, u64, u64); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("console", 5, 1),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

const DIRECTORIES: [&str; 3] = ["pts", "shm", "mqueue"];

/// Makes a device node with mode `mode` at `name` in `dir`; one that is there stays.
///
/// # Errors
/// As mknod(2), `EEXIST` excepted.
pub fn make_device(cx: &FsCx<'_>, dir: &Path, name: &str, number: u64, mode: u32) -> Result<(), Errno> {
    let last = Last::Name(Cow::Borrowed(name.as_bytes()));
    match names::create(cx, dir, &last, Tail::Plain, &NewNode::CharDevice(number), mode) {
        Ok(made) => {
            let change = SetAttr { mode: Some(mode), ..SetAttr::default() };
            made.node()?.ops.set_attr(cx, &change)
        }
        Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Fills the directory `dev`, usually the root of a fresh tmpfs, with the default devices, links and mount points. What is
/// there stays. `/dev/console` is among them only as a node; a container with a terminal gets it bound over.
///
/// # Errors
/// As mknod(2), symlink(2), mkdir(2).
pub fn populate(cx: &FsCx<'_>, dev: &Path) -> Result<(), Errno> {
    for (name, major, minor) in DEVICES {
        make_device(cx, dev, name, device(major, minor), 0o666)?;
    }
    let links = LINKS.iter().map(|(name, to)| (*name, NewNode::Symlink(to.as_bytes().to_vec()), 0o777));
    let directories = DIRECTORIES.iter().map(|name| (*name, NewNode::Dir, 0o755));
    for (name, what, mode) in links.chain(directories) {
        let last = Last::Name(Cow::Borrowed(name.as_bytes()));
        match names::create(cx, dev, &last, Tail::Plain, &what, mode) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
