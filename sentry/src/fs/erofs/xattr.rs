//! Extended attributes of an image: behind the node, and shared ones in a place of their own.

use super::image::{Image, Source};
use super::inode::Inode;
use super::layout::{XattrEntry, XattrHeader};
use crate::abi::Errno;
use alloc::vec;
use alloc::vec::Vec;
use zerocopy::little_endian::U32;

const HEADER: u64 = 12;
const ENTRY: u64 = 4;

/// An attribute: its whole name, and where its value lies.
struct Found {
    name: Vec<u8>,
    value: u64,
    value_len: u64,
}

fn prefix(index: u8) -> Option<&'static [u8]> {
    Some(match index {
        1 => b"user.",
        2 => b"system.posix_acl_access",
        3 => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        _ => return None,
    })
}

/// The attribute at `at`, and where the next would be. `None` for one of a kind that is not known.
fn entry(image: &Image, source: &impl Source, at: u64) -> Result<(Option<Found>, u64), Errno> {
    let entry: XattrEntry = image.value(source, at)?;
    let (name_len, value_len) = (u64::from(entry.name_len), u64::from(entry.value_len.get()));
    let start = image.within(at + ENTRY, name_len + value_len)?;
    let next = (start + name_len + value_len).next_multiple_of(4);
    let Some(prefix) = prefix(entry.prefix) else { return Ok((None, next)) };
    let mut name = prefix.to_vec();
    let mut rest = vec![0; usize::from(entry.name_len)];
    source.read(start, &mut rest)?;
    name.extend_from_slice(&rest);
    if name.len() > 255 || rest.contains(&0) {
        return Err(Errno::EUCLEAN);
    }
    Ok((Some(Found { name, value: start + name_len, value_len }), next))
}

/// Goes through a node's attributes until `each` says that it is enough.
fn walk(
    image: &Image,
    source: &impl Source,
    inode: &Inode,
    mut each: impl FnMut(&Found) -> bool,
) -> Result<(), Errno> {
    if inode.xattr_len == 0 {
        return Ok(());
    }
    let header: XattrHeader = image.value(source, inode.xattrs)?;
    let shared = u64::from(header.shared);
    let mut at = inode.xattrs + HEADER + shared * 4;
    if at > inode.end {
        return Err(Errno::EUCLEAN);
    }
    while at + ENTRY <= inode.end {
        let (found, next) = entry(image, source, at)?;
        if next > inode.end {
            return Err(Errno::EUCLEAN);
        }
        if found.is_some_and(|found| each(&found)) {
            return Ok(());
        }
        at = next;
    }
    for number in 0..shared {
        let id: U32 = image.value(source, inode.xattrs + HEADER + number * 4)?;
        let at = image.xattrs.checked_add(u64::from(id.get()) * 4).ok_or(Errno::EUCLEAN)?;
        let (found, _) = entry(image, source, at)?;
        if found.is_some_and(|found| each(&found)) {
            return Ok(());
        }
    }
    Ok(())
}

/// The value of an attribute.
///
/// # Errors
/// `ENODATA`, `EUCLEAN`.
pub(super) fn get(image: &Image, source: &impl Source, inode: &Inode, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut place = None;
    walk(image, source, inode, |found| {
        let is_it = found.name == name;
        if is_it {
            place = Some((found.value, found.value_len));
        }
        is_it
    })?;
    let (at, len) = place.ok_or(Errno::ENODATA)?;
    let mut value = vec![0; usize::try_from(len).map_err(|_| Errno::EUCLEAN)?];
    source.read(at, &mut value)?;
    Ok(value)
}

/// Names of all attributes, each ended by a null byte.
///
/// # Errors
/// `EUCLEAN`.
pub(super) fn list(image: &Image, source: &impl Source, inode: &Inode) -> Result<Vec<u8>, Errno> {
    let mut names = Vec::new();
    walk(image, source, inode, |found| {
        names.extend_from_slice(&found.name);
        names.push(0);
        false
    })?;
    Ok(names)
}
