//! ioctl: what all descriptors know; the rest is for the stream behind them.

use super::descriptor;
use super::place::Scope;
use super::row::{Restart, Row, Support, row};
use super::{Cx, Fd, SysResult};
use super::{namespaces, terminal};
use crate::abi::Errno;
use crate::abi::file::{FASYNC, O_NONBLOCK};
use crate::fs::block::{self, Opened};
use crate::fs::stream::IoctlCx;
use crate::fs::{FileBody, NodeKind};
use crate::net::SocketFile;
use crate::security::Capability;
use crate::user::{UserAddr, UserPtr};

/// The family's rows.
pub const ROWS: &[Row] = &[row!(
    16,
    "ioctl",
    3,
    ioctl,
    Restart::Sa,
    Support::Partial("commands of terminals, sockets, pipes and block devices")
)];

const FIOCLEX: u32 = 0x5451;
const FIONCLEX: u32 = 0x5450;
const FIONBIO: u32 = 0x5421;
const FIOASYNC: u32 = 0x5452;
const FIOQSIZE: u32 = 0x5460;
const FIONREAD: u32 = 0x541b;
const FIGETBSZ: u32 = 2;

fn ioctl(cx: &mut Cx<'_>, fd: Fd, command: u32, argument: u64) -> SysResult {
    let file = descriptor::file(cx, fd)?;
    let number = UserPtr::<i32>::new(UserAddr::new(argument));
    let set_flag = |flag: u32| {
        let on = cx.user().read(number)? != 0;
        file.set_flags(if on { file.flags() | flag } else { file.flags() & !flag });
        Ok(0)
    };
    match command {
        FIOCLEX | FIONCLEX => {
            cx.files.set_close_on_exec(fd, command == FIOCLEX)?;
            return Ok(0);
        }
        FIONBIO => return set_flag(O_NONBLOCK),
        FIOASYNC => {
            let on = cx.user().read(number)? != 0;
            if on != (file.flags() & FASYNC != 0) {
                crate::fs::async_io::switch(&file, fd.0, on)?;
            }
            return Ok(0);
        }
        _ => {}
    }
    match file.body() {
        FileBody::Stream(stream, _) => {
            if let Some(result) = terminal::ioctl(cx, &file, stream, command, argument) {
                return result;
            }
            if let Some(result) = namespaces::ioctl(cx, stream, command) {
                return result;
            }
            let context = IoctlCx { user: cx.user(), waiter: cx.waiter(), caller: descriptor::caller(cx) };
            match stream.ioctl(&context, command, argument) {
                Err(Errno::ENOTTY) if stream.as_any().is::<SocketFile>() => {
                    let net = cx.task.namespaces().net.clone();
                    let admin = cx.task.creds().has_in(Capability::NetAdmin, &net.owner).into();
                    Ok(net.stack.ioctl(&context, admin, command, argument)?)
                }
                result => Ok(result?),
            }
        }
        FileBody::Node(node, _) => {
            if let Some(opened) = Opened::of(&file) {
                let context =
                    IoctlCx { user: cx.user(), waiter: cx.waiter(), caller: descriptor::caller(cx) };
                let creds = cx.task.creds();
                let done = block::ioctl::ioctl(&context, &file, opened.disk(), &creds, command, argument);
                if let Some(result) = done {
                    return Ok(result?);
                }
            }
            let scope = Scope::new(cx);
            let attr = || node.ops.attr(&scope.cx(cx));
            match (command, &node.kind) {
                (FIONREAD, NodeKind::File(_)) => {
                    let left = attr()?.size.saturating_sub(*file.position.lock(cx.sleeper));
                    cx.user().write(number, &i32::try_from(left).unwrap_or(i32::MAX))?;
                    Ok(0)
                }
                (FIGETBSZ, _) => {
                    cx.user().write(number, &attr()?.blksize.cast_signed())?;
                    Ok(0)
                }
                (FIOQSIZE, NodeKind::File(_) | NodeKind::Dir(_)) => {
                    let size = attr()?.size.cast_signed();
                    cx.user().write(UserPtr::<i64>::new(UserAddr::new(argument)), &size)?;
                    Ok(0)
                }
                _ => Err(Errno::ENOTTY.into()),
            }
        }
        FileBody::Path(_) => Err(Errno::EBADF.into()),
    }
}
