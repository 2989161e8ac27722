//! Extended attributes kept in memory (xattr(7)): [`Store`] of one file.

use crate::abi::Errno;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Longest name, bytes.
pub const NAME_MAX: usize = 255;
/// Longest value, bytes.
pub const SIZE_MAX: usize = 65536;
/// Longest list of names, bytes.
pub const LIST_MAX: usize = 65536;
/// Most bytes of names and values that one file may have here.
const STORE_MAX: usize = 128 * 1024;

/// `XATTR_CREATE`.
pub const CREATE: u32 = 1;
/// `XATTR_REPLACE`.
pub const REPLACE: u32 = 2;

/// The extended attributes of one file.
#[derive(Clone, Debug, Default)]
pub struct Store {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Store {
    /// Reads one.
    ///
    /// # Errors
    /// `ENODATA`.
    pub fn get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.values.get(name).cloned().ok_or(Errno::ENODATA)
    }

    /// Sets one.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA` by `flags`; `ENOSPC` when the file has too many.
    pub fn set(&mut self, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let old = self.values.get(name).map(Vec::len);
        if flags & CREATE != 0 && old.is_some() {
            return Err(Errno::EEXIST);
        }
        if flags & REPLACE != 0 && old.is_none() {
            return Err(Errno::ENODATA);
        }
        let before = old.map_or(0, |len| len + name.len());
        let bytes = self.bytes - before + name.len() + value.len();
        if bytes > STORE_MAX {
            return Err(Errno::ENOSPC);
        }
        self.bytes = bytes;
        self.values.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    /// Removes one.
    ///
    /// # Errors
    /// `ENODATA`.
    pub fn remove(&mut self, name: &[u8]) -> Result<(), Errno> {
        let value = self.values.remove(name).ok_or(Errno::ENODATA)?;
        self.bytes -= name.len() + value.len();
        Ok(())
    }

    /// Names, each ended by a null byte.
    #[must_use]
    pub fn list(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for name in self.values.keys() {
            list.extend_from_slice(name);
            list.push(0);
        }
        list
    }
}
