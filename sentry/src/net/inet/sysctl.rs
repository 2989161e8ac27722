//! [`Sysctls`]: what `/proc/sys/net` tells and takes. Values that this stack does not consult are fixed.

use crate::abi::Errno;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};

/// Level of the lock around the values.
const LEVEL: Level = Level(145);

/// What may be written to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Nothing: it tells what the stack does.
    Nothing,
    /// A number in a range.
    Number(i64, i64),
    /// So many rising numbers of at least the first.
    Rising(usize, i64),
    /// Two numbers, of which the first may be the greater.
    Pair,
}

/// Path below `/proc/sys/net`, default, what it takes. Sorted by path.
const FILES: &[(&str, &str, Takes)] = &[
    ("core/netdev_max_backlog", "1000", Takes::Nothing),
    ("core/optmem_max", "20480", Takes::Nothing),
    ("core/rmem_default", "212992", Takes::Number(2304, 0x3fff_ffff)),
    ("core/rmem_max", "212992", Takes::Number(2304, 0x3fff_ffff)),
    ("core/somaxconn", "4096", Takes::Number(0, 65_535)),
    ("core/wmem_default", "212992", Takes::Number(4608, 0x3fff_ffff)),
    ("core/wmem_max", "212992", Takes::Number(4608, 0x3fff_ffff)),
    ("ipv4/conf/all/forwarding", "0", Takes::Nothing),
    ("ipv4/conf/all/rp_filter", "0", Takes::Nothing),
    ("ipv4/conf/default/forwarding", "0", Takes::Nothing),
    ("ipv4/conf/default/rp_filter", "0", Takes::Nothing),
    ("ipv4/conf/lo/forwarding", "0", Takes::Nothing),
    ("ipv4/conf/lo/rp_filter", "0", Takes::Nothing),
    ("ipv4/icmp_echo_ignore_all", "0", Takes::Number(0, 1)),
    ("ipv4/icmp_echo_ignore_broadcasts", "1", Takes::Nothing),
    ("ipv4/igmp_max_memberships", "20", Takes::Nothing),
    ("ipv4/ip_default_ttl", "64", Takes::Nothing),
    ("ipv4/ip_forward", "0", Takes::Nothing),
    ("ipv4/ip_local_port_range", "32768\t60999", Takes::Rising(2, 1)),
    ("ipv4/ip_local_reserved_ports", "", Takes::Nothing),
    ("ipv4/ip_nonlocal_bind", "0", Takes::Number(0, 1)),
    ("ipv4/ip_unprivileged_port_start", "1024", Takes::Number(0, 65_535)),
    ("ipv4/ping_group_range", "0\t2147483647", Takes::Pair),
    ("ipv4/tcp_abort_on_overflow", "0", Takes::Nothing),
    ("ipv4/tcp_available_congestion_control", "reno cubic", Takes::Nothing),
    ("ipv4/tcp_congestion_control", "cubic", Takes::Nothing),
    ("ipv4/tcp_fastopen", "0", Takes::Nothing),
    ("ipv4/tcp_fin_timeout", "60", Takes::Number(0, 32_767)),
    ("ipv4/tcp_keepalive_intvl", "75", Takes::Number(1, 32_767)),
    ("ipv4/tcp_keepalive_probes", "9", Takes::Number(1, 127)),
    ("ipv4/tcp_keepalive_time", "7200", Takes::Number(1, 32_767)),
    ("ipv4/tcp_max_orphans", "16384", Takes::Nothing),
    ("ipv4/tcp_max_syn_backlog", "512", Takes::Number(1, 65_535)),
    ("ipv4/tcp_max_tw_buckets", "16384", Takes::Number(0, 262_144)),
    ("ipv4/tcp_rmem", "4096\t131072\t6291456", Takes::Rising(3, 1)),
    ("ipv4/tcp_sack", "1", Takes::Nothing),
    ("ipv4/tcp_syn_retries", "6", Takes::Number(1, 127)),
    ("ipv4/tcp_synack_retries", "5", Takes::Number(0, 127)),
    ("ipv4/tcp_syncookies", "1", Takes::Nothing),
    ("ipv4/tcp_timestamps", "1", Takes::Nothing),
    ("ipv4/tcp_tw_reuse", "2", Takes::Nothing),
    ("ipv4/tcp_window_scaling", "1", Takes::Nothing),
    ("ipv4/tcp_wmem", "4096\t16384\t4194304", Takes::Rising(3, 1)),
    ("ipv4/udp_rmem_min", "4096", Takes::Nothing),
    ("ipv4/udp_wmem_min", "4096", Takes::Nothing),
    ("ipv6/bindv6only", "0", Takes::Number(0, 1)),
    ("ipv6/conf/all/disable_ipv6", "0", Takes::Nothing),
    ("ipv6/conf/all/forwarding", "0", Takes::Nothing),
    ("ipv6/conf/default/disable_ipv6", "0", Takes::Nothing),
    ("ipv6/conf/lo/disable_ipv6", "0", Takes::Nothing),
    ("unix/max_dgram_qlen", "10", Takes::Nothing),
];

