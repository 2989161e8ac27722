//! [`Builder`]: netlink messages with their attributes (netlink(7), rtnetlink(7)).

use alloc::vec::Vec;

/// `NLM_F_MULTI`.
pub(super) const MULTI: u16 = 2;
/// `NLMSG_ERROR`.
pub(super) const ERROR: u16 = 2;
/// `NLMSG_DONE`.
pub(super) const DONE: u16 = 3;
/// Bytes of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// `struct nlmsghdr` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: usize,
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) port: u32,
}

impl Header {
    /// Reads one; `None` when the bytes hold none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let word =
            |at: usize| -> Option<u32> { bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes) };
        let half =
            |at: usize| -> Option<u16> { bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes) };
        let len = usize::try_from(word(0)?).ok()?;
        if len < HEADER || len > bytes.len() {
            return None;
        }
        Some(Self { len, kind: half(4)?, flags: half(6)?, sequence: word(8)?, port: word(12)? })
    }

    /// The header as user space sees it.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = u32::try_from(self.len).unwrap_or(0).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&self.flags.to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&self.port.to_ne_bytes());
        bytes
    }
}

/// A message that is being made.
pub(super) struct Builder(Vec<u8>);

impl Builder {
    /// A message of `kind` that answers `request`, to the socket with `port`.
    pub(super) fn new(kind: u16, flags: u16, request: &Header, port: u32) -> Self {
        Self(Header { len: 0, kind, flags, sequence: request.sequence, port }.to_bytes())
    }

    /// Adds plain bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(4);
        self.put(&len.to_ne_bytes()).put(&kind.to_ne_bytes()).put(value);
        let padded = self.0.len().next_multiple_of(4);
        self.0.resize(padded, 0);
        self
    }

    /// The whole message.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(0);
        if let Some(place) = self.0.first_chunk_mut::<4>() {
            *place = len.to_ne_bytes();
        }
        let padded = self.0.len().next_multiple_of(4);
        self.0.resize(padded, 0);
        self.0
    }
}

/// The attributes after a message's own fields: type and value.
pub(super) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(len), Some(kind)) = (bytes.get(..2), bytes.get(2..4)) {
        let len = len.try_into().map_or(0, u16::from_ne_bytes);
        let kind = kind.try_into().map_or(0, u16::from_ne_bytes);
        let Some(value) = bytes.get(4..usize::from(len)) else { break };
        // The two highest bits say that the value is nested or in network byte order.
        found.push((kind & 0x3fff, value));
        bytes = bytes.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}
