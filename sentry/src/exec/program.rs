//! [`load`]: from a path to a program ready to run: `#!` scripts, credentials after the call, image (execve(2)).

use super::{Arguments, ImageRequest, Randomize, load_image};
use crate::abi::Errno;
use crate::fs::lookup::Follow;
use crate::fs::node::FileNode;
use crate::fs::{FsContext, FsCx, MountFlags, NodeKind, OpenFile, open};
use crate::mm::{Budget, Limits as MmLimits, Mm};
use crate::security::exec::{FileCapabilities, FilePrivileges, after_exec};
use crate::security::user_ns::Kind;
use crate::security::{Capability, Creds};
use crate::task::{Limits, Resource};
use crate::user::{IoWriter, UserAddr};
use crate::wait::Stop;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes of a file that decide what it is (Linux: `BINPRM_BUF_SIZE`).
const HEAD: usize = 256;
/// Scripts whose interpreter is a script, at most.
const SCRIPTS_MAX: usize = 5;

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o010;

/// What to load.
pub struct Program<'a> {
    /// Who asks.
    pub cx: &'a FsCx<'a>,
    /// Root and working directory.
    pub fs: &'a Arc<FsContext>,
    /// Path of the program.
    pub path: &'a [u8],
    /// No interpreter could open `path`: it leads by a descriptor that the call closes.
    pub path_closes: bool,
    /// Argument and environment strings.
    pub arguments: Arguments,
    /// Credentials before the call.
    pub creds: &'a Creds,
    /// Resource limits.
    pub limits: &'a Limits,
    /// Pays for the pages.
    pub budget: &'a Arc<Budget>,
}

/// A program ready to run.
pub struct Loaded {
    /// Credentials after the call.
    pub creds: Creds,
    /// Whether it has more privileges than its caller.
    pub secure: bool,
    /// Its address space.
    pub mm: Arc<Mm>,
    /// First instruction.
    pub entry: UserAddr,
    /// Stack pointer.
    pub stack_pointer: UserAddr,
    /// `comm`: the last name of the path.
    pub name: Vec<u8>,
}

/// The limits of memory as an address space observes them.
#[must_use]
pub fn memory_limits(limits: &Limits, creds: &Creds) -> MmLimits {
    let locked = creds.has(Capability::IpcLock);
    MmLimits {
        address_space: limits.soft(Resource::As),
        data: limits.soft(Resource::Data),
        stack: limits.soft(Resource::Stack),
        memlock: if locked { crate::mm::INFINITY } else { limits.soft(Resource::Memlock) },
    }
}

/// Loads the program at a path.
///
/// # Errors
/// As execve(2): `ENOENT`, `EACCES`, `ENOEXEC`, `ELOOP` for too many scripts in a row, `E2BIG`, `ENOMEM`, `EIO`.
pub fn load(program: Program<'_>) -> Result<Loaded, Errno> {
    let file = open_program(program.cx, program.fs, program.path)?;
    load_file(program, file, Randomize::Full)
}

fn open_program(cx: &FsCx<'_>, fs: &FsContext, path: &[u8]) -> Result<Arc<OpenFile>, Errno> {
    open::open_executable(cx, &fs.root(), &fs.cwd(), path, Follow::Yes)
}

/// Whether a path names a file that may be executed.
#[must_use]
pub fn is_executable(cx: &FsCx<'_>, fs: &Arc<FsContext>, path: &[u8]) -> bool {
    open_program(cx, fs, path).is_ok()
}

