//! Terminals of containers: a pseudo-terminal in the container's `/dev/pts`, whose master the kernel joins to one stream of
//! the host.

use super::Refusal;
use crate::fs::lookup::{self, Follow};
use crate::fs::tty::{DevPts, Master, Pty, Slave, WindowSize};
use crate::fs::{FileBody, FsCx, MountNamespace, OpenFile, Stream};
use crate::net::vsock::Connection;
use crate::platform;
use crate::security::Creds;
use crate::task::Process;
use crate::task::terminal::set_controlling;
use crate::user::{IoReader, IoWriter};
use crate::wait::{Waiter, block_on};
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use chitin_core::sleep::Sleeper;

const O_RDWR: u32 = 2;
/// Bytes that are moved in one step.
const STEP: usize = 4096;

/// The terminal of a process.
pub(super) struct Terminal {
    pty: Arc<Pty>,
    slave: Arc<dyn Stream>,
}

impl Terminal {
    /// Makes a terminal for a process of `creds` and joins it to `connection`. Also gives the open file that is its
    /// standard input, output and error.
    ///
    /// # Errors
    /// When there are too many terminals, or there is no memory for the threads that serve it.
    pub(super) fn open(
        cx: &FsCx<'_>,
        namespace: &Arc<MountNamespace>,
        (uid, gid): (u32, u32),
        connection: &Arc<Connection>,
        window: WindowSize,
    ) -> Result<(Self, Arc<OpenFile>), Refusal> {
        let (master, slave, file) = pair(cx, namespace, uid, gid)?;
        let pty = master.pty().clone();
        pty.set_window(window);
        let (to, from) = (master.clone(), connection.clone());
        spawn(move |waiter| carry(waiter, &as_stream(&from), &as_stream(&to)))?;
        let (from, to) = (master, connection.clone());
        spawn(move |waiter| {
            carry(waiter, &as_stream(&from), &as_stream(&to));
            // Nobody has the slave open any more, or nobody listens.
            from.close();
            to.close();
        })?;
        Ok((Self { pty, slave }, file))
    }

    /// Makes it the controlling terminal of a process that leads its session.
    pub(super) fn control(&self, process: &Arc<Process>) -> Result<(), Refusal> {
        set_controlling(process, &self.slave).map_err(Refusal::of("controlling terminal"))
    }

    /// Sets the size of its window.
    pub(super) fn resize(&self, window: WindowSize) {
        self.pty.set_window(window);
    }
}

type Pair = (Arc<Master>, Arc<dyn Stream>, Arc<OpenFile>);

fn pair(cx: &FsCx<'_>, namespace: &Arc<MountNamespace>, uid: u32, gid: u32) -> Result<Pair, Refusal> {
    let root = namespace.root();
    let place = lookup::resolve(cx, &root, b"/dev/pts", Follow::Yes).ok();
    let fs = place.as_ref().map(|place| place.mount.superblock.fs.clone());
    let devpts = fs.as_ref().and_then(|fs| fs.as_any().downcast_ref::<DevPts>());
    let Some(devpts) = devpts else {
        // Without devpts it has no name, which ttyname(3) reports and little else minds.
        let pty = Pty::new(0).map_err(Refusal::of("terminal"))?;
        pty.unlock();
        let slave: Arc<Slave> = pty.open_slave().map_err(Refusal::of("terminal"))?;
        let file = OpenFile::new(FileBody::Stream(slave.clone(), None), O_RDWR);
        return Ok((Master::new(pty), slave, file));
    };
    let (master, slave) = devpts.open_pair(uid, gid).map_err(Refusal::of("terminal"))?;
    let name = format!("/dev/pts/{}", master.pty().number());
    let place = lookup::resolve(cx, &root, name.as_bytes(), Follow::No).map_err(Refusal::of(name))?;
    let node = place.node().ok().cloned();
    let file = OpenFile::at(FileBody::Stream(slave.clone(), node), O_RDWR, place);
    Ok((master, slave, file))
}

fn as_stream<T: Stream>(stream: &Arc<T>) -> Arc<dyn Stream> {
    stream.clone()
}

fn spawn(body: impl FnOnce(&Waiter<'_>) + Send + 'static) -> Result<(), Refusal> {
    let body = Box::new(move |sleeper: &Sleeper| {
        let creds = Creds::root();
        body(&FsCx::kernel(sleeper, &creds).waiter());
    });
    platform::get()
        .spawn("terminal", body)
        .map(drop)
        .map_err(crate::abi::Errno::from)
        .map_err(Refusal::of("terminal"))
}

/// Moves bytes until one side has ended.
fn carry(waiter: &Waiter<'_>, from: &Arc<dyn Stream>, to: &Arc<dyn Stream>) {
    let mut buffer = vec![0; STEP];
    loop {
        let got = block_on(waiter, from, None, || from.try_read(&mut IoWriter::kernel(&mut buffer)));
        let Ok(got @ 1..) = got else { return };
        let mut reader = IoReader::kernel(buffer.get(..got).unwrap_or_default());
        while reader.remaining() > 0 {
            if block_on(waiter, to, None, || to.try_write(&mut reader)).is_err() {
                return;
            }
        }
    }
}
