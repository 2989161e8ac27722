//! The pod's network: what the network namespace says, moved into the sandbox.
//!
//! | file | contents |
//! |---|---|
//! | `namespace` | entering a network namespace for a moment |
//! | `netlink` | rtnetlink requests |
//! | `scan` | interfaces, addresses, routes and neighbours of a namespace |
//! | `tap` | a TAP device |
//! | `redirect` | tying an interface to its TAP |
//!
//! An interface of the pod (one end of a veth pair, mostly) stays where it is, with its addresses. Whatever arrives at it is
//! redirected to a TAP beside it, before the namespace's own stack sees it, and so is what the guest sends, the other way.
//! The guest has the same addresses and the same hardware address, so neither side notices. The TAP lives as long as the VMM
//! holds its descriptor; the interface's ingress qdisc has to be taken away, by dropping [`Attached`] or by [`detach`], which
//! the ledger uses.

mod namespace;
mod netlink;
mod redirect;
mod scan;
mod tap;

use chitin_proto::net::MAX_CARDS;
use chitin_proto::network::Network;
use chitin_proto::vmm::{Card, RateLimit};
use namespace::Namespace;
use netlink::Netlink;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Why a pod's network cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The namespace cannot be opened or entered.
    #[error("network namespace {}: {source}", path.display())]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// Operating system error.
        source: io::Error,
    },
    /// The namespace is that of the host, which is not to be taken away from it.
    #[error("network namespace {} is the host's own: a sandbox cannot have it", path.display())]
    Host {
        /// Its path.
        path: PathBuf,
    },
    /// Another sandbox has the interfaces.
    #[error("network namespace {} belongs to a running sandbox already (interface {tap})", path.display())]
    Busy {
        /// Its path.
        path: PathBuf,
        /// The interface that says so.
        tap: String,
    },
    /// Too many interfaces.
    #[error("network namespace {} has {count} interfaces, a sandbox at most {MAX_CARDS}", path.display())]
    TooMany {
        /// Its path.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// A step failed.
    #[error("network namespace {}: {what}: {source}", path.display())]
    Step {
        /// Its path.
        path: PathBuf,
        /// What was being done.
        what: String,
        /// Operating system error.
        source: io::Error,
    },
    /// The ledger cannot be kept.
    #[error(transparent)]
    Ledger(#[from] crate::ledger::LedgerError),
}

/// Which network a specification asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A new one: loopback, and nothing else.
    New,
    /// That of the host.
    Host,
    /// The one at this path.
    Namespace(PathBuf),
}

impl Wanted {
    /// What `linux.namespaces` says.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let network =
            namespaces.into_iter().flatten().find(|namespace| namespace.typ() == LinuxNamespaceType::Network);
        match network.map(oci_spec::runtime::LinuxNamespace::path) {
            Some(Some(path)) if !path.as_os_str().is_empty() => Self::Namespace(path.clone()),
            Some(_) => Self::New,
            None => Self::Host,
        }
    }
}

/// A pod's network, ready for a sandbox.
#[derive(Debug)]
pub struct PodNetwork {
    /// What the sentry is told.
    pub network: Network,
    /// Cards for the VMM, with their TAPs.
    pub cards: Vec<(Card, OwnedFd)>,
}

impl PodNetwork {
    /// Limits what goes through every card, in each direction.
    pub fn limit(&mut self, limit: RateLimit) {
        for (card, _) in &mut self.cards {
            card.limit = limit;
        }
    }
}

/// The interfaces of a namespace that are tied to TAPs.
#[derive(Debug)]
pub struct Attached {
    path: PathBuf,
    interfaces: Vec<String>,
}

impl Attached {
    /// Keeps the interfaces tied when this is gone: the ledger knows of them.
    pub fn leave_to_ledger(mut self) {
        self.interfaces.clear();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        for interface in &self.interfaces {
            // A namespace that is gone has taken its interfaces along.
            let _ = detach(&self.path, interface);
        }
    }
}

/// Takes the interfaces of the namespace at `path` for a sandbox. `note` is called before each effect on the host, with the
/// name of the interface.
///
/// # Errors
/// [`NetworkError`]; everything is as it was then.
pub fn attach(
    path: &Path,
    note: &mut (dyn FnMut(&str) -> Result<(), NetworkError> + Send),
) -> Result<(PodNetwork, Attached), NetworkError> {
    let namespace = Namespace::open(path)?;
    if namespace.is_own()? {
        return Err(NetworkError::Host { path: path.to_owned() });
    }
    let mut attached = Attached { path: path.to_owned(), interfaces: Vec::new() };
    let network = namespace.within(|| take(path, &mut attached.interfaces, note))??;
    Ok((network, attached))
}

/// In the namespace: scans it and ties each interface to a TAP.
fn take(
    path: &Path,
    done: &mut Vec<String>,
    note: &mut dyn FnMut(&str) -> Result<(), NetworkError>,
) -> Result<PodNetwork, NetworkError> {
    let step =
        |what: String| move |source| NetworkError::Step { path: path.to_owned(), what: what.clone(), source };
    let mut netlink = Netlink::open().map_err(step("open a netlink socket".to_owned()))?;
    let scan = scan::scan(&mut netlink).map_err(step("read the interfaces".to_owned()))?;
    if let Some(tap) = scan.foreign_tap {
        return Err(NetworkError::Busy { path: path.to_owned(), tap });
    }
    let count = scan.network.interfaces.len();
    if count > MAX_CARDS {
        return Err(NetworkError::TooMany { path: path.to_owned(), count });
    }
    let mut cards = Vec::with_capacity(count);
    for (interface, index) in scan.network.interfaces.iter().zip(scan.indices) {
        let tie = |source| step(format!("tie {} to a TAP device", interface.name))(source);
        note(&interface.name)?;
        done.push(interface.name.clone());
        let tap = tap::create(&mut netlink, interface.device, interface.mtu).map_err(tie)?;
        redirect::add(&mut netlink, index, tap.index).map_err(tie)?;
        redirect::add(&mut netlink, tap.index, index).map_err(tie)?;
        tap::set_up(&mut netlink, &tap).map_err(tie)?;
        let mtu = u16::try_from(interface.mtu).unwrap_or(u16::MAX);
        cards.push((Card { mac: interface.mac, mtu, limit: RateLimit::default() }, tap.descriptor));
    }
    Ok(PodNetwork { network: scan.network, cards })
}

/// Lets the namespace's own stack have an interface again. What is gone already is no error.
///
/// # Errors
/// When the namespace is there but the interface cannot be freed.
pub fn detach(path: &Path, interface: &str) -> io::Result<()> {
    let Ok(namespace) = Namespace::open(path) else { return Ok(()) };
    if namespace.is_own().unwrap_or(true) {
        return Ok(());
    }
    let free = || {
        let mut netlink = Netlink::open()?;
        redirect::remove(&mut netlink, interface)
    };
    // A file that is no namespace (any more) cannot be entered.
    namespace.within(free).unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests;
