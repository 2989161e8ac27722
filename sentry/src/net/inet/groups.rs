//! Groups that a socket is a member of, and the sources it wants to hear there (ip(7), RFC 3678).

use super::settings::Around;
use crate::abi::Errno;
use crate::net::Address;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Groups that one socket may join (`igmp_max_memberships`), and sources of one of them (`igmp_max_msf`).
const MAX_MEMBERSHIPS: usize = 20;
const MAX_SOURCES: usize = 10;

/// Bytes of `struct sockaddr_storage`; of `struct group_req` and `struct group_source_req`, and where their addresses are.
const STORAGE: usize = 128;
const GROUP_AT: usize = 8;
const SOURCE_AT: usize = GROUP_AT + STORAGE;

/// Which sources a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Those that are heard.
    Include,
    /// Those that are not.
    Exclude,
}

/// A membership of a group on an interface.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) group: IpAddr,
    pub(super) device: u32,
    mode: Mode,
    /// `None` until one was named, so that the mode can still change.
    sources: Option<Vec<IpAddr>>,
}

impl Membership {
    /// Whether what comes from an address is heard.
    pub(super) fn hears(&self, from: IpAddr) -> bool {
        let named = self.sources.iter().flatten().any(|source| *source == from);
        named == (self.mode == Mode::Include)
    }
}

/// What is to be done to the sources of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    Remove,
}

/// The groups of a socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Vec<Membership>);

impl Groups {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The one that was joined last.
    pub(super) fn last(&self) -> Option<(IpAddr, u32)> {
        self.0.last().map(|member| (member.group, member.device))
    }

    /// Whether it is a member of a group, on whatever interface.
    pub(super) fn contains(&self, group: IpAddr) -> bool {
        self.0.iter().any(|member| member.group == group)
    }

    /// Whether what comes from an address to a group is heard; `None` when it is no member.
    pub(super) fn hears(&self, group: IpAddr, from: IpAddr) -> Option<bool> {
        let mut members = self.0.iter().filter(|member| member.group == group).peekable();
        members.peek()?;
        Some(members.any(|member| member.hears(from)))
    }

    fn position(&self, group: IpAddr, device: u32) -> Option<usize> {
        self.0.iter().position(|member| member.group == group && member.device == device)
    }

