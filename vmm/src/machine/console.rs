//! The log console: reads the guest's log ring, cuts it into lines, passes them on at a limited rate.
//!
//! The ring is guest memory, so its counters mean no more than "look again": whatever they say, at most one ring's worth
//! of bytes is read at a time.

use super::memory::GuestRam;
use chitin_proto::boot::LogHeader;
use chitin_proto::layout::{LOG_OFFSET, LOG_SIZE, RAM_GPA};
use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::Instant;

const HEADER: u64 = size_of::<LogHeader>() as u64;
const CAPACITY: u64 = LOG_SIZE - HEADER;
const RING: u64 = RAM_GPA + LOG_OFFSET;
/// Longest line passed on in one piece.
const MAX_LINE: usize = 4096;
/// Lines kept for crash reports.
const KEPT_LINES: usize = 60;

/// The reader of the ring.
#[derive(Debug)]
pub struct Console {
    ram: Arc<GuestRam>,
    tail: u64,
    partial: Vec<u8>,
    kept: VecDeque<String>,
    limit: Bucket,
    dropped: u64,
    announced: u64,
}

/// Token bucket, in bytes.
#[derive(Debug)]
struct Bucket {
    per_second: u64,
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    fn new(per_second: u32, now: Instant) -> Self {
        let per_second = u64::from(per_second);
        Self { per_second, tokens: per_second, filled: now }
    }

    fn take(&mut self, bytes: u64, now: Instant) -> bool {
        let elapsed = u64::try_from((now - self.filled).as_millis()).unwrap_or(u64::MAX);
        let gained = self.per_second.saturating_mul(elapsed) / 1000;
        if gained > 0 {
            // One second's worth is the most that may burst.
            self.tokens = self.tokens.saturating_add(gained).min(self.per_second);
            self.filled = now;
        }
        let fits = bytes <= self.tokens;
        if fits {
            self.tokens -= bytes;
        }
        fits
    }
}

impl Console {
    /// A reader that passes on at most `bytes_per_second`.
    #[must_use]
    pub fn new(ram: Arc<GuestRam>, bytes_per_second: u32) -> Self {
        Self {
            ram,
            tail: 0,
            partial: Vec::new(),
            kept: VecDeque::new(),
            limit: Bucket::new(bytes_per_second, Instant::now()),
            dropped: 0,
            announced: 0,
        }
    }

    /// Bytes not passed on, because of the limit or because the guest overran the ring.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Reads what is new and gives each whole line to `line`.
    pub fn drain(&mut self, mut line: impl FnMut(String)) {
        let now = Instant::now();
        let bytes = self.read_new();
        for byte in bytes {
            if byte != b'\n' {
                self.partial.push(byte);
            }
            if byte == b'\n' || self.partial.len() >= MAX_LINE {
                self.finish_line(now, &mut line);
            }
        }
    }

    /// Reads what is new, the unfinished last line included.
    pub fn drain_all(&mut self, mut line: impl FnMut(String)) {
        self.drain(&mut line);
        if !self.partial.is_empty() {
            self.finish_line(Instant::now(), &mut line);
        }
    }

    /// The last lines, for a report.
    #[must_use]
    pub fn last_lines(&self) -> String {
        self.kept.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    fn finish_line(&mut self, now: Instant, line: &mut impl FnMut(String)) {
        let text: String = String::from_utf8_lossy(&self.partial)
            .chars()
            .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
            .collect();
        self.partial.clear();
        if self.kept.len() == KEPT_LINES {
            self.kept.pop_front();
        }
        self.kept.push_back(text.clone());
        let len = text.len() as u64 + 1;
        if !self.limit.take(len, now) {
            self.dropped += len;
            return;
        }
        if self.dropped > self.announced {
            line(format!("chitin-vmm: {} bytes of log dropped", self.dropped - self.announced));
            self.announced = self.dropped;
        }
        line(text);
    }

    fn read_new(&mut self) -> Vec<u8> {
        let Ok(head) = self.ram.read_value::<u64>(RING + offset_of!(LogHeader, head) as u64) else {
            return Vec::new();
        };
        let mut new = head.wrapping_sub(self.tail);
        if new > CAPACITY {
            self.dropped = self.dropped.saturating_add(new - CAPACITY);
            new = CAPACITY;
        }
        let start = head.wrapping_sub(new) % CAPACITY;
        let first = new.min(CAPACITY - start);
        let mut bytes = vec![0; usize::try_from(new).unwrap_or(0)];
        let (one, two) = bytes.split_at_mut(usize::try_from(first).unwrap_or(0));
        let read = self.ram.read(RING + HEADER + start, one).and_then(|()| self.ram.read(RING + HEADER, two));
        self.tail = head;
        let told = self.ram.write_value(RING + offset_of!(LogHeader, tail) as u64, &head);
        if read.and(told).is_ok() { bytes } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(limit: u32) -> (Arc<GuestRam>, Console) {
        let ram = Arc::new(GuestRam::new(1 << 21).unwrap());
        (Arc::clone(&ram), Console::new(ram, limit))
    }

    fn say(ram: &GuestRam, text: &str) {
        let head: u64 = ram.read_value(RING).unwrap();
        for (n, byte) in text.bytes().enumerate() {
            ram.write_value(RING + HEADER + (head + n as u64) % CAPACITY, &byte).unwrap();
        }
        ram.write_value(RING, &(head + text.len() as u64)).unwrap();
    }

    fn lines(console: &mut Console) -> Vec<String> {
        let mut lines = Vec::new();
        console.drain(|line| lines.push(line));
        lines
    }

    #[test]
    fn lines_come_whole_and_wrap() {
        let (ram, mut console) = console(u32::MAX);
        say(&ram, "one\ntw");
        assert_eq!(lines(&mut console), ["one"]);
        say(&ram, "o\n");
        assert_eq!(lines(&mut console), ["two"]);
        for round in 0..5000 {
            say(&ram, &format!("a line of some length, number {round}\n"));
            assert_eq!(lines(&mut console), [format!("a line of some length, number {round}")]);
        }
        say(&ram, "tail\x1b[1m");
        let mut last = Vec::new();
        console.drain_all(|line| last.push(line));
        assert_eq!(last, ["tail\u{fffd}[1m"]);
        assert_eq!(console.dropped(), 0);
    }

    #[test]
    fn hostile_counters_are_harmless() {
        let (ram, mut console) = console(u32::MAX);
        for head in [u64::MAX, 0, 1 << 63, CAPACITY + 1] {
            ram.write_value(RING, &head).unwrap();
            lines(&mut console);
        }
        assert!(console.dropped() > 0);
    }

    #[test]
    fn a_flood_is_limited_and_counted() {
        let (ram, mut console) = console(100);
        for _ in 0..50 {
            say(&ram, "nineteen bytes long\n");
        }
        assert_eq!(lines(&mut console).len(), 5);
        assert_eq!(console.dropped(), 45 * 20);
        assert!(console.last_lines().lines().count() == 50);
    }
}
