//! [`Name`]: names of unix sockets, and who has them.

use super::Unix;
use crate::abi::Errno;
use crate::fs::Node;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};

/// Level of the table of abstract names.
const LEVEL: Level = Level(135);

/// A unix socket's name.
#[derive(Clone, Default)]
pub enum Name {
    /// It has none.
    #[default]
    Unnamed,
    /// In the abstract namespace: the bytes after the null byte.
    Abstract(Vec<u8>),
    /// In a file system: as it was given, and the node once it was looked up.
    Path(Vec<u8>, Option<Arc<Node>>),
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unnamed => f.write_str("unnamed"),
            Self::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Self::Path(path, _) => write!(f, "{}", path.escape_ascii()),
        }
    }
}

/// What hangs on the node of a socket's name.
struct Bound(Weak<Unix>);

/// Abstract names, with the network namespace that they belong to. The containers of a pod share its network, and with it
/// their names.
static ABSTRACT: SpinLock<Names> = SpinLock::new(LEVEL, BTreeMap::new());

type Names = BTreeMap<(u64, Vec<u8>), Weak<Unix>>;

/// Gives a socket a name. A path must have its node, fresh and of kind socket.
///
/// # Errors
/// `EADDRINUSE`; `EINVAL` for [`Name::Unnamed`] and for a path without a node.
pub(super) fn bind(name: &Name, socket: &Arc<Unix>) -> Result<(), Errno> {
    match name {
        Name::Unnamed | Name::Path(_, None) => Err(Errno::EINVAL),
        Name::Abstract(name) => {
            let key = (socket.space, name.clone());
            let mut names = ABSTRACT.lock();
            if names.get(&key).is_some_and(|other| other.strong_count() > 0) {
                return Err(Errno::EADDRINUSE);
            }
            names.insert(key, Arc::downgrade(socket));
            Ok(())
        }
        Name::Path(_, Some(node)) => {
            let bound = Arc::new(Bound(Arc::downgrade(socket)));
            node.state.attach_with(|| bound).map(drop).ok_or(Errno::EADDRINUSE)
        }
    }
}

/// A name that nobody has (autobind: five hexadecimal digits).
///
/// # Errors
/// `ENOSPC` when all are taken.
pub(super) fn bind_any(socket: &Arc<Unix>) -> Result<Name, Errno> {
    let mut names = ABSTRACT.lock();
    for number in 0..0x10_0000 {
        let key = (socket.space, format!("{number:05x}").into_bytes());
        if names.get(&key).is_none_or(|other| other.strong_count() == 0) {
            names.insert(key.clone(), Arc::downgrade(socket));
            return Ok(Name::Abstract(key.1));
        }
    }
    Err(Errno::ENOSPC)
}

/// Takes a name back when its socket is closed. Names of files stay, and refuse connections.
pub(super) fn unbind(space: u64, name: &Name) {
    match name {
        Name::Abstract(name) => drop(ABSTRACT.lock().remove(&(space, name.clone()))),
        Name::Path(_, Some(node)) => node.state.detach(),
        Name::Unnamed | Name::Path(_, None) => {}
    }
}

/// Who has a name.
///
/// # Errors
/// `ECONNREFUSED` when nobody has it; `EINVAL` for [`Name::Unnamed`].
pub(super) fn find(space: u64, name: &Name) -> Result<Arc<Unix>, Errno> {
    match name {
        Name::Unnamed => Err(Errno::EINVAL),
        Name::Abstract(name) => {
            let key = (space, name.clone());
            ABSTRACT.lock().get(&key).and_then(Weak::upgrade).ok_or(Errno::ECONNREFUSED)
        }
        Name::Path(_, None) => Err(Errno::ECONNREFUSED),
        Name::Path(_, Some(node)) => {
            let bound = node.state.attachment::<Bound>().ok_or(Errno::ECONNREFUSED)?;
            bound.0.upgrade().ok_or(Errno::ECONNREFUSED)
        }
    }
}
