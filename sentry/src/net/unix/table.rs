//! The sockets that have a descriptor, for `/proc/net/unix`.

use super::{Name, Phase, Unix};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use chitin_core::lock::{Level, SpinLock};
use core::fmt::Write as _;
use core::sync::atomic::Ordering;

/// Level of the table.
const LEVEL: Level = Level(136);

/// `__SO_ACCEPTCON`.
const LISTENS: u32 = 0x1_0000;

/// Sockets by the inode numbers of their files.
static SOCKETS: SpinLock<BTreeMap<u64, Weak<Unix>>> = SpinLock::new(LEVEL, BTreeMap::new());

impl Unix {
    /// The socket has a file now.
    pub(super) fn enter_table(&self, ino: u64) {
        self.ino.store(ino, Ordering::Relaxed);
        SOCKETS.lock().insert(ino, self.me.clone());
    }

    /// The file is closed.
    pub(super) fn leave_table(&self) {
        let gone = SOCKETS.lock().remove(&self.ino.load(Ordering::Relaxed));
        drop(gone);
    }

    fn row(&self, text: &mut String, ino: u64) {
        let state = self.state.lock();
        let (flags, shown) = match &state.phase {
            Phase::Listening { .. } => (LISTENS, 1),
            Phase::Connected => (0, 3),
            Phase::Idle | Phase::Closed => (0, 1),
        };
        let references = if shown == 3 { 3 } else { 2 };
        let kind = self.kind.number();
        let _ = write!(
            text,
            "0000000000000000: {references:08X} 00000000 {flags:08X} {kind:04X} {shown:02X} {ino:5}"
        );
        match &state.name {
            Name::Unnamed => {}
            Name::Path(path, _) => {
                let _ = write!(text, " {}", String::from_utf8_lossy(path));
            }
            Name::Abstract(name) => {
                let shown: Vec<u8> = name.iter().map(|byte| if *byte == 0 { b'@' } else { *byte }).collect();
                let _ = write!(text, " @{}", String::from_utf8_lossy(&shown));
            }
        }
        text.push('\n');
    }
}

/// The text of `/proc/net/unix` in a network namespace.
#[must_use]
pub fn report(space: u64) -> String {
    let sockets: Vec<(u64, Arc<Unix>)> = {
        let table = SOCKETS.lock();
        table.iter().filter_map(|(ino, socket)| Some((*ino, socket.upgrade()?))).collect()
    };
    let mut text = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
    for (ino, socket) in sockets.iter().filter(|(_, socket)| socket.space == space) {
        socket.row(&mut text, *ino);
    }
    text
}
