//! An argument as text, by the letters of [`super::shape`].

use super::flags;
use crate::abi::Errno;
use crate::abi::file::{Stat, Timespec};
use crate::syscall::Cx;
use crate::user::{UserAddr, UserPtr};
use alloc::string::String;
use core::fmt::Write;

/// Bytes of a buffer that are shown.
const BYTES_MAX: usize = 32;
/// Bytes of a path that are shown.
const PATH_MAX: usize = 256;
/// Elements of a list that are shown.
const LIST_MAX: u64 = 8;

/// Whether the kernel fills the argument: it is shown when the call is over.
pub(super) const fn is_result(kind: u8) -> bool {
    matches!(kind, b'B' | b'S' | b'T' | b'i' | b'2' | b'w' | b'E' | b'P')
}

/// Writes argument `at` of a call with this `result` (-1 for an error).
#[expect(clippy::cast_possible_truncation, reason = "shown as the call takes it: an int")]
pub(super) fn show(text: &mut String, cx: &Cx<'_>, kind: u8, arguments: &[u64; 6], at: usize, result: i64) {
    let value = arguments.get(at).copied().unwrap_or(0);
    let next = arguments.get(at + 1).copied().unwrap_or(0);
    let low = u64::from(value as u32);
    let _ = match kind {
        b'd' | b'f' => write!(text, "{}", value as i32),
        b'D' if value as i32 == crate::abi::file::AT_FDCWD => write!(text, "AT_FDCWD"),
        b'D' => write!(text, "{}", value as i32),
        b'l' => write!(text, "{}", value.cast_signed()),
        b'u' => write!(text, "{value}"),
        b'm' => write!(text, "{low:#o}"),
        _ => Ok(()),
    };
    match kind {
        b'd' | b'f' | b'D' | b'l' | b'u' | b'm' => {}
        b'p' | b's' => string(text, cx, value, PATH_MAX),
        b'A' => strings(text, cx, value),
        b'b' => bytes(text, cx, value, next),
        b'B' if result >= 0 => bytes(text, cx, value, result.cast_unsigned().min(next)),
        b'o' => open_flags(text, low),
        b'a' => flags::bits(text, low, flags::ACCESS, "F_OK"),
        b'g' => flags::name(text, low, flags::SIGNAL),
        b'S' if result >= 0 => stat(text, cx, value),
        b't' => time(text, cx, value),
        b'T' if result >= 0 => time(text, cx, value),
        b'i' | b'w' if result >= 0 => numbers(text, cx, value, 1),
        b'2' if result >= 0 => numbers(text, cx, value, 2),
        b'v' => vectors(text, cx, value, next),
        b'r' => flags::bits(text, low, flags::PROTECTION, "PROT_NONE"),
        b'M' => flags::bits(text, low, flags::MAP, "0"),
        b'c' => {
            flags::bits(text, value & !0xff, flags::CLONE, "0");
            text.push('|');
            flags::name(text, value & 0xff, flags::SIGNAL);
        }
        b'F' => {
            flags::name(text, low & 0x7f, flags::FUTEX);
            flags::bits(
                text,
                low & !0x7f,
                &[(0x80, "|FUTEX_PRIVATE_FLAG"), (0x100, "FUTEX_CLOCK_REALTIME")],
                "",
            );
        }
        b'k' => flags::name(text, i64::from(value as i32).cast_unsigned(), flags::CLOCK),
        b'h' => flags::name(text, low, flags::SEEK),
        b'n' => match low {
            10 => text.push_str("AF_INET6"),
            16 => text.push_str("AF_NETLINK"),
            _ => flags::name(text, low, flags::FAMILY),
        },
        b'N' => address(text, cx, value, next),
        b'e' => flags::name(text, low, flags::EPOLL),
        b'P' => polls(text, cx, value, next),
        b'q' => signals(text, cx, value),
        b'H' => flags::name(text, low, flags::MASK),
        b'y' => flags::name(text, low, flags::FCNTL),
        b'W' => flags::name(text, low, flags::ADVICE),
        _ => pointer(text, value),
    }
}

fn pointer(text: &mut String, value: u64) {
    let _ = if value == 0 { write!(text, "0") } else { write!(text, "{value:#x}") };
}

fn open_flags(text: &mut String, value: u64) {
    text.push_str(match value & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "3",
    });
    if value & !3 != 0 {
        text.push('|');
        flags::bits(text, value & !3, flags::OPEN, "");
    }
}

/// Bytes as a C string.
fn quoted(text: &mut String, bytes: &[u8], cut: bool) {
    text.push('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\r' => text.push_str("\\r"),
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\{byte:o}");
            }
        }
    }
    text.push_str(if cut { "\"..." } else { "\"" });
}

fn string(text: &mut String, cx: &Cx<'_>, at: u64, max: usize) {
    if at == 0 {
        text.push_str("NULL");
        return;
    }
    match cx.user().read_cstr(UserAddr::new(at), max, Errno::ENAMETOOLONG) {
        Ok(found) => quoted(text, &found, false),
        Err(_) => pointer(text, at),
    }
}