/// As [`load`], of a file that is open; `program.path` is what a script's interpreter is told.
///
/// # Errors
/// As [`load`]; `ENOENT` for a script whose path closes.
pub fn load_file(
    program: Program<'_>,
    mut file: Arc<OpenFile>,
    randomize: Randomize,
) -> Result<Loaded, Errno> {
    let Program { cx, fs, path, path_closes, mut arguments, creds, limits, budget } = program;
    let mut named = path.to_vec();
    let mut scripts = 0;
    while let Some(Script { interpreter, argument }) = script_of(cx, &file)? {
        scripts += 1;
        if path_closes {
            return Err(Errno::ENOENT);
        }
        if scripts > SCRIPTS_MAX {
            return Err(Errno::ELOOP);
        }
        arguments.interpret(&interpreter, argument.as_deref(), &named)?;
        file = open_program(cx, fs, &interpreter)?;
        named = interpreter;
    }
    let (after, secure) = after_exec(creds, &privileges(cx, &file, creds)?);
    let open_interpreter = |path: &[u8]| open_program(cx, fs, path);
    let image = load_image(&ImageRequest {
        sleeper: cx.sleeper,
        file: &file,
        open_interpreter: &open_interpreter,
        arguments: &arguments,
        exec_name: path,
        creds: &after,
        secure,
        randomize,
        limits: memory_limits(limits, &after),
        budget: budget.clone(),
    })?;
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    let (mm, entry, stack_pointer) = (image.mm, image.entry, image.stack_pointer);
    Ok(Loaded { creds: after, secure, mm, entry, stack_pointer, name })
}

/// What a `#!` line says.
struct Script {
    interpreter: Vec<u8>,
    argument: Option<Vec<u8>>,
}

/// The `#!` line of a file; `None` when it is no script.
fn script_of(cx: &FsCx<'_>, file: &OpenFile) -> Result<Option<Script>, Errno> {
    let mut head = [0; HEAD];
    let len = read_head(cx, file, &mut head)?;
    let Some(line) = head.get(..len).and_then(|head| head.strip_prefix(b"#!")) else { return Ok(None) };
    let end = line.iter().position(|byte| *byte == b'\n');
    let cut_off = end.is_none() && len == HEAD;
    let line = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | 0);
    let start = line.iter().position(|byte| !is_blank(byte)).ok_or(Errno::ENOEXEC)?;
    let line = line.get(start..).unwrap_or_default();
    let name_end = line.iter().position(is_blank);
    if name_end.is_none() && cut_off {
        // The interpreter's name itself may be cut off.
        return Err(Errno::ENOEXEC);
    }
    let (name, rest) = line.split_at(name_end.unwrap_or(line.len()));
    let from = rest.iter().position(|byte| !is_blank(byte));
    let to = rest.iter().rposition(|byte| !is_blank(byte));
    let argument = from.zip(to).and_then(|(from, to)| rest.get(from..=to)).map(<[u8]>::to_vec);
    Ok(Some(Script { interpreter: name.to_vec(), argument }))
}

fn read_head(cx: &FsCx<'_>, file: &OpenFile, head: &mut [u8]) -> Result<usize, Errno> {
    let Some(NodeKind::File(node)) = file.node().map(|node| &node.kind) else { return Err(Errno::EACCES) };
    let node: &Arc<dyn FileNode> = node;
    let mut writer = IoWriter::kernel(head);
    match node.read(cx, file, 0, &mut writer) {
        Ok(_) => Ok(writer.done()),
        Err(Stop::Errno(errno)) => Err(errno),
        Err(Stop::WouldBlock | Stop::Fault(_)) => Err(Errno::EIO),
    }
}

/// Set-id bits and capabilities of a file, where its mount and the caller let them count.
fn privileges(cx: &FsCx<'_>, file: &OpenFile, creds: &Creds) -> Result<FilePrivileges, Errno> {
    let none = FilePrivileges::default();
    let no_suid = file.path().is_some_and(|path| path.mount.flags().contains(MountFlags::NO_SUID));
    let Some(node) = file.node().filter(|_| !no_suid && !creds.no_new_privs) else { return Ok(none) };
    let attr = node.ops.attr(cx)?;
    let user_ns = &creds.user_ns;
    let named =
        user_ns.inside(Kind::User, attr.uid).is_some() && user_ns.inside(Kind::Group, attr.gid).is_some();
    let set_gid = attr.mode & S_ISGID != 0 && attr.mode & S_IXGRP != 0;
    let capabilities = match node.ops.get_xattr(cx, b"security.capability") {
        Ok(value) => FileCapabilities::parse(&value)?,
        Err(_) => None,
    };
    Ok(FilePrivileges {
        uid: (named && attr.mode & S_ISUID != 0).then_some(attr.uid),
        gid: (named && set_gid).then_some(attr.gid),
        capabilities,
    })
}
