//! [`Entry`]: a socket as tables tell of it: `/proc/net` and sock_diag(7).

use super::endpoint::{Endpoint, Family};
use super::{Stack, TCP, UDP};
use alloc::vec::Vec;

/// A socket as tables tell of it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// `AF_*`.
    pub family: u8,
    /// Own address.
    pub local: Endpoint,
    /// Other address.
    pub remote: Endpoint,
    /// State as `/proc/net/tcp` numbers them.
    pub state: u8,
    /// Bytes that wait to be sent; of a listening socket, connections that may wait.
    pub send: usize,
    /// Bytes that wait to be received; of a listening socket, connections that wait.
    pub receive: usize,
    /// User.
    pub user: u32,
    /// Inode of the file.
    pub ino: u64,
    /// Timer: kind and hundredths of a second.
    pub timer: (u8, u64),
    /// Datagrams dropped.
    pub drops: u64,
}

impl Entry {
    /// Whether it is in the table of a family.
    pub(super) fn is_of(&self, family: Family) -> bool {
        self.family == if family == Family::V4 { 2 } else { 10 }
    }
}

impl Stack {
    /// The sockets of a protocol.
    pub(super) fn entries(&self, protocol: u8) -> Vec<Entry> {
        match i32::from(protocol) {
            TCP => self.tcp_entries(),
            UDP => self.udp_entries(super::ip::UDP),
            _ => Vec::new(),
        }
    }
}
