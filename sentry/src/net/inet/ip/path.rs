//! [`PathMtus`]: what fits through the path to a host, as routers told (RFC 1191, RFC 8201).

use super::super::interface::NET_INNER;
use chitin_core::lock::SpinLock;
use core::net::IpAddr;
use hashbrown::HashMap;

/// Paths that are remembered.
const MAX_PATHS: usize = 512;
/// How long (`ip_no_pmtu_disc`'s companion `mtu_expires`): 10 minutes.
const LIFE_NS: u64 = 600_000_000_000;
/// Smaller values are taken for this one (`min_pmtu`).
const LEAST_V4: u32 = 552;
/// Every IPv6 link carries this.
const LEAST_V6: u32 = 1280;

/// What routers told of paths.
pub(in super::super) struct PathMtus(SpinLock<HashMap<IpAddr, (u32, u64)>>);

impl PathMtus {
    pub(in super::super) fn new() -> Self {
        Self(SpinLock::new(NET_INNER, HashMap::new()))
    }

    /// What fits through the path to `ip`, whose first link carries `link` bytes.
    pub(in super::super) fn get(&self, ip: IpAddr, link: u32, now_ns: u64) -> u32 {
        let paths = self.0.lock();
        match paths.get(&ip) {
            Some((mtu, until_ns)) if *until_ns > now_ns => link.min(*mtu),
            _ => link,
        }
    }

    /// A router says that `mtu` bytes at most fit. What is believed of it.
    pub(in super::super) fn learn(&self, ip: IpAddr, mtu: u32, now_ns: u64) -> u32 {
        let mtu = mtu.max(if ip.is_ipv4() { LEAST_V4 } else { LEAST_V6 });
        let mut paths = self.0.lock();
        if paths.len() >= MAX_PATHS && !paths.contains_key(&ip) {
            paths.retain(|_, (_, until_ns)| *until_ns > now_ns);
            if paths.len() >= MAX_PATHS {
                paths.clear();
            }
        }
        let known = paths.entry(ip).or_insert((mtu, 0));
        *known = (if known.1 > now_ns { known.0.min(mtu) } else { mtu }, now_ns.saturating_add(LIFE_NS));
        known.0
    }
}