/// The paths below `/proc/sys/net` with their permission bits, sorted.
#[must_use]
pub fn files() -> Vec<(&'static str, u32)> {
    let mode = |takes: &Takes| if *takes == Takes::Nothing { 0o444 } else { 0o644 };
    FILES.iter().map(|(name, _, takes)| (*name, mode(takes))).collect()
}

fn find(name: &str) -> Option<&'static (&'static str, &'static str, Takes)> {
    let at = FILES.binary_search_by(|(file, ..)| (*file).cmp(name)).ok()?;
    FILES.get(at)
}

fn numbers(text: &str) -> Result<Vec<i64>, Errno> {
    text.split_ascii_whitespace().map(|word| word.parse().map_err(|_| Errno::EINVAL)).collect()
}

/// The values that were changed.
pub struct Sysctls(SpinLock<BTreeMap<&'static str, String>>);

impl Default for Sysctls {
    fn default() -> Self {
        Self(SpinLock::new(LEVEL, BTreeMap::new()))
    }
}

impl Sysctls {
    /// The text of a value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let (name, default, _) = find(name)?;
        let changed = self.0.lock().get(name).cloned();
        Some(changed.unwrap_or_else(|| String::from(*default)))
    }

    /// Changes a value.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`, `ENOENT`.
    pub fn set(&self, name: &str, text: &str) -> Result<(), Errno> {
        let (name, _, takes) = find(name).ok_or(Errno::ENOENT)?;
        let numbers = numbers(text)?;
        let fits = match takes {
            Takes::Nothing => return Err(Errno::EACCES),
            Takes::Number(low, high) => {
                matches!(numbers.as_slice(), [number] if (low..=high).contains(&number))
            }
            Takes::Rising(count, low) => {
                numbers.len() == *count
                    && numbers.first().is_some_and(|first| first >= low)
                    && numbers.is_sorted()
                    && numbers.iter().all(|number| *number <= i64::from(i32::MAX))
            }
            Takes::Pair => numbers.len() == 2 && numbers.iter().all(|number| *number >= 0),
        };
        let is_port = name.ends_with("port_range") && numbers.iter().any(|number| *number > 65_535);
        if !fits || is_port {
            return Err(Errno::EINVAL);
        }
        let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let old = self.0.lock().insert(name, words.join("\t"));
        drop(old);
        Ok(())
    }

    /// A value that is one number.
    #[must_use]
    pub fn number(&self, name: &str) -> i64 {
        let text = self.get(name).unwrap_or_default();
        numbers(&text).ok().and_then(|numbers| numbers.first().copied()).unwrap_or(0)
    }

    /// A value of two numbers.
    #[must_use]
    pub fn pair(&self, name: &str) -> (i64, i64) {
        let numbers = numbers(&self.get(name).unwrap_or_default()).unwrap_or_default();
        (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(0))
    }

    /// A value of three sizes: least, initial, greatest.
    #[must_use]
    pub fn triple(&self, name: &str) -> [usize; 3] {
        let numbers = numbers(&self.get(name).unwrap_or_default()).unwrap_or_default();
        let at =
            |index: usize| numbers.get(index).and_then(|number| usize::try_from(*number).ok()).unwrap_or(0);
        [at(0), at(1), at(2)]
    }

    /// The ports that are given out.
    #[must_use]
    pub fn port_range(&self) -> (u16, u16) {
        let (low, high) = self.pair("ipv4/ip_local_port_range");
        (u16::try_from(low).unwrap_or(32_768), u16::try_from(high).unwrap_or(60_999))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_values_are_checked() {
        assert!(FILES.is_sorted_by_key(|(name, ..)| *name));
        let values = Sysctls::default();
        assert_eq!(values.port_range(), (32_768, 60_999));
        assert_eq!(values.set("ipv4/ip_local_port_range", "5000 4000"), Err(Errno::EINVAL));
        assert_eq!(values.set("ipv4/ip_local_port_range", "4000 70000"), Err(Errno::EINVAL));
        assert_eq!(values.set("ipv4/ip_local_port_range", "4000 5000\n"), Ok(()));
        assert_eq!(values.get("ipv4/ip_local_port_range").unwrap(), "4000\t5000");
        assert_eq!(values.set("ipv4/tcp_fastopen", "1"), Err(Errno::EACCES));
        assert_eq!(values.set("nothing", "1"), Err(Errno::ENOENT));
    }
}
