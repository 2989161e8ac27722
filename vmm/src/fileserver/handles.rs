//! Files and directories that the guest has open.

use super::shares::Share;
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One open file or directory.
#[derive(Debug)]
pub struct Handle {
    /// The descriptor; `None` for the directory of shares.
    pub fd: Option<OwnedFd>,
    /// Node it belongs to.
    pub node: u64,
    /// Share it belongs to.
    pub share: Option<Arc<Share>>,
    /// Where a directory's descriptor stands.
    pub position: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Handles {
    open: HashMap<u64, Handle>,
    last: u64,
}

impl Handles {
    /// Adds one; returns its number.
    pub fn insert(&mut self, handle: Handle) -> u64 {
        self.last += 1;
        self.open.insert(self.last, handle);
        self.last
    }

    /// Looks one up.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, number: u64) -> Result<&Handle, Errno> {
        self.open.get(&number).ok_or(Errno::BADF)
    }

    /// Looks one up to change it.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get_mut(&mut self, number: u64) -> Result<&mut Handle, Errno> {
        self.open.get_mut(&number).ok_or(Errno::BADF)
    }

    /// The descriptor of one.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn fd(&self, number: u64) -> Result<&OwnedFd, Errno> {
        self.get(number)?.fd.as_ref().ok_or(Errno::BADF)
    }

    /// Closes one.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn remove(&mut self, number: u64) -> Result<(), Errno> {
        self.open.remove(&number).map(drop).ok_or(Errno::BADF)
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