fn strings(text: &mut String, cx: &Cx<'_>, at: u64) {
    text.push('[');
    for index in 0..=LIST_MAX {
        let Some(Ok(element)) =
            at.checked_add(index * 8).map(|at| cx.user().read(UserPtr::<u64>::new(UserAddr::new(at))))
        else {
            break;
        };
        if element == 0 {
            break;
        }
        if index > 0 {
            text.push_str(", ");
        }
        if index == LIST_MAX {
            text.push_str("...");
            break;
        }
        string(text, cx, element, PATH_MAX);
    }
    text.push(']');
}

fn bytes(text: &mut String, cx: &Cx<'_>, at: u64, len: u64) {
    let shown = usize::try_from(len).map_or(BYTES_MAX, |len| len.min(BYTES_MAX));
    let mut found = [0u8; BYTES_MAX];
    let Some(found) = found.get_mut(..shown) else { return };
    match cx.user().read_bytes(UserAddr::new(at), found) {
        Ok(()) => quoted(text, found, len > BYTES_MAX as u64),
        Err(_) => pointer(text, at),
    }
}

fn stat(text: &mut String, cx: &Cx<'_>, at: u64) {
    let _ = match cx.user().read(UserPtr::<Stat>::new(UserAddr::new(at))) {
        Ok(stat) => write!(text, "{{st_mode={:#o}, st_size={}, ...}}", stat.mode, stat.size),
        Err(_) => write!(text, "{at:#x}"),
    };
}

fn time(text: &mut String, cx: &Cx<'_>, at: u64) {
    let _ = match cx.user().read(UserPtr::<Timespec>::new(UserAddr::new(at))) {
        _ if at == 0 => write!(text, "NULL"),
        Ok(time) => write!(text, "{{{}, {}}}", time.sec, time.nsec),
        Err(_) => write!(text, "{at:#x}"),
    };
}

fn numbers(text: &mut String, cx: &Cx<'_>, at: u64, count: usize) {
    if at == 0 {
        text.push_str("NULL");
        return;
    }
    let _ = match cx.user().read_array(UserPtr::<i32>::new(UserAddr::new(at)), count) {
        Ok(numbers) => write!(text, "{numbers:?}"),
        Err(_) => write!(text, "{at:#x}"),
    };
}

fn vectors(text: &mut String, cx: &Cx<'_>, at: u64, count: u64) {
    text.push('[');
    for index in 0..count.min(LIST_MAX) {
        let record = at.checked_add(index * 16).map(|at| UserPtr::<[u64; 2]>::new(UserAddr::new(at)));
        let Some(Ok([base, len])) = record.map(|record| cx.user().read(record)) else { break };
        let _ = write!(text, "{}{{{base:#x}, {len}}}", if index > 0 { ", " } else { "" });
    }
    text.push_str(if count > LIST_MAX { ", ...]" } else { "]" });
}

fn address(text: &mut String, cx: &Cx<'_>, at: u64, len: u64) {
    let mut raw = [0u8; 64];
    let len = usize::try_from(len).map_or(0, |len| len.min(raw.len()));
    let found = raw.get_mut(..len).map(|raw| cx.user().read_bytes(UserAddr::new(at), raw));
    let family = u16::from_le_bytes([raw[0], raw[1]]);
    let _ = match (family, found) {
        _ if at == 0 => write!(text, "NULL"),
        (1, Some(Ok(()))) => {
            text.push_str("{AF_UNIX, ");
            let name = raw.get(2..len).unwrap_or_default();
            let end = name.iter().skip(1).position(|byte| *byte == 0).map_or(name.len(), |end| end + 1);
            quoted(text, name.get(..end).unwrap_or_default(), false);
            write!(text, "}}")
        }
        (2, Some(Ok(()))) => {
            let port = u16::from_be_bytes([raw[2], raw[3]]);
            write!(text, "{{AF_INET, {}.{}.{}.{}:{port}}}", raw[4], raw[5], raw[6], raw[7])
        }
        (10, Some(Ok(()))) => write!(text, "{{AF_INET6, port {}}}", u16::from_be_bytes([raw[2], raw[3]])),
        _ => write!(text, "{at:#x}"),
    };
}

fn polls(text: &mut String, cx: &Cx<'_>, at: u64, count: u64) {
    text.push('[');
    for index in 0..count.min(LIST_MAX) {
        let record = at.checked_add(index * 8).map(|at| UserPtr::<[u16; 4]>::new(UserAddr::new(at)));
        let Some(Ok([fd, _, events, returned])) = record.map(|record| cx.user().read(record)) else { break };
        let _ = write!(text, "{}{{{}, ", if index > 0 { ", " } else { "" }, fd.cast_signed());
        flags::bits(text, u64::from(events), flags::POLL, "0");
        text.push_str(" -> ");
        flags::bits(text, u64::from(returned), flags::POLL, "0");
        text.push('}');
    }
    text.push_str(if count > LIST_MAX { ", ...]" } else { "]" });
}

fn signals(text: &mut String, cx: &Cx<'_>, at: u64) {
    let _ = match cx.user().read(UserPtr::<u64>::new(UserAddr::new(at))) {
        _ if at == 0 => write!(text, "NULL"),
        Ok(set) => {
            text.push('[');
            for number in 1..=64u64 {
                if set & 1 << (number - 1) != 0 {
                    if !text.ends_with('[') {
                        text.push(' ');
                    }
                    flags::name(text, number, flags::SIGNAL);
                }
            }
            write!(text, "]")
        }
        Err(_) => write!(text, "{at:#x}"),
    };
}
