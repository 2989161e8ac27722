//! What `TCP_INFO` tells (tcp(7), `struct tcp_info`), and what a path that shrank calls for.

use super::engine::{Engine, NEVER, Recovery};
use alloc::vec;
use alloc::vec::Vec;

impl Engine {
    /// `struct tcp_info`.
    pub(super) fn info(&self, now_ns: u64) -> Vec<u8> {
        let mut info = vec![0; 232];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(to) = info.get_mut(at..at + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        let small = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes();
        let us = |ns: u64| u32::try_from(ns / 1000).unwrap_or(u32::MAX).to_ne_bytes();
        let ms = |since_ns: u64| us(now_ns.saturating_sub(since_ns) / 1000);
        let mss = self.mss.max(1);
        // TCP_CA_Open, Recovery, Loss.
        let recovery = match self.recovery {
            Recovery::No => 0,
            Recovery::Fast(_) => 3,
            Recovery::Timeout(_) => 4,
        };
        let backoff = u8::try_from(self.rtt.backoff).unwrap_or(u8::MAX);
        let probes = u8::try_from(self.probes).unwrap_or(u8::MAX);
        let options = u8::from(self.stamps.is_some())
            | u8::from(self.has_sack) << 1
            | u8::from(self.receive_scale > 0) << 2;
        put(0, &[self.state as u8, recovery, backoff, probes, backoff, options]);
        put(6, &[self.send_scale & 15 | self.receive_scale << 4]);
        put(8, &us(self.rtt.timeout_ns()));
        put(12, &us(if self.due.ack_ns == NEVER { 0 } else { 40_000_000 }));
        put(16, &small(mss));
        put(20, &small(self.peer_mss.min(mss)));
        put(24, &small(self.flight().div_ceil(mss)));
        put(28, &small(self.sacked.total().div_ceil(mss)));
        let lost =
            if self.recovery == Recovery::No { 0 } else { self.lost_to.max(self.una).since(self.una) / mss };
        put(32, &small(lost));
        put(36, &small(0));
        put(44, &ms(self.sent_ns));
        put(52, &ms(self.received_ns));
        put(56, &ms(self.heard_ns));
        put(60, &small(self.path_mtu));
        put(64, &small(self.receive_window.bytes));
        put(68, &us(self.rtt.smooth_ns));
        put(72, &us(self.rtt.variation_ns));
        let segments = |bytes: usize| small((bytes / mss).min(0x7fff_ffff));
        put(76, &segments(self.congestion.threshold));
        put(80, &segments(self.congestion.window));
        put(84, &small(mss));
        put(88, &3u32.to_ne_bytes());
        put(96, &small(self.receive_window.bytes));
        put(100, &u32::try_from(self.counts.resent).unwrap_or(u32::MAX).to_ne_bytes());
        put(112, &u64::MAX.to_ne_bytes());
        put(120, &self.counts.bytes_acked.to_ne_bytes());
        put(128, &self.counts.bytes_received.to_ne_bytes());
        let count = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes();
        put(136, &count(self.counts.segs_out));
        put(140, &count(self.counts.segs_in));
        put(144, &small(self.send_end().max(self.nxt).since(self.nxt)));
        put(148, &us(self.rtt.least_ns));
        put(152, &count(self.counts.data_in));
        put(156, &count(self.counts.data_out));
        put(200, &(self.counts.bytes_acked + self.flight() as u64).to_ne_bytes());
        put(208, &self.counts.bytes_resent.to_ne_bytes());
        put(228, &small(self.window));
        info
    }

    /// A router told that packets of `mtu` bytes at most fit: what was larger goes again.
    pub(super) fn path_shrank(&mut self, mtu: usize, now_ns: u64) {
        if mtu >= self.path_mtu {
            return;
        }
        self.path_mtu = mtu;
        let old = self.mss;
        self.fit_path(mtu);
        if self.mss < old && self.flight() > 0 && self.recovery == Recovery::No {
            self.recovery = Recovery::Fast(self.nxt);
            (self.resent_to, self.lost_to) = (self.una, self.nxt);
        }
        self.output(now_ns);
    }
}
