//! Stream connections to the host over virtio-vsock (virtio 1.2, section 5.10): the control channel and stdio.
//!
//! The sentry opens every connection, to a port of the host that the VMM has a descriptor for. A [`Connection`] is a
//! [`Stream`]: it never sleeps. One worker thread takes packets from the device and sorts them to their connections; it
//! also sends what could not be sent at once (credit updates, shutdowns).
//!
//! Lock order: the table's lock, then one connection's lock; wake-ups happen after both are released.

mod connection;

pub use connection::Connection;

use crate::abi::Errno;
use crate::platform::{self, DeviceEvents, VsockPort};
use crate::wait::Waiter;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use chitin_core::once::Once;
use chitin_core::sleep::{Sleeper, Woken};
use chitin_proto::vsock::{GUEST_CID, HOST_CID, Header, op};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;

/// Level of the table of connections.
const TABLE_LEVEL: Level = Level(100);

/// Local ports are handed out from here on.
const FIRST_PORT: u32 = 1 << 16;

struct Table {
    next_port: u32,
    connections: BTreeMap<u32, Arc<Connection>>,
}

/// The socket device of the sandbox and its connections.
pub struct Vsock {
    port: &'static dyn VsockPort,
    table: SpinLock<Table>,
    /// Local ports with a packet to send.
    pending: SpinLock<Vec<u32>>,
    signalled: AtomicBool,
    worker: Once<Waker>,
}

static VSOCK: Once<Vsock> = Once::new();

struct Events;

impl DeviceEvents for Events {
    fn vsock_ready(&self) {
        if let Some(vsock) = VSOCK.get() {
            vsock.signal();
        }
    }

    fn net_ready(&self, card: usize) {
        super::inet::card::input::net_ready(card);
    }
}

/// Starts the worker; `None` when the machine has no socket device.
///
/// # Errors
/// `ENOMEM` when the worker cannot be started.
pub fn start() -> Result<Option<&'static Vsock>, Errno> {
    let Some(port) = platform::get().vsock() else { return Ok(None) };
    let first = VSOCK.set(Vsock {
        port,
        table: SpinLock::new(TABLE_LEVEL, Table { next_port: FIRST_PORT, connections: BTreeMap::new() }),
        pending: SpinLock::new(TABLE_LEVEL, Vec::new()),
        signalled: AtomicBool::new(true),
        worker: Once::new(),
    });
    if first {
        platform::set_device_events(&Events);
        platform::get().spawn(
            "vsock",
            Box::new(|sleeper| VSOCK.get().into_iter().for_each(|vsock| vsock.work(sleeper))),
        )?;
    }
    Ok(VSOCK.get())
}

impl Vsock {
    /// Opens a connection to `host_port` and waits until the host has accepted it.
    ///
    /// # Errors
    /// `ECONNREFUSED` when the host has nothing at that port, `EINTR`, `ENOMEM`.
    pub fn connect(&'static self, waiter: &Waiter<'_>, host_port: u32) -> Result<Arc<Connection>, Errno> {
        let connection = {
            let mut table = self.table.lock();
            let mut local_port = table.next_port;
            while table.connections.contains_key(&local_port) {
                local_port = local_port.checked_add(1).unwrap_or(FIRST_PORT);
            }
            table.next_port = local_port.checked_add(1).unwrap_or(FIRST_PORT);
            let connection = Arc::new(Connection::new(self, local_port, host_port));
            table.connections.insert(local_port, connection.clone());
            connection
        };
        connection.request();
        match waiter.until(connection.queue(), None, || connection.settled()) {
            Ok(true) => Ok(connection),
            Ok(false) => {
                self.remove(connection.local_port());
                Err(Errno::ECONNREFUSED)
            }
            Err(woken) => {
                self.remove(connection.local_port());
                Err(if woken == Woken::Interrupted { Errno::EINTR } else { Errno::ETIMEDOUT })
            }
        }
    }

    fn signal(&self) {
        self.signalled.store(true, Ordering::SeqCst);
        if let Some(worker) = self.worker.get() {
            worker.wake_by_ref();
        }
    }

    /// Asks the worker to let a connection send what it owes.
    fn send_later(&self, local_port: u32) {
        self.pending.lock().push(local_port);
        self.signal();
    }

    fn remove(&self, local_port: u32) {
        let removed = self.table.lock().connections.remove(&local_port);
        drop(removed);
    }

    fn find(&self, local_port: u32) -> Option<Arc<Connection>> {
        self.table.lock().connections.get(&local_port).cloned()
    }

    fn work(&self, sleeper: &Sleeper) {
        self.worker.set(sleeper.waker());
        let mut payload = Vec::new();
        loop {
            if !self.signalled.swap(false, Ordering::SeqCst) {
                sleeper.park(None);
                continue;
            }
            while let Some(header) = self.port.try_receive(&mut payload) {
                self.receive(&header, &payload);
                sleeper.resched_point();
            }
            let pending = core::mem::take(&mut *self.pending.lock());
            let unsent: Vec<u32> = pending
                .into_iter()
                .filter(|port| self.find(*port).is_some_and(|connection| !connection.send_owed()))
                .collect();
            // The device's queue is full: its next event signals again.
            self.pending.lock().extend(unsent);
        }
    }

    fn receive(&self, header: &Header, payload: &[u8]) {
        if (header.src_cid, header.dst_cid) != (HOST_CID, GUEST_CID) {
            return;
        }
        match self.find(header.dst_port).filter(|connection| connection.host_port() == header.src_port) {
            Some(connection) => match connection.receive(header, payload) {
                connection::Fate::Kept => {}
                connection::Fate::Gone => self.remove(header.dst_port),
            },
            None if header.op != op::RST => {
                let reset = Header {
                    src_cid: GUEST_CID,
                    dst_cid: HOST_CID,
                    src_port: header.dst_port,
                    dst_port: header.src_port,
                    kind: 1,
                    op: op::RST,
                    ..Header::default()
                };
                // A lost reset leaves the host with a half-open connection until it sends again.
                let _ = self.port.try_send(&reset, &[]);
            }
            None => {}
        }
    }
}
