//! [`Namespaces`]: what a task shares with others, but for its mounts and its ids (namespaces(7)).
//!
//! Mounts are kept with root and working directory, the user namespace with the credentials, the pid namespace that a
//! process itself is in with the process.

pub mod change;
mod file;
mod pid;

pub use file::{Contents, NS_GET_PARENT, NS_GET_USERNS, NamespaceFile};
pub use pid::PidNamespace;

use super::UtsNames;
use crate::abi::Errno;
use crate::ipc::IpcNamespace;
use crate::net::NetStack;
use crate::net::inet::Stack;
use crate::security::UserNamespace;
use crate::security::user_ns::new_ino;
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Level of the lock around names.
const LEVEL: Level = Level(62);

/// Host and domain name.
pub struct UtsNamespace {
    /// The names.
    pub names: SpinLock<UtsNames>,
    /// Whose capabilities count.
    pub owner: Arc<UserNamespace>,
    /// Inode number of its file.
    pub ino: u64,
}

impl UtsNamespace {
    /// With the given names.
    #[must_use]
    pub fn new(names: UtsNames, owner: Arc<UserNamespace>) -> Arc<Self> {
        Arc::new(Self { names: SpinLock::new(LEVEL, names), owner, ino: new_ino() })
    }

    /// A copy for a task of `owner`.
    #[must_use]
    pub fn copy(&self, owner: Arc<UserNamespace>) -> Arc<Self> {
        let names = self.names.lock().clone();
        Self::new(names, owner)
    }
}

/// The namespaces of a task that are not kept elsewhere. Immutable; a change makes a new value.
#[derive(Clone)]
pub struct Namespaces {
    /// Names.
    pub uts: Arc<UtsNamespace>,
    /// System V objects and message queues, and whose capabilities count.
    pub ipc: (Arc<IpcNamespace>, Arc<Plain>),
    /// Control groups, which are shown the same to all.
    pub cgroup: Arc<Plain>,
    /// Interfaces, protocols and their sockets.
    pub net: Arc<NetNamespace>,
    /// Numbers of the processes that the task makes.
    pub pid: Arc<PidNamespace>,
}

impl Namespaces {
    /// Those of a container.
    #[must_use]
    pub fn outermost(names: UtsNames, ipc: Arc<IpcNamespace>, net: Arc<dyn NetStack>) -> Self {
        let owner = UserNamespace::outermost();
        let ipc = (ipc, Plain::new(owner.clone()));
        Self {
            uts: UtsNamespace::new(names, owner.clone()),
            ipc,
            cgroup: Plain::new(owner),
            net: NetNamespace::of_pod(net),
            pid: PidNamespace::outermost(),
        }
    }
}

/// Network namespaces beside that of the pod, at most.
const NETWORKS_MAX: usize = 256;

static NETWORKS: AtomicUsize = AtomicUsize::new(0);

/// A network namespace (network_namespaces(7)).
pub struct NetNamespace {
    /// What it has.
    pub stack: Arc<dyn NetStack>,
    /// Whose capabilities count.
    pub owner: Arc<UserNamespace>,
    /// Inode number of its file, which stands for it where unix sockets are named too.
    pub ino: u64,
}

impl NetNamespace {
    /// Inode number of the pod's.
    const POD: u64 = 4_026_531_840;

    /// That of the pod, which all its containers share.
    fn of_pod(stack: Arc<dyn NetStack>) -> Arc<Self> {
        Arc::new(Self { stack, owner: UserNamespace::outermost(), ino: Self::POD })
    }

    /// One with a loopback interface that is down, and nothing else.
    ///
    /// # Errors
    /// `ENOSPC` with too many.
    pub fn new(owner: Arc<UserNamespace>) -> Result<Arc<Self>, Errno> {
        if NETWORKS.fetch_add(1, Ordering::Relaxed) >= NETWORKS_MAX {
            NETWORKS.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        Ok(Arc::new(Self { stack: Stack::cut_off(), owner, ino: new_ino() }))
    }
}

impl Drop for NetNamespace {
    fn drop(&mut self) {
        if self.ino != Self::POD {
            NETWORKS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A namespace that only has an identity.
pub struct Plain {
    /// Whose capabilities count.
    pub owner: Arc<UserNamespace>,
    /// Inode number of its file.
    pub ino: u64,
}

impl Plain {
    /// A new one.
    #[must_use]
    pub fn new(owner: Arc<UserNamespace>) -> Arc<Self> {
        Arc::new(Self { owner, ino: new_ino() })
    }
}