    /// Joins a group.
    ///
    /// # Errors
    /// `EADDRINUSE` for a member, `ENOBUFS`.
    pub(super) fn join(&mut self, group: IpAddr, device: u32, mode: Mode) -> Result<(), Errno> {
        if self.position(group, device).is_some() {
            return Err(Errno::EADDRINUSE);
        }
        if self.0.len() >= MAX_MEMBERSHIPS {
            return Err(Errno::ENOBUFS);
        }
        self.0.push(Membership { group, device, mode, sources: None });
        Ok(())
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` for one that is no member.
    pub(super) fn leave(&mut self, group: IpAddr, device: u32) -> Result<(), Errno> {
        let at = self.position(group, device).ok_or(Errno::EADDRNOTAVAIL)?;
        self.0.remove(at);
        Ok(())
    }

    /// Changes the sources of a membership that is of `mode`.
    ///
    /// # Errors
    /// `EINVAL` for one that is no member or of the other mode, `EADDRNOTAVAIL` for a source that is there already or is
    /// not, `ENOBUFS`.
    pub(super) fn change_source(
        &mut self,
        (group, device): (IpAddr, u32),
        source: IpAddr,
        mode: Mode,
        change: Change,
    ) -> Result<(), Errno> {
        let at = self.position(group, device).ok_or(Errno::EINVAL)?;
        let member = self.0.get_mut(at).ok_or(Errno::EINVAL)?;
        if member.mode != mode {
            if member.sources.is_some() {
                return Err(Errno::EINVAL);
            }
            member.mode = mode;
        }
        let known = member.sources.iter().flatten().position(|known| *known == source);
        match (change, known) {
            (Change::Add, Some(_)) | (Change::Remove, None) => Err(Errno::EADDRNOTAVAIL),
            (Change::Add, None) => {
                let sources = member.sources.get_or_insert_default();
                if sources.len() >= MAX_SOURCES {
                    return Err(Errno::ENOBUFS);
                }
                sources.push(source);
                Ok(())
            }
            (Change::Remove, Some(known)) => {
                let sources = member.sources.get_or_insert_default();
                sources.remove(known);
                // Who wants to hear nobody is no member.
                if sources.is_empty() && mode == Mode::Include {
                    self.0.remove(at);
                }
                Ok(())
            }
        }
    }

    /// `IP_UNBLOCK_SOURCE`, `IP_BLOCK_SOURCE`, `IP_ADD_SOURCE_MEMBERSHIP`, `IP_DROP_SOURCE_MEMBERSHIP`, as 37 to 40:
    /// `struct ip_mreq_source` has the addresses of the group, the interface and the source.
    ///
    /// # Errors
    /// `EINVAL`, `ENODEV` and those of the changes.
    pub(super) fn set_source4(&mut self, name: i32, value: &[u8], around: &Around<'_>) -> Result<(), Errno> {
        let words: [u8; 12] = value.try_into().map_err(|_| Errno::EINVAL)?;
        let [group, interface, source] = [0, 4, 8].map(|at: usize| {
            let octets = words.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 4]);
            Ipv4Addr::from(octets)
        });
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let device = if interface.is_unspecified() {
            around.default_device()?
        } else {
            around.device_of(interface.into()).ok_or(Errno::ENODEV)?
        };
        let what = match name {
            37 => (Mode::Exclude, Change::Remove),
            38 => (Mode::Exclude, Change::Add),
            39 => (Mode::Include, Change::Add),
            _ => (Mode::Include, Change::Remove),
        };
        self.set_source((group.into(), device), source.into(), what)
    }

    fn set_source(
        &mut self,
        member: (IpAddr, u32),
        source: IpAddr,
        (mode, change): (Mode, Change),
    ) -> Result<(), Errno> {
        let joins =
            (mode, change) == (Mode::Include, Change::Add) && self.position(member.0, member.1).is_none();
        if joins {
            self.join(member.0, member.1, mode)?;
        }
        self.change_source(member, source, mode, change)
    }

    /// `MCAST_*`, 42 to 47: an interface, a group and for most a source, of either family.
    ///
    /// # Errors
    /// `EINVAL`, `ENODEV`, `EADDRNOTAVAIL` and those of the changes.
    pub(super) fn set_any(
        &mut self,
        name: i32,
        value: &[u8],
        v4: bool,
        around: &Around<'_>,
    ) -> Result<(), Errno> {
        let len = if matches!(name, 42 | 45) { SOURCE_AT } else { SOURCE_AT + STORAGE };
        let value = value.get(..len).ok_or(Errno::EINVAL)?;
        let address = |at: usize| -> Option<IpAddr> {
            match Address::from_bytes(value.get(at..at + STORAGE)?).ok()? {
                Address::Inet(SocketAddr::V4(at)) if v4 => Some((*at.ip()).into()),
                Address::Inet(SocketAddr::V6(at)) if !v4 => Some((*at.ip()).into()),
                _ => None,
            }
        };
        let group = address(GROUP_AT).filter(|group| group.is_multicast()).ok_or(Errno::EINVAL)?;
        let index = value.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        let device = if index == 0 { around.default_device()? } else { around.device(index)? };
        let what = match name {
            42 => return self.join(group, device, Mode::Exclude),
            45 => return self.leave(group, device),
            43 => (Mode::Exclude, Change::Add),
            44 => (Mode::Exclude, Change::Remove),
            46 => (Mode::Include, Change::Add),
            _ => (Mode::Include, Change::Remove),
        };
        let source = address(SOURCE_AT).ok_or(Errno::EADDRNOTAVAIL)?;
        self.set_source((group, device), source, what)
    }
}

/// The address of a group of IPv6 in `struct ipv6_mreq`.
pub(super) fn group6(value: &[u8]) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = value.get(..16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets))
}
