//! open, openat, openat2, creat, close, memfd_create.

use super::descriptor::{self, CLOEXEC};
use super::place::{Scope, read_path};
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::abi::file::{
    AT_FDCWD, FASYNC, O_ACCMODE, O_APPEND, O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_LARGEFILE, O_NOATIME,
    O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_SYNC, O_TMPFILE, O_TRUNC, O_WRONLY, OpenHow,
};
use crate::fs::lookup::Resolve;
use crate::fs::memfd;
use crate::fs::open::{self, How};
use crate::user::{UserAddr, UserPtr};
use zerocopy::FromBytes;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row!(2, "open", 3, open, Restart::Sa, Support::Full),
    row!(3, "close", 1, close, Restart::Never, Support::Full),
    row!(85, "creat", 2, creat, Restart::Sa, Support::Full),
    row!(257, "openat", 4, openat, Restart::Sa, Support::Full),
    row!(319, "memfd_create", 2, memfd_create, Restart::Never, Support::Partial("no huge pages")),
    row!(437, "openat2", 4, openat2, Restart::Sa, Support::Full),
];

/// Bits of `O_TMPFILE` besides `O_DIRECTORY`.
const TMPFILE_ONLY: u32 = 0o20_000_000;

const VALID: u32 = O_ACCMODE
    | O_CREAT
    | O_EXCL
    | O_NOCTTY
    | O_TRUNC
    | O_APPEND
    | O_NONBLOCK
    | O_SYNC
    | FASYNC
    | O_DIRECT
    | O_LARGEFILE
    | O_DIRECTORY
    | O_NOFOLLOW
    | O_NOATIME
    | CLOEXEC
    | O_PATH
    | TMPFILE_ONLY;

/// Checks flags as Linux's `build_open_flags` does.
fn check(flags: u32, mode: u32) -> Result<(), Errno> {
    if flags & (O_DIRECTORY | O_CREAT) == O_DIRECTORY | O_CREAT {
        return Err(Errno::EINVAL);
    }
    if flags & TMPFILE_ONLY != 0 {
        let writes = matches!(flags & O_ACCMODE, 1 | 2);
        if flags & O_TMPFILE != O_TMPFILE || !writes {
            return Err(Errno::EINVAL);
        }
    }
    if flags & (O_CREAT | TMPFILE_ONLY) == 0 && mode != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn open_common(cx: &Cx<'_>, dir: Fd, path: UserAddr, how: &How) -> SysResult {
    let path = read_path(cx, path)?;
    let scope = Scope::for_open(cx);
    if path.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let start = scope.start(cx, dir, &path)?;
    let makes = how.flags & (O_CREAT | TMPFILE_ONLY) != 0;
    let how = How { mode: if makes { how.mode & 0o7777 & !scope.fs.umask() } else { 0 }, ..*how };
    let fs = scope.cx(cx);
    let file = open::open(&fs, &scope.fs.root(), &start, &path, &how)?;
    // `O_CLOEXEC` belongs to the descriptor.
    file.set_flags(file.flags() & !CLOEXEC);
    super::terminal::opened(cx, &file, how.flags);
    descriptor::number(descriptor::install_file(cx, file, how.flags)?)
}

fn openat(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, flags: u32, mode: u32) -> SysResult {
    let mut flags = flags & VALID;
    if flags & O_PATH != 0 {
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | CLOEXEC;
    }
    let mode = if flags & (O_CREAT | TMPFILE_ONLY) != 0 { mode & 0o7777 } else { 0 };
    check(flags, mode)?;
    open_common(cx, dir, path, &How { flags, mode, resolve: Resolve::empty() })
}

fn open(cx: &mut Cx<'_>, path: UserAddr, flags: u32, mode: u32) -> SysResult {
    openat(cx, Fd(AT_FDCWD), path, flags, mode)
}

fn creat(cx: &mut Cx<'_>, path: UserAddr, mode: u32) -> SysResult {
    openat(cx, Fd(AT_FDCWD), path, O_CREAT | O_WRONLY | O_TRUNC, mode)
}

/// Reads a structure that may be longer than the kernel knows; the rest must be zero then.
fn read_how(cx: &Cx<'_>, at: UserPtr<OpenHow>, size: usize) -> Result<OpenHow, Errno> {
    const KNOWN: usize = size_of::<OpenHow>();
    if size < KNOWN {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut bytes = alloc::vec![0u8; size];
    cx.user().read_bytes(at.addr(), &mut bytes)?;
    let (how, rest) = OpenHow::read_from_prefix(&bytes).map_err(|_| Errno::EINVAL)?;
    if rest.iter().any(|byte| *byte != 0) { Err(Errno::E2BIG) } else { Ok(how) }
}

fn openat2(cx: &mut Cx<'_>, dir: Fd, path: UserAddr, how: UserPtr<OpenHow>, size: usize) -> SysResult {
    let how = read_how(cx, how, size)?;
    let flags = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let mode = u32::try_from(how.mode).ok().filter(|mode| mode & !0o7777 == 0).ok_or(Errno::EINVAL)?;
    let resolve = Resolve::from_bits(how.resolve).ok_or(Errno::EINVAL)?;
    if flags & !VALID != 0 || resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT) {
        return Err(Errno::EINVAL.into());
    }
    if flags & O_PATH != 0 && flags & !(O_PATH | O_DIRECTORY | O_NOFOLLOW | CLOEXEC) != 0 {
        return Err(Errno::EINVAL.into());
    }
    check(flags, mode)?;
    if resolve.contains(Resolve::CACHED) {
        // What is remembered is not told apart from what is not: the caller tries again without the flag.
        return Err(Errno::EAGAIN.into());
    }
    open_common(cx, dir, path, &How { flags, mode, resolve })
}

fn close(cx: &mut Cx<'_>, fd: Fd) -> SysResult {
    let entry = cx.files.remove(fd)?;
    descriptor::closed(cx, entry);
    Ok(0)
}

fn memfd_create(cx: &mut Cx<'_>, name: UserAddr, flags: u32) -> SysResult {
    const MFD_CLOEXEC: u32 = 1;
    const MFD_ALLOW_SEALING: u32 = 2;
    const MFD_NOEXEC_SEAL: u32 = 8;
    const MFD_EXEC: u32 = 16;
    if flags & !(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC) != 0
        || flags & (MFD_NOEXEC_SEAL | MFD_EXEC) == MFD_NOEXEC_SEAL | MFD_EXEC
    {
        return Err(Errno::EINVAL.into());
    }
    let name = cx.user().read_cstr(name, 250, Errno::EINVAL)?;
    let scope = Scope::new(cx);
    let sealing = if flags & MFD_NOEXEC_SEAL != 0 {
        memfd::Sealing::NoExecute
    } else if flags & MFD_ALLOW_SEALING != 0 {
        memfd::Sealing::Allowed
    } else {
        memfd::Sealing::Refused
    };
    let file = memfd::create(&scope.cx(cx), &cx.mm.budget(), &name, sealing)?;
    descriptor::number(descriptor::install_file(
        cx,
        file,
        if flags & MFD_CLOEXEC != 0 { CLOEXEC } else { 0 },
    )?)
}
