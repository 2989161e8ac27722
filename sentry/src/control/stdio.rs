//! Standard streams of a process: vsock connections to ports that the shim has tied to a FIFO, a socket or a terminal.

use super::Refusal;
use super::terminal::Terminal;
use crate::fs::dev;
use crate::fs::fd_table::Entry;
use crate::fs::tty::WindowSize;
use crate::fs::{FdTable, FileBody, FsCx, MountNamespace, OpenFile, Stream};
use crate::net::vsock::{Connection, Vsock};
use crate::syscall::Fd;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_proto::control::Stdio;

const O_WRONLY: u32 = 1;
const O_RDWR: u32 = 2;

/// What a process reads and writes, as the control channel keeps it.
#[derive(Default)]
pub(super) struct Streams {
    stdin: Option<Arc<Connection>>,
    terminal: Option<Terminal>,
}

impl Streams {
    /// The terminal, if it has one.
    pub(super) fn terminal(&self) -> Option<&Terminal> {
        self.terminal.as_ref()
    }

    /// Lets standard input end after what has arrived.
    pub(super) fn close_stdin(&self) {
        if let Some(stdin) = &self.stdin {
            stdin.end_input();
        }
    }
}

/// Descriptors 0, 1 and 2 of a new process; a terminal is of the `/dev/pts` in `namespace` and belongs to `owner`.
///
/// # Errors
/// When a port has no stream tied to it.
pub(super) fn open(
    cx: &FsCx<'_>,
    vsock: &'static Vsock,
    stdio: &Stdio,
    namespace: &Arc<MountNamespace>,
    owner: (u32, u32),
) -> Result<(Arc<FdTable>, Streams), Refusal> {
    let mut files = Vec::new();
    let mut streams = Streams::default();
    match stdio {
        Stdio::Null => {
            for _ in 0..3 {
                files.push(null()?);
            }
        }
        Stdio::Streams { stdin, stdout, stderr } => {
            for (port, flags) in [(stdin, 0), (stdout, O_WRONLY), (stderr, O_WRONLY)] {
                let Some(port) = port else {
                    files.push(null()?);
                    continue;
                };
                let connection = connect(cx, vsock, *port)?;
                if flags == 0 {
                    streams.stdin = Some(connection.clone());
                }
                let stream: Arc<dyn Stream> = connection;
                files.push(OpenFile::new(FileBody::Stream(stream, None), flags));
            }
        }
        Stdio::Terminal { port, columns, rows } => {
            let connection = connect(cx, vsock, *port)?;
            let window = WindowSize { rows: *rows, columns: *columns, ..WindowSize::default() };
            let (terminal, file) = Terminal::open(cx, namespace, owner, &connection, window)?;
            streams.terminal = Some(terminal);
            files.extend([file.clone(), file.clone(), file]);
        }
    }
    let table = FdTable::new();
    for (number, file) in (0..).zip(files) {
        let entry = Entry { file, close_on_exec: false };
        table.replace(Fd(number), entry, 3).map_err(Refusal::of("standard streams"))?;
    }
    Ok((table, streams))
}

fn connect(cx: &FsCx<'_>, vsock: &'static Vsock, port: u32) -> Result<Arc<Connection>, Refusal> {
    vsock.connect(&cx.waiter(), port).map_err(Refusal::of(format!("stream port {port}")))
}

/// `/dev/null`, opened both ways.
fn null() -> Result<Arc<OpenFile>, Refusal> {
    let stream = dev::null().map_err(Refusal::of("/dev/null"))?;
    Ok(OpenFile::new(FileBody::Stream(stream, None), O_RDWR))
}
