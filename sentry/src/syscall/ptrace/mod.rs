//! ptrace(2): the tracer's side. What the traced thread does is in [`crate::task::trace`].

mod registers;

use super::remote::may_access;
use super::row::{Restart::Never, Row, Support::Partial, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::abi::file::Iovec;
use crate::mm::Mm;
use crate::security::seccomp::ARCH;
use crate::signal::info::SIZE as INFO_SIZE;
use crate::signal::{SigInfo, SigSet, Signal};
use crate::task::trace::{self, How, Kind, Options, Resume, Stopped};
use crate::task::{Task, Work};
use crate::user::{UserAddr, UserPtr};
use alloc::sync::Arc;
use zerocopy::IntoBytes;

/// The rows of this family.
pub const ROWS: &[Row] = &[row!(
    101,
    "ptrace",
    4,
    ptrace,
    Never,
    Partial(
        "no debug registers, PEEKSIGINFO, SUSPEND_SECCOMP or SINGLEBLOCK; any thread of the tracer may ask"
    )
)];

mod request {
    pub(super) const TRACEME: u64 = 0;
    pub(super) const PEEKTEXT: u64 = 1;
    pub(super) const PEEKDATA: u64 = 2;
    pub(super) const PEEKUSER: u64 = 3;
    pub(super) const POKETEXT: u64 = 4;
    pub(super) const POKEDATA: u64 = 5;
    pub(super) const POKEUSER: u64 = 6;
    pub(super) const CONT: u64 = 7;
    pub(super) const KILL: u64 = 8;
    pub(super) const SINGLESTEP: u64 = 9;
    pub(super) const GETREGS: u64 = 12;
    pub(super) const SETREGS: u64 = 13;
    pub(super) const GETFPREGS: u64 = 14;
    pub(super) const SETFPREGS: u64 = 15;
    pub(super) const ATTACH: u64 = 16;
    pub(super) const DETACH: u64 = 17;
    pub(super) const SYSCALL: u64 = 24;
    pub(super) const ARCH_PRCTL: u64 = 30;
    pub(super) const SYSEMU: u64 = 31;
    pub(super) const SETOPTIONS: u64 = 0x4200;
    pub(super) const GETEVENTMSG: u64 = 0x4201;
    pub(super) const GETSIGINFO: u64 = 0x4202;
    pub(super) const SETSIGINFO: u64 = 0x4203;
    pub(super) const GETREGSET: u64 = 0x4204;
    pub(super) const SETREGSET: u64 = 0x4205;
    pub(super) const SEIZE: u64 = 0x4206;
    pub(super) const INTERRUPT: u64 = 0x4207;
    pub(super) const LISTEN: u64 = 0x4208;
    pub(super) const GETSIGMASK: u64 = 0x420a;
    pub(super) const SETSIGMASK: u64 = 0x420b;
    pub(super) const SECCOMP_GET_FILTER: u64 = 0x420c;
    pub(super) const GET_SYSCALL_INFO: u64 = 0x420e;
    pub(super) const GET_RSEQ_CONFIGURATION: u64 = 0x420f;
}

fn ptrace(cx: &mut Cx<'_>, what: u64, pid: i64, address: u64, data: u64) -> SysResult {
    use request::*;
    if what == TRACEME {
        trace::traceme(cx.task)?;
        return Ok(0);
    }
    let tid = u32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    let task = cx.task.find_task(tid).ok_or(Errno::ESRCH)?;
    match what {
        ATTACH => return attach(cx, &task, How::Attach),
        SEIZE => {
            if address != 0 {
                return Err(Errno::EIO.into());
            }
            let options = options(data).map_err(|_| Errno::EIO)?;
            return attach(cx, &task, How::Seize(options));
        }
        _ => {}
    }
    if !is_mine(cx, &task) {
        return Err(Errno::ESRCH.into());
    }
    match what {
        KILL => {
            let _ = task.process().send(SigInfo::kernel(Signal::KILL));
            return Ok(0);
        }
        INTERRUPT => return interrupt(&task),
        _ => {}
    }
    if !is_stopped(&task) {
        return Err(Errno::ESRCH.into());
    }
    stopped_request(cx, &task, what, address, data)
}

fn stopped_request(cx: &mut Cx<'_>, task: &Arc<Task>, what: u64, address: u64, data: u64) -> SysResult {
    use request::*;
    let to = UserAddr::new(data);
    match what {
        PEEKTEXT | PEEKDATA => peek(cx, task, address, to),
        POKETEXT | POKEDATA => poke(cx, task, address, data),
        PEEKUSER => {
            let word = with(task, |stopped| registers::peek_user(stopped, address))??;
            cx.user().write(UserPtr::<u64>::new(to), &word)?;
            Ok(0)
        }
        POKEUSER => {
            with(task, |stopped| registers::poke_user(stopped, address, data))??;
            Ok(0)
        }
        CONT => go_on(task, Resume::Freely, data),
        SYSCALL => go_on(task, Resume::ToCall, data),
        SYSEMU => go_on(task, Resume::ToCallInstead, data),
        SINGLESTEP => go_on(task, Resume::OneStep, data),
        DETACH => {
            trace::detach(task, signal_number(data)?);
            Ok(0)
        }
        GETREGS => {
            let words = with(task, |stopped| registers::words(&stopped.regs))?;
            cx.user().write_bytes(to, words.as_bytes())?;
            Ok(0)
        }
        SETREGS => {
            let words = cx.user().read(UserPtr::<[u64; registers::WORDS]>::new(to))?;
            with(task, |stopped| registers::set_words(&mut stopped.regs, &words))??;
            Ok(0)
        }
        GETFPREGS => {
            let bytes = with(task, |stopped| stopped.xstate.clone())?;
            cx.user().write_bytes(to, bytes.get(..registers::LEGACY_SIZE).unwrap_or_default())?;
            Ok(0)
        }
        SETFPREGS => {
            let mut bytes = [0; registers::LEGACY_SIZE];
            cx.user().read_bytes(to, &mut bytes)?;
            with(task, |stopped| registers::set_xstate(stopped, &bytes))?;
            Ok(0)
        }
        ARCH_PRCTL => arch_prctl(cx, task, data, address),
        SETOPTIONS => {
            task.trace.lock().options = options(data)?;
            Ok(0)
        }
        GETEVENTMSG => {
            let message = task.trace.lock().message;
            cx.user().write(UserPtr::<u64>::new(to), &message)?;
            Ok(0)
        }
        GETSIGINFO => {
            let info = with(task, |stopped| stopped.info)?.ok_or(Errno::EINVAL)?;
            cx.user().write_bytes(to, &info.to_bytes())?;
            Ok(0)
        }
        SETSIGINFO => set_info(cx, task, UserPtr::new(to)),
        GETREGSET | SETREGSET => register_set(cx, task, what, address, UserPtr::new(to)),
        LISTEN => listen(task),
        GETSIGMASK | SETSIGMASK => signal_mask(cx, task, what, address, UserPtr::new(to)),
        SECCOMP_GET_FILTER => filter(cx, task, address, to),
        GET_SYSCALL_INFO => call_info(cx, task, address, to),
        GET_RSEQ_CONFIGURATION => {
            let (at, signature) = task.rseq.registered().unwrap_or((0, 0));
            let size = if at == 0 { 0 } else { u64::from(crate::task::rseq::SIZE) };
            let words = [at, size | u64::from(signature) << 32, 0];
            let len = usize::try_from(address).unwrap_or(usize::MAX).min(24);
            cx.user().write_bytes(to, words.as_bytes().get(..len).unwrap_or_default())?;
            Ok(24)
        }
        _ => Err(Errno::EIO.into()),
    }
}

/// `PTRACE_O_*`.
fn options(bits: u64) -> Result<Options, Errno> {
    u32::try_from(bits).ok().and_then(Options::from_bits).ok_or(Errno::EINVAL)
}

fn is_mine(cx: &Cx<'_>, task: &Task) -> bool {
    let tree = cx.task.container().tree();
    tree.traced.get(&task.tid()).is_some_and(|traced| traced.tracer_pid == cx.task.pid())
}

fn is_stopped(task: &Task) -> bool {
    let trace = task.trace.lock();
    !trace.listens && trace.stopped.as_ref().is_some_and(|stopped| !stopped.resumed)
}

/// Calls `act` with the stop that the thread stands in.
fn with<T>(task: &Task, act: impl FnOnce(&mut Stopped) -> T) -> Result<T, Errno> {
    let mut trace = task.trace.lock();
    trace.stopped.as_mut().filter(|stopped| !stopped.resumed).map(act).ok_or(Errno::ESRCH)
}

fn attach(cx: &Cx<'_>, task: &Arc<Task>, how: How) -> SysResult {
    if Arc::ptr_eq(cx.task.process(), task.process()) || !may_access(cx, task) {
        return Err(Errno::EPERM.into());
    }
    trace::attach(cx.task, task, how)?;
    Ok(0)
}

fn interrupt(task: &Task) -> SysResult {
    {
        let mut trace = task.trace.lock();
        if !trace.seized {
            return Err(Errno::EIO.into());
        }
        trace.trap_asked = true;
    }
    task.ask(Work::TRACE);
    Ok(0)
}

fn listen(task: &Task) -> SysResult {
    let mut trace = task.trace.lock();
    let event = trace.stopped.as_ref().map_or(0, |stopped| stopped.code >> 8);
    if !trace.seized || event != trace::Event::Stop as u32 {
        return Err(Errno::EIO.into());
    }
    trace.listens = true;
    drop(trace);
    task.nudge();
    Ok(0)
}

fn signal_number(data: u64) -> Result<u32, Errno> {
    u32::try_from(data).ok().filter(|number| *number <= 64).ok_or(Errno::EIO)
}

fn go_on(task: &Task, resume: Resume, data: u64) -> SysResult {
    let signal = signal_number(data)?;
    {
        let mut trace = task.trace.lock();
        trace.resume = resume;
        let Some(stopped) = trace.stopped.as_mut().filter(|stopped| !stopped.resumed) else {
            return Err(Errno::ESRCH.into());
        };
        (stopped.signal, stopped.resumed) = (signal, true);
    }
    task.nudge();
    Ok(0)
}

fn memory(task: &Task) -> Result<Arc<Mm>, Errno> {
    task.mm().ok_or(Errno::EIO)
}

fn peek(cx: &Cx<'_>, task: &Task, address: u64, to: UserAddr) -> SysResult {
    let mut word = [0; 8];
    if memory(task)?.read_remote(cx.sleeper, UserAddr::new(address), &mut word) < word.len() {
        return Err(Errno::EIO.into());
    }
    cx.user().write_bytes(to, &word)?;
    Ok(0)
}

fn poke(cx: &Cx<'_>, task: &Task, address: u64, data: u64) -> SysResult {
    let word = data.to_le_bytes();
    memory(task)?.write_forced(cx.sleeper, UserAddr::new(address), &word).map_err(|_| Errno::EIO)?;
    Ok(0)
}

fn arch_prctl(cx: &Cx<'_>, task: &Task, code: u64, address: u64) -> SysResult {
    let to = UserPtr::<u64>::new(UserAddr::new(address));
    match code {
        0x1001 => with(task, |stopped| stopped.regs.gs_base = address)?,
        0x1002 => with(task, |stopped| stopped.regs.fs_base = address)?,
        0x1003 => cx.user().write(to, &with(task, |stopped| stopped.regs.fs_base)?)?,
        0x1004 => cx.user().write(to, &with(task, |stopped| stopped.regs.gs_base)?)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn set_info(cx: &Cx<'_>, task: &Task, from: UserPtr<[u8; INFO_SIZE]>) -> SysResult {
    let bytes = cx.user().read(from)?;
    let number = bytes.first().copied().unwrap_or(0);
    let mut trace = task.trace.lock();
    let stopped = trace.stopped.as_mut().filter(|stopped| stopped.info.is_some()).ok_or(Errno::EINVAL)?;
    let signal = Signal::new(u32::from(number))
        .or_else(|_| stopped.info.map(|info| info.signal).ok_or(Errno::EINVAL))?;
    let info = SigInfo::from_bytes(signal, &bytes);
    stopped.info = Some(info);
    trace.changed_info = Some(info);
    Ok(0)
}

const NT_PRSTATUS: u64 = 1;
const NT_PRFPREG: u64 = 2;
const NT_X86_XSTATE: u64 = 0x202;

fn register_set(cx: &Cx<'_>, task: &Task, what: u64, kind: u64, vector: UserPtr<Iovec>) -> SysResult {
    let mut given = cx.user().read(vector)?;
    let len = usize::try_from(given.len).unwrap_or(usize::MAX);
    if !matches!(kind, NT_PRSTATUS | NT_PRFPREG | NT_X86_XSTATE) || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let base = UserAddr::new(given.base);
    let all = with(task, |stopped| match kind {
        NT_PRSTATUS => registers::words(&stopped.regs).as_bytes().to_vec(),
        NT_PRFPREG => stopped.xstate.get(..registers::LEGACY_SIZE).unwrap_or_default().to_vec(),
        _ => registers::xstate(stopped),
    })?;
    let len = len.min(all.len());
    if what == request::GETREGSET {
        cx.user().write_bytes(base, all.get(..len).unwrap_or_default())?;
    } else {
        let mut bytes = alloc::vec![0u8; len];
        cx.user().read_bytes(base, &mut bytes)?;
        if kind == NT_PRSTATUS {
            let word = |part: &[u8]| u64::from_le_bytes(part.try_into().unwrap_or_default());
            let words: alloc::vec::Vec<u64> = bytes.chunks_exact(8).map(word).collect();
            with(task, |stopped| registers::set_words(&mut stopped.regs, &words))??;
        } else {
            with(task, |stopped| registers::set_xstate(stopped, &bytes))?;
        }
    }
    given.len = len as u64;
    cx.user().write(vector, &given)?;
    Ok(0)
}

fn signal_mask(cx: &Cx<'_>, task: &Task, what: u64, size: u64, at: UserPtr<u64>) -> SysResult {
    if size != 8 {
        return Err(Errno::EINVAL.into());
    }
    if what == request::GETSIGMASK {
        let mask = {
            let signals = task.signals.lock();
            signals.saved.unwrap_or(signals.blocked).0
        };
        cx.user().write(at, &mask)?;
    } else {
        let mask = SigSet(cx.user().read(at)?).without(SigSet::UNBLOCKABLE);
        crate::signal::set_blocked(task, mask);
    }
    Ok(0)
}

fn filter(cx: &Cx<'_>, task: &Task, index: u64, to: UserAddr) -> SysResult {
    use crate::security::Capability;
    if !cx.task.creds().has(Capability::SysAdmin) || cx.task.seccomp().mode() != 0 {
        return Err(Errno::EACCES.into());
    }
    let seccomp = task.seccomp();
    let newest = seccomp.newest().ok_or(Errno::EINVAL)?;
    let index = usize::try_from(index).map_err(|_| Errno::ENOENT)?;
    let program = newest.program(index).ok_or(Errno::ENOENT)?;
    if !to.is_null() {
        cx.user().write_bytes(to, program.instructions().as_bytes())?;
    }
    Ok(program.len())
}

/// `struct ptrace_syscall_info`: at most as many bytes as the caller has room for; returns how many there are.
fn call_info(cx: &Cx<'_>, task: &Task, room: u64, to: UserAddr) -> SysResult {
    let mut bytes = [0u8; 88];
    let mut put = |at: usize, part: &[u8]| {
        if let Some(to) = bytes.get_mut(at..at + part.len()) {
            to.copy_from_slice(part);
        }
    };
    let (regs, kind) = with(task, |stopped| (stopped.regs, stopped.kind))?;
    put(4, &ARCH.to_le_bytes());
    put(8, &regs.rip.to_le_bytes());
    put(16, &regs.rsp.to_le_bytes());
    let arguments = [regs.orig_rax, regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
    let (op, len): (u8, usize) = match kind {
        Kind::Entry => {
            put(24, arguments.as_bytes());
            (1, 80)
        }
        Kind::Exit => {
            let value = regs.rax.cast_signed();
            put(24, &value.to_le_bytes());
            put(32, &[u8::from((-4095..0).contains(&value))]);
            (2, 33)
        }
        Kind::Seccomp(told) => {
            put(24, arguments.as_bytes());
            put(80, &told.to_le_bytes());
            (3, 84)
        }
        Kind::Other | Kind::Ending => (0, 24),
    };
    put(0, &[op]);
    let told = usize::try_from(room).unwrap_or(usize::MAX).min(len);
    cx.user().write_bytes(to, bytes.get(..told).unwrap_or_default())?;
    Ok(len)
}
