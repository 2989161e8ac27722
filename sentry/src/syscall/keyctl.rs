//! keyctl: everything that is done with keys beside making and finding them.

use super::keys::{number, read_description, read_payload, read_type, with};
use super::row::{Restart, Row, Support, row};
use super::{Cx, FromArg, SysResult};
use crate::abi::Errno;
use crate::security::keys::{Need, Serial};
use crate::security::user_ns::Kind as IdKind;
use crate::user::UserAddr;
use alloc::vec::Vec;

/// The family's rows.
pub const ROWS: &[Row] = &[row!(
    250,
    "keyctl",
    5,
    keyctl,
    Restart::Never,
    Support::Partial(
        "nothing is instantiated, no public keys, Diffie-Hellman, restrictions by type, notifications"
    )
)];

/// `KEYCTL_CAPABILITIES`: capabilities, persistent keyrings, invalidating, restricting and moving; names of keyrings are
/// not those of a user namespace.
const CAPABILITIES: [u8; 2] = [1 | 2 | 0x20 | 0x40 | 0x80, 0];
/// Longest payload of `KEYCTL_UPDATE`.
const UPDATE_MAX: usize = 4096;

fn serial(register: u64) -> Serial {
    Serial::from_arg(register)
}

fn keyctl(cx: &mut Cx<'_>, operation: i32, a: u64, b: u64, c: u64, d: u64) -> SysResult {
    let id = serial(a);
    match operation {
        0 => {
            let create = i32::from_arg(b) != 0;
            number(with(cx, |keys| keys.look_up(id, create, Need::Search))?.serial)
        }
        1 => join_session(cx, UserAddr::new(a)),
        2 => {
            let len = usize::from_arg(c);
            if len > UPDATE_MAX {
                return Err(Errno::EINVAL.into());
            }
            let payload = read_payload(cx, UserAddr::new(b), len)?;
            done(with(cx, |keys| keys.update(id, &payload)))
        }
        3 => done(with(cx, |keys| keys.revoke(id))),
        4 => change_owner(cx, id, u32::from_arg(b), u32::from_arg(c)),
        5 => done(with(cx, |keys| keys.set_permissions(id, u32::from_arg(b)))),
        6 => {
            let text = with(cx, |keys| keys.describe(id))?;
            give(cx, &text, UserAddr::new(b), usize::from_arg(c))
        }
        7 => done(with(cx, |keys| keys.clear(id))),
        8 => done(with(cx, |keys| keys.link(id, serial(b)))),
        9 => done(with(cx, |keys| keys.unlink(id, serial(b)))),
        10 => {
            let kind = read_type(cx, UserAddr::new(b))?;
            let description = read_description(cx, UserAddr::new(c))?;
            number(with(cx, |keys| keys.search(id, &kind, &description, serial(d)))?)
        }
        11 => {
            let payload = with(cx, |keys| keys.read(id))?;
            give(cx, &payload, UserAddr::new(b), usize::from_arg(c))
        }
        // Nothing waits to be instantiated.
        12 if usize::from_arg(c) >= 1 << 20 => Err(Errno::EINVAL.into()),
        19 if !is_error(u32::from_arg(c)) => Err(Errno::EINVAL.into()),
        12 | 13 | 19 | 20 => Err(Errno::EPERM.into()),
        14 => number(with(cx, |keys| keys.set_default_ring(id))?),
        15 => done(with(cx, |keys| keys.set_timeout(id, u32::from_arg(b)))),
        16 if id < 0 => Err(Errno::EINVAL.into()),
        16 if id == 0 => Ok(0),
        16 => Err(Errno::ENOKEY.into()),
        17 => {
            with(cx, |keys| keys.look_up(id, false, Need::View))?;
            if b != 0 && c > 0 {
                cx.user().write_bytes(UserAddr::new(b), &[0])?;
            }
            Ok(1)
        }
        18 => session_to_parent(cx),
        21 => done(with(cx, |keys| keys.invalidate(id))),
        22 => persistent(cx, u32::from_arg(a), serial(b)),
        29 => restrict(cx, id, UserAddr::new(b), UserAddr::new(c)),
        30 => {
            let flags = u32::from_arg(d);
            if flags & !1 != 0 {
                return Err(Errno::EINVAL.into());
            }
            done(with(cx, |keys| keys.move_link(id, serial(b), serial(c), flags != 0)))
        }
        31 => capabilities(cx, UserAddr::new(a), usize::from_arg(b)),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

fn done(result: Result<(), Errno>) -> SysResult {
    result?;
    Ok(0)
}

/// Whether a key may be rejected with this number.
const fn is_error(number: u32) -> bool {
    number > 0 && number < 4095 && !matches!(number, 512..=514 | 516)
}

/// Writes bytes where they fit, and tells how many they are in any case.
fn give(cx: &Cx<'_>, bytes: &[u8], to: UserAddr, room: usize) -> SysResult {
    if !to.is_null() && room >= bytes.len() {
        cx.user().write_bytes(to, bytes)?;
    }
    Ok(bytes.len())
}

fn join_session(cx: &Cx<'_>, name: UserAddr) -> SysResult {
    let name: Option<Vec<u8>> = if name.is_null() { None } else { Some(read_description(cx, name)?) };
    if name.as_ref().is_some_and(|name| name.first() == Some(&b'.')) {
        return Err(Errno::EPERM.into());
    }
    number(with(cx, |keys| keys.join_session(name.as_deref()))?)
}

/// An id of the caller's user namespace; `None` leaves it as it is.
fn real_id(cx: &Cx<'_>, kind: IdKind, id: u32) -> Result<Option<u32>, Errno> {
    if id == u32::MAX {
        return Ok(None);
    }
    cx.task.creds().user_ns.outside(kind, id).map(Some).ok_or(Errno::EINVAL)
}

fn change_owner(cx: &Cx<'_>, id: Serial, uid: u32, gid: u32) -> SysResult {
    let (uid, gid) = (real_id(cx, IdKind::User, uid)?, real_id(cx, IdKind::Group, gid)?);
    if uid.is_none() && gid.is_none() {
        return Ok(0);
    }
    done(with(cx, |keys| keys.change_owner(id, uid, gid)))
}

fn persistent(cx: &Cx<'_>, uid: u32, ring: Serial) -> SysResult {
    let uid = real_id(cx, IdKind::User, uid)?.unwrap_or(cx.task.creds().uid);
    number(with(cx, |keys| keys.persistent(uid, ring))?)
}

fn restrict(cx: &Cx<'_>, id: Serial, kind: UserAddr, restriction: UserAddr) -> SysResult {
    with(cx, |keys| keys.look_up(id, false, Need::SetAttributes))?;
    if kind.is_null() != restriction.is_null() {
        return Err(Errno::EINVAL.into());
    }
    if !kind.is_null() {
        read_type(cx, kind)?;
        read_description(cx, restriction)?;
    }
    done(with(cx, |keys| keys.restrict(id, !kind.is_null())))
}

fn capabilities(cx: &Cx<'_>, to: UserAddr, room: usize) -> SysResult {
    let known = CAPABILITIES.get(..room).unwrap_or(&CAPABILITIES);
    cx.user().write_bytes(to, known)?;
    let zeroes = [0; 64];
    let mut at = known.len();
    while at < room {
        let part = zeroes.get(..room - at).unwrap_or(&zeroes);
        cx.user().write_bytes(to.checked_add(at as u64).ok_or(Errno::EFAULT)?, part)?;
        at += part.len();
    }
    Ok(CAPABILITIES.len())
}

/// The ring of the caller's session becomes that of its parent's, if both are of one user.
fn session_to_parent(cx: &Cx<'_>) -> SysResult {
    let serial = with(cx, |keys| keys.lend_session())?;
    let given = give_session(cx, serial);
    if given != Ok(true) {
        with(cx, |keys| {
            keys.take_back(serial);
            Ok(())
        })?;
    }
    given?;
    Ok(0)
}

/// Whether the parent has taken the ring that is held for it; `false` when it has it already.
fn give_session(cx: &Cx<'_>, serial: Serial) -> Result<bool, Errno> {
    let parent = cx.task.process().parent();
    let process = cx.task.container().process(parent).filter(|_| parent > 1).ok_or(Errno::EPERM)?;
    let threads = process.threads();
    let [task] = &*threads else { return Err(Errno::EPERM) };
    let (own, theirs) = (cx.task.creds(), task.creds());
    let session = task.keyrings.lock().session();
    if session.is_some_and(|(theirs, _)| theirs == serial) {
        return Ok(false);
    }
    let users = [theirs.uid, theirs.euid, theirs.suid];
    let groups = [theirs.gid, theirs.egid, theirs.sgid];
    let owner = cx.task.keyrings.lock().session().map(|(_, owner)| owner);
    let same = users.iter().all(|uid| *uid == own.euid)
        && groups.iter().all(|gid| *gid == own.egid)
        && session.is_none_or(|(_, owner)| owner == own.euid)
        && owner == Some(own.euid);
    if !same {
        return Err(Errno::EPERM);
    }
    task.keyrings.lock().set_session(serial);
    Ok(true)
}
