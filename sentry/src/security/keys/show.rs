//! `/proc/keys` and `/proc/key-users` (keyrings(7), proc_keys(5)).

use super::access::Access;
use super::key::{Key, Kind, Serial, State, VIEW};
use super::search::{Expired, Wanted};
use super::table::limits;
use crate::security::user_ns::{Kind as IdKind, OVERFLOW};
use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;

impl Access<'_> {
    /// Owner and group as the caller's user namespace calls them.
    pub(super) fn owners(&self, key: &Key) -> (u32, u32) {
        let user_ns = &self.creds.user_ns;
        let gid = if key.gid == u32::MAX { OVERFLOW } else { user_ns.shown(IdKind::Group, key.gid) };
        (user_ns.shown(IdKind::User, key.uid), gid)
    }

    /// `/proc/keys`: the keys that the caller may see.
    #[must_use]
    pub fn keys_text(&self) -> String {
        let mut text = String::new();
        for (serial, key) in &self.table.keys {
            let possessed = self.search_own(Wanted::Itself(*serial), Expired::Told).is_ok();
            if key.allows(self.creds, possessed, VIEW) {
                self.show(*serial, key, &mut text);
            }
        }
        text
    }

    fn show(&self, serial: Serial, key: &Key, text: &mut String) {
        let flag = |set: bool, letter: char| if set { letter } else { '-' };
        let (uid, gid) = self.owners(key);
        let _ = write!(
            text,
            "{serial:08x} I{}-{}--{} {:5} {:>4} {:08x} {uid:5} {gid:5} {:<9.9} {}",
            flag(key.state == State::Revoked, 'R'),
            flag(key.in_quota, 'Q'),
            flag(key.state == State::Invalidated, 'i'),
            key.uses,
            self.left(key),
            key.permissions,
            key.kind.name(),
            String::from_utf8_lossy(&key.description),
        );
        let _ = match key.kind {
            _ if key.state != State::Live => writeln!(text),
            Kind::Keyring if key.links.is_empty() => writeln!(text, ": empty"),
            Kind::Keyring => writeln!(text, ": {}", key.links.len()),
            Kind::User | Kind::Logon => writeln!(text, ": {}", key.payload.len()),
        };
    }

    /// How long a key can still be used.
    fn left(&self, key: &Key) -> String {
        let Some(expiry) = key.expiry else { return String::from("perm") };
        let left = expiry.saturating_sub(self.now);
        match left {
            ..=0 => String::from("expd"),
            1..60 => format!("{left}s"),
            60..3600 => format!("{}m", left / 60),
            3600..86_400 => format!("{}h", left / 3600),
            86_400..604_800 => format!("{}d", left / 86_400),
            _ => format!("{}w", left / 604_800),
        }
    }

    /// `/proc/key-users`: what every user has.
    #[must_use]
    pub fn users_text(&self) -> String {
        let mut text = String::new();
        for (uid, count) in &self.table.users {
            let Some(uid_inside) = self.creds.user_ns.inside(IdKind::User, *uid) else { continue };
            let (most_keys, most_bytes) = limits(*uid);
            let _ = writeln!(
                text,
                "{uid_inside:5}: {:5} {}/{} {}/{most_keys} {}/{most_bytes}",
                count.keys + 1,
                count.keys,
                count.keys,
                count.quota_keys,
                count.quota_bytes,
            );
        }
        text
    }
}
