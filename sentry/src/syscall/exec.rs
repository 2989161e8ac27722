//! execve, execveat (execve(2)).

use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::exec::program::{Program, load_file};
use crate::exec::replace::replace;
use crate::exec::{Arguments, Randomize};
use crate::fs::lookup::Follow;
use crate::fs::{FsCx, OpenFile, open};
use crate::task::Resource;
use crate::user::{UserAddr, UserPtr};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(59, "execve", 3, execve, Restart::Sa, Support::Full),
    row!(322, "execveat", 5, execveat, Restart::Sa, Support::Full),
];

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;
const PATH_MAX: usize = 4096;
const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;

fn execve(cx: &mut Cx<'_>, path: UserAddr, argv: UserPtr<u64>, envp: UserPtr<u64>) -> SysResult {
    execveat(cx, Fd(AT_FDCWD), path, argv, envp, 0)
}

fn execveat(
    cx: &mut Cx<'_>,
    dir: Fd,
    path: UserAddr,
    argv: UserPtr<u64>,
    envp: UserPtr<u64>,
    flags: u32,
) -> SysResult {
    let task = cx.task;
    if task.too_many_tasks.load(Ordering::Relaxed) {
        let limit = task.rlimit(Resource::Nproc).saturating_add(1);
        if task.container().has_tasks_beyond(task.creds().uid, limit) {
            return Err(Errno::EAGAIN.into());
        }
        task.too_many_tasks.store(false, Ordering::Relaxed);
    }
    let path = cx.user().read_cstr(path, PATH_MAX, Errno::ENAMETOOLONG)?;
    if path.is_empty() && flags & AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT.into());
    }
    let (creds, fs) = (task.creds(), task.fs());
    let process = task.process();
    let fs_cx = FsCx { sleeper: cx.sleeper, interrupt: &**task, creds: &creds, caller: task.caller() };
    let budget = task.container().budget.clone();
    let stack = process.limits.soft(Resource::Stack);
    // The strings are taken before the flags are looked at and the file is looked for.
    let arguments = Arguments::read_user(&cx.user(), argv, envp, &budget, stack)?;
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = open_at(cx, &fs_cx, dir, &path, flags)?;
    let fixed = task.personality.load(Ordering::Relaxed) & ADDR_NO_RANDOMIZE != 0;
    let program = Program {
        cx: &fs_cx,
        fs: &fs,
        path: &name_of(dir, &path),
        path_closes: is_by_descriptor(dir, &path)
            && cx.files.entry(dir).is_ok_and(|entry| entry.close_on_exec),
        arguments,
        creds: &creds,
        limits: &process.limits,
        budget: &budget,
    };
    let randomize = if fixed { Randomize::None } else { Randomize::Full };
    let loaded = load_file(program, file, randomize)?;
    replace(cx, loaded)?;
    Ok(0)
}

fn open_at(cx: &Cx<'_>, fs_cx: &FsCx<'_>, dir: Fd, path: &[u8], flags: u32) -> Result<Arc<OpenFile>, Errno> {
    let fs = cx.task.fs();
    let is_absolute = path.first() == Some(&b'/');
    let start = if dir.0 == AT_FDCWD || is_absolute {
        fs.cwd()
    } else {
        cx.files.get(dir)?.path().cloned().ok_or(Errno::EACCES)?
    };
    if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
        return open::open_path_executable(fs_cx, start);
    }
    let follow = if flags & AT_SYMLINK_NOFOLLOW == 0 { Follow::Yes } else { Follow::No };
    open::open_executable(fs_cx, &fs.root(), &start, path, follow)
}

fn is_by_descriptor(dir: Fd, path: &[u8]) -> bool {
    dir.0 != AT_FDCWD && path.first() != Some(&b'/')
}

/// What a script's interpreter and `AT_EXECFN` are told.
fn name_of(dir: Fd, path: &[u8]) -> Vec<u8> {
    if !is_by_descriptor(dir, path) {
        return path.to_vec();
    }
    let mut name = format!("/dev/fd/{}", dir.0).into_bytes();
    if !path.is_empty() {
        name.push(b'/');
        name.extend_from_slice(path);
    }
    name
}
