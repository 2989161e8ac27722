//! The containers of the pod, on behalf of the shim.
//!
//! At boot the sentry opens the control channel and says [`Event::Ready`]; from then on it answers requests, one after the
//! other, and tells by itself when processes that it started have ended.
//!
//! | file | contents |
//! |---|---|
//! | `channel` | frames over the vsock connection |
//! | `pod` | the containers, and what each request does |
//! | `root` | a container's tree of mounts |
//! | `stdio` | standard streams of a process |
//! | `start` | a process: credentials, limits, program |
//! | `view` | what proc and the cgroup files tell of a container |

mod channel;
mod debug;
mod environment;
mod pod;
mod root;
mod start;
mod stdio;
mod terminal;
mod view;

use crate::abi::Errno;
use crate::fs::fuse::Connection;
use crate::net::vsock;
use crate::platform;
use crate::security::Creds;
use alloc::format;
use alloc::string::String;
use channel::Channel;
use chitin_core::sleep::Sleeper;
use chitin_proto::control::{Event, Reply, Request};
use chitin_proto::frame::Kind;
use chitin_proto::layout::PowerOff;
use pod::Pod;

/// Why a request was not carried out.
#[derive(Debug)]
struct Refusal {
    errno: Errno,
    message: String,
}

impl Refusal {
    fn new(errno: Errno, message: impl Into<String>) -> Self {
        Self { errno, message: message.into() }
    }

    /// `what` failed with `errno`.
    fn of(what: impl core::fmt::Display) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { errno, message: format!("{what}: {}", errno.text()) }
    }
}

/// Serves the control channel until the host asks for the end, then powers off.
///
/// # Errors
/// What keeps the channel from being opened.
pub fn serve(sleeper: &Sleeper) -> Result<(), Errno> {
    let vsock = vsock::start()?.ok_or(Errno::ENODEV)?;
    let creds = Creds::root();
    let cx = crate::fs::FsCx::kernel(sleeper, &creds);
    let connection = vsock.connect(&cx.waiter(), chitin_proto::vsock::PORT_CONTROL)?;
    let channel = Channel::new(connection);
    let pod = Pod::new(vsock, Connection::new(), channel.clone());
    channel.send(&cx.waiter(), Kind::Event, 0, &Event::Ready { version: chitin_proto::VERSION })?;
    loop {
        let Some(frame) = channel.receive(&cx.waiter())? else {
            // The host has closed the channel: nobody is left to run for.
            platform::get().power_off(PowerOff::Orderly);
        };
        let request = match frame.decode::<Request>() {
            Ok(request) if frame.kind == Kind::Request => request,
            _ => return Err(Errno::EPROTO),
        };
        let ends = request == Request::Shutdown;
        let reply = pod.handle(&cx, request).unwrap_or_else(|refusal| Reply::Failed {
            errno: refusal.errno.number(),
            message: refusal.message,
        });
        channel.send(&cx.waiter(), Kind::Reply, frame.id, &reply)?;
        if ends {
            channel.close(sleeper);
            platform::get().power_off(PowerOff::Orderly);
        }
    }
}
