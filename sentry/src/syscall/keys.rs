//! add_key, request_key, and what they share with keyctl(2).

use super::row::{Restart, Row, Support, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::security::keys::{Access, Payload, Serial};
use crate::user::UserAddr;
use alloc::vec;
use alloc::vec::Vec;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(
        248,
        "add_key",
        5,
        add_key,
        Restart::Never,
        Support::Partial("types keyring, user and logon; root may have 20000 keys")
    ),
    row!(
        249,
        "request_key",
        4,
        request_key,
        Restart::Never,
        Support::Partial("finds keys; there is no program to make them: ENOKEY")
    ),
];

/// Longest payload of any type, bytes.
const LARGEST: usize = (1 << 20) - 1;
/// Longest description with its null byte.
const DESCRIPTION_MAX: usize = 4096;
/// Longest name of a type with its null byte.
const TYPE_MAX: usize = 32;

/// Realtime seconds, by which keys expire.
pub(crate) fn now() -> i64 {
    i64::try_from(crate::platform::get().realtime_ns() / 1_000_000_000).unwrap_or(i64::MAX)
}

/// Calls `act` with the keys as the caller sees them. They are locked meanwhile: nothing there may sleep.
pub(super) fn with<T>(
    cx: &Cx<'_>,
    act: impl FnOnce(&mut Access<'_>) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let creds = cx.task.creds();
    let mut rings = cx.task.keyrings.lock();
    act(&mut rings.access(&creds, now()))
}

/// A key's number as a result.
pub(super) fn number(serial: Serial) -> SysResult {
    Ok(usize::try_from(serial).map_err(|_| Errno::EINVAL)?)
}

/// Reads the name of a type.
///
/// # Errors
/// `EFAULT`; `EINVAL` for none and for one that is too long, `EPERM` for one of the kernel's own.
pub(super) fn read_type(cx: &Cx<'_>, from: UserAddr) -> Result<Vec<u8>, Errno> {
    let name = cx.user().read_cstr(from, TYPE_MAX, Errno::EINVAL)?;
    match name.first() {
        None => Err(Errno::EINVAL),
        Some(b'.') => Err(Errno::EPERM),
        Some(_) => Ok(name),
    }
}

/// Reads a description.
///
/// # Errors
/// `EFAULT`, `EINVAL` when it is too long.
pub(super) fn read_description(cx: &Cx<'_>, from: UserAddr) -> Result<Vec<u8>, Errno> {
    cx.user().read_cstr(from, DESCRIPTION_MAX, Errno::EINVAL)
}

/// Reads a payload.
///
/// # Errors
/// `EFAULT`.
pub(super) fn read_payload(cx: &Cx<'_>, from: UserAddr, len: usize) -> Result<Payload, Errno> {
    if len == 0 {
        return Ok(Payload::Bytes(Vec::new()));
    }
    if len <= Payload::MAX {
        let mut bytes = vec![0; len];
        cx.user().read_bytes(from, &mut bytes)?;
        return Ok(Payload::Bytes(bytes));
    }
    // Nothing takes so much; that it cannot be read is told first all the same.
    let mut part = vec![0; 4096];
    for at in (0..len).step_by(part.len()) {
        let end = part.len().min(len - at);
        let place = from.checked_add(at as u64).ok_or(Errno::EFAULT)?;
        cx.user().read_bytes(place, part.get_mut(..end).unwrap_or_default())?;
    }
    Ok(Payload::TooLong)
}

fn add_key(
    cx: &mut Cx<'_>,
    kind: UserAddr,
    description: UserAddr,
    payload: UserAddr,
    len: usize,
    ring: Serial,
) -> SysResult {
    if len > LARGEST {
        return Err(Errno::EINVAL.into());
    }
    let kind = read_type(cx, kind)?;
    let description = if description.is_null() { Vec::new() } else { read_description(cx, description)? };
    if description.first() == Some(&b'.') && kind.starts_with(b"keyring") {
        return Err(Errno::EPERM.into());
    }
    let payload = read_payload(cx, payload, len)?;
    number(with(cx, |keys| keys.add(ring, &kind, &description, &payload))?)
}

fn request_key(
    cx: &mut Cx<'_>,
    kind: UserAddr,
    description: UserAddr,
    callout: UserAddr,
    ring: Serial,
) -> SysResult {
    let kind = read_type(cx, kind)?;
    let description = read_description(cx, description)?;
    if !callout.is_null() {
        read_description(cx, callout)?;
    }
    let found = with(cx, |keys| keys.request(&kind, &description, ring));
    // Whoever would make keys makes no rings.
    let asks_for_ring = !callout.is_null() && kind == b"keyring";
    number(found.map_err(|errno| if errno == Errno::ENOKEY && asks_for_ring { Errno::EPERM } else { errno })?)
}
