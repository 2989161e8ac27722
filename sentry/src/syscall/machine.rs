//! Calls on the machine itself: accounting, swap, power, ports, modules. A container may make none of them; who has not the
//! privilege is told so as on Linux, who has it hears that the call is not there.

use super::row::{Restart::Never, Row, Support::Partial, row};
use super::{Cx, SysResult};
use crate::abi::Errno;
use crate::security::Capability;
use crate::signal::Signal;
use crate::task::ExitStatus;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row!(153, "vhangup", 0, vhangup, Never, Partial("EPERM without CAP_SYS_TTY_CONFIG, else ENOSYS")),
    row!(163, "acct", 0, acct, Never, Partial("EPERM without CAP_SYS_PACCT, else ENOSYS")),
    row!(167, "swapon", 2, swapon, Never, Partial("EPERM without CAP_SYS_ADMIN, else ENOSYS")),
    row!(168, "swapoff", 0, swapoff, Never, Partial("EPERM without CAP_SYS_ADMIN, else ENOSYS")),
    row!(
        169,
        "reboot",
        3,
        reboot,
        Never,
        Partial("ends the init of the caller's pid namespace; there is no machine to restart")
    ),
    row!(172, "iopl", 1, iopl, Never, Partial("EPERM without CAP_SYS_RAWIO, else ENOSYS")),
    row!(173, "ioperm", 3, ioperm, Never, Partial("EPERM without CAP_SYS_RAWIO, else ENOSYS")),
    row!(175, "init_module", 0, module, Never, Partial("EPERM without CAP_SYS_MODULE, else ENOSYS")),
    row!(176, "delete_module", 0, module, Never, Partial("EPERM without CAP_SYS_MODULE, else ENOSYS")),
    row!(246, "kexec_load", 0, boot, Never, Partial("EPERM without CAP_SYS_BOOT, else ENOSYS")),
    row!(313, "finit_module", 0, module, Never, Partial("EPERM without CAP_SYS_MODULE, else ENOSYS")),
    row!(320, "kexec_file_load", 0, boot, Never, Partial("EPERM without CAP_SYS_BOOT, else ENOSYS")),
    row!(321, "bpf", 1, bpf, Never, Partial("EPERM without CAP_BPF or CAP_SYS_ADMIN, else ENOSYS")),
];

/// What swapon(2) takes: `SWAP_FLAG_*`.
const SWAP_FLAGS: u32 = 0x7_ffff;
/// Highest command of bpf(2) in Linux 6.1: `BPF_PROG_BIND_MAP`.
const LAST_BPF: u32 = 35;
/// Ports that ioperm(2) knows.
const PORTS: u64 = 65_536;

/// reboot(2): of a container, or of a pid namespace in it; the machine is not theirs. Its init ends as if by a signal.
fn reboot(cx: &mut Cx<'_>, magic: u32, second: u32, command: u32) -> SysResult {
    const MAGIC: u32 = 0xfee1_dead;
    const SECOND: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    const RESTART: u32 = 0x0123_4567;
    const RESTART2: u32 = 0xa1b2_c3d4;
    const HALT: u32 = 0xcdef_0123;
    const POWER_OFF: u32 = 0x4321_fedc;
    let process = cx.task.process();
    let namespace = process.pid_namespace();
    if !cx.task.creds().has_in(Capability::SysBoot, &namespace.owner) {
        return Err(Errno::EPERM.into());
    }
    if magic != MAGIC || !SECOND.contains(&second) {
        return Err(Errno::EINVAL.into());
    }
    let signal = match command {
        RESTART | RESTART2 => Signal::HUP,
        HALT | POWER_OFF => Signal::INT,
        _ => return Err(Errno::EINVAL.into()),
    };
    let init = process.container.process(namespace.init()).ok_or(Errno::EINVAL)?;
    init.begin_exit(ExitStatus::Killed(signal));
    process.begin_exit(ExitStatus::Exited(0));
    Ok(0)
}

fn refuse(cx: &Cx<'_>, capability: Capability) -> SysResult {
    Err(if cx.task.creds().has(capability) { Errno::ENOSYS } else { Errno::EPERM }.into())
}

fn vhangup(cx: &mut Cx<'_>) -> SysResult {
    refuse(cx, Capability::SysTtyConfig)
}

fn acct(cx: &mut Cx<'_>) -> SysResult {
    refuse(cx, Capability::SysPacct)
}

fn swapon(cx: &mut Cx<'_>, _path: u64, flags: u32) -> SysResult {
    if flags & !SWAP_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    refuse(cx, Capability::SysAdmin)
}

fn swapoff(cx: &mut Cx<'_>) -> SysResult {
    refuse(cx, Capability::SysAdmin)
}

fn boot(cx: &mut Cx<'_>) -> SysResult {
    refuse(cx, Capability::SysBoot)
}

fn module(cx: &mut Cx<'_>) -> SysResult {
    refuse(cx, Capability::SysModule)
}

fn bpf(cx: &mut Cx<'_>, command: u32) -> SysResult {
    if command > LAST_BPF {
        return Err(Errno::EINVAL.into());
    }
    let creds = cx.task.creds();
    refuse(cx, if creds.has(Capability::Bpf) { Capability::Bpf } else { Capability::SysAdmin })
}

/// Level 0 is what every task has.
fn iopl(cx: &mut Cx<'_>, level: u32) -> SysResult {
    match level {
        0 => Ok(0),
        1..=3 => refuse(cx, Capability::SysRawio),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Ports are closed to every task: closing them changes nothing.
fn ioperm(cx: &mut Cx<'_>, from: u64, count: u64, open: i32) -> SysResult {
    match from.checked_add(count) {
        Some(end) if end > from && end <= PORTS => {
            if open == 0 {
                Ok(0)
            } else {
                refuse(cx, Capability::SysRawio)
            }
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
