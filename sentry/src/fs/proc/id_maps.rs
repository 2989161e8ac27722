//! `uid_map`, `gid_map` and `setgroups` of a process (user_namespaces(7)).

use super::source::ProcTask;
use crate::abi::Errno;
use crate::fs::FsCx;
use crate::fs::pseudo::Contents;
use crate::security::Capability;
use crate::security::user_ns::{Extent, Kind, SetGroups};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes of a map that may be written at once.
const MAX_LEN: usize = 4095;

/// A map.
pub(super) struct IdMap(pub(super) Kind, pub(super) Arc<dyn ProcTask>);

impl Contents for IdMap {
    fn read(&self, cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        let map = self.1.creds().user_ns.map_for(self.0, &cx.creds.user_ns);
        let lines = map.iter().map(|e| format!("{:10} {:10} {:10}\n", e.first, e.lower, e.count));
        Ok(lines.collect::<String>().into_bytes())
    }

    fn write(&self, cx: &FsCx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        let namespace = self.1.creds().user_ns.clone();
        let parent = namespace.parent().ok_or(Errno::EPERM)?;
        if *namespace != *cx.creds.user_ns && *parent != cx.creds.user_ns {
            return Err(Errno::EPERM);
        }
        if bytes.len() > MAX_LEN {
            return Err(Errno::EINVAL);
        }
        if namespace.has_map(self.0) || !cx.creds.has_in(Capability::SysAdmin, &namespace) {
            return Err(Errno::EPERM);
        }
        let extents = parse(bytes).ok_or(Errno::EINVAL)?;
        let capability = match self.0 {
            Kind::User => Capability::Setuid,
            Kind::Group => Capability::Setgid,
        };
        if !maps_itself(cx, &extents, self.0, &namespace) && !cx.creds.has_in(capability, parent) {
            return Err(Errno::EPERM);
        }
        namespace.set_map(self.0, extents)
    }
}

/// Whether the map has nothing but the writer's own id, which needs no capability above.
fn maps_itself(
    cx: &FsCx<'_>,
    extents: &[Extent],
    kind: Kind,
    namespace: &crate::security::UserNamespace,
) -> bool {
    let [Extent { lower, count: 1, .. }] = *extents else { return false };
    let own = match kind {
        Kind::User => cx.creds.euid,
        Kind::Group if namespace.allows_setgroups() => return false,
        Kind::Group => cx.creds.egid,
    };
    let outside = namespace.parent().and_then(|parent| parent.outside(kind, lower));
    namespace.owner == cx.creds.euid && outside == Some(own)
}

/// Lines of three numbers each.
fn parse(bytes: &[u8]) -> Option<Vec<Extent>> {
    let text = core::str::from_utf8(bytes).ok()?;
    let mut extents = Vec::new();
    for line in text.lines() {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (first, lower, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        if numbers.next().is_some() {
            return None;
        }
        extents.push(Extent { first, lower, count });
    }
    Some(extents)
}

/// Whether setgroups(2) may be used.
pub(super) struct SetGroupsFile(pub(super) Arc<dyn ProcTask>);

impl Contents for SetGroupsFile {
    fn read(&self, _cx: &FsCx<'_>) -> Result<Vec<u8>, Errno> {
        let allows = self.0.creds().user_ns.allows_setgroups();
        Ok(if allows { b"allow\n".to_vec() } else { b"deny\n".to_vec() })
    }

    fn write(&self, cx: &FsCx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        let namespace = self.0.creds().user_ns.clone();
        if !cx.creds.has_in(Capability::SysAdmin, &namespace) {
            return Err(Errno::EACCES);
        }
        let word = bytes.trim_ascii_end();
        let allow = match word {
            b"allow" => SetGroups::Allow,
            b"deny" => SetGroups::Deny,
            _ => return Err(Errno::EINVAL),
        };
        namespace.set_setgroups(allow)
    }
}
