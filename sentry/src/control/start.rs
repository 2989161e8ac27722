//! A process of a container: credentials, limits, working directory, program.

use super::pod::Entry;
use super::{Refusal, environment};
use crate::abi::Errno;
use crate::exec::program::Program;
use crate::exec::{self, Arguments};
use crate::fs::lookup;
use crate::fs::{FdTable, FsContext, FsCx};
use crate::mm::Budget;
use crate::security::Creds;
use crate::security::seccomp::Seccomp;
use crate::task::{Limit, Limits, NewProcess, Process, Resource};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use chitin_proto::control::ProcessSpec;

/// Where programs are looked for when the environment has no `PATH`, as runc does.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Lets a process that was made held run.
pub(super) fn release(process: &Process) {
    process.release();
}

/// Makes a process, held before its first instruction.
///
/// # Errors
/// What keeps it from being made, naming the program or directory.
pub(super) fn process(
    cx: &FsCx<'_>,
    entry: &Entry,
    spec: &ProcessSpec,
    files: Arc<FdTable>,
) -> Result<Arc<Process>, Refusal> {
    let fs = FsContext::new(entry.tree.namespace.clone());
    let creds = credentials(spec);
    let user_cx = FsCx { creds: &creds, ..*cx };
    let cwd = if spec.cwd.is_empty() { "/" } else { spec.cwd.as_str() };
    let root = fs.root();
    // runc makes a working directory that is missing.
    let place = lookup::mkdir_all(cx, &root, cwd.as_bytes())
        .map_err(Refusal::of(format!("working directory {cwd}")))?;
    fs.set_cwd(place);
    if let Some(umask) = spec.umask {
        fs.set_umask(umask);
    }
    let limits = limits(spec);
    let shown = spec.args.first().map_or("", String::as_str);
    let path = find_program(&user_cx, &fs, spec)?;
    let arguments = arguments(spec, &environment::of(cx, &fs, spec), &entry.budget, &limits)
        .map_err(Refusal::of(format!("arguments of {shown:?}")))?;
    let program = exec::program::load(Program {
        cx: &user_cx,
        fs: &fs,
        path: path.as_bytes(),
        path_closes: false,
        arguments,
        creds: &creds,
        limits: &limits,
        budget: &entry.budget,
    })
    .map_err(Refusal::of(format!("exec {shown:?}")))?;
    let new = NewProcess {
        creds: program.creds,
        mm: program.mm,
        entry: program.entry,
        stack_pointer: program.stack_pointer,
        files,
        fs: fs.clone(),
        name: program.name,
        limits,
        oom_score_adj: spec.oom_score_adj,
        held: true,
    };
    let process = entry.container.start(new).map_err(Refusal::of(format!("starting {shown:?}")))?;
    if let (Some(filter), Some(task)) = (&entry.seccomp, process.any_thread()) {
        task.set_seccomp(Seccomp::Filter(filter.clone()));
    }
    Ok(process)
}

fn credentials(spec: &ProcessSpec) -> Creds {
    let mut groups = spec.additional_gids.clone();
    groups.dedup();
    let mut creds = Creds::root();
    (creds.uid, creds.euid, creds.suid, creds.fsuid) = (spec.uid, spec.uid, spec.uid, spec.uid);
    (creds.gid, creds.egid, creds.sgid, creds.fsgid) = (spec.gid, spec.gid, spec.gid, spec.gid);
    creds.groups = Arc::new(groups);
    let sets = &spec.capabilities;
    creds.bounding = sets.bounding & crate::security::ALL_CAPABILITIES;
    creds.inheritable = sets.inheritable & crate::security::ALL_CAPABILITIES;
    creds.permitted = sets.permitted & crate::security::ALL_CAPABILITIES;
    creds.effective = sets.effective & sets.permitted;
    creds.ambient = sets.ambient & sets.permitted & sets.inheritable;
    creds.no_new_privs = spec.no_new_privileges;
    creds
}

/// Finds the program in `PATH` when its name has no slash.
fn find_program(cx: &FsCx<'_>, fs: &Arc<FsContext>, spec: &ProcessSpec) -> Result<String, Refusal> {
    let name = spec.args.first().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Refusal::new(Errno::EINVAL, "the process has no arguments"))?;
    if name.contains('/') {
        return Ok(name.clone());
    }
    let path = spec.env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    for dir in path.split(':').filter(|dir| !dir.is_empty()) {
        let candidate = format!("{}/{name}", dir.trim_end_matches('/'));
        if exec::program::is_executable(cx, fs, candidate.as_bytes()) {
            return Ok(candidate);
        }
    }
    Err(Refusal::new(Errno::ENOENT, format!("exec: {name:?}: executable file not found in $PATH")))
}

fn limits(spec: &ProcessSpec) -> Limits {
    let limits = Limits::new();
    for (resource, soft, hard) in &spec.rlimits {
        limits.set_at(*resource as usize, Limit::new(*soft, *hard));
    }
    limits
}

fn arguments(
    spec: &ProcessSpec,
    environment: &[String],
    budget: &Arc<Budget>,
    limits: &Limits,
) -> Result<Arguments, Errno> {
    let mut arguments = Arguments::new(budget, limits.soft(Resource::Stack))?;
    spec.args.iter().try_for_each(|argument| arguments.push_argument(argument.as_bytes()))?;
    environment.iter().try_for_each(|variable| arguments.push_environment(variable.as_bytes()))?;
    Ok(arguments)
}
