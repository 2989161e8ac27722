//! What a sandbox has done to the host: `/run/chitin/NAMESPACE/ID/journal`.
//!
//! A line is appended before each effect, so that whoever finds the journal later (`delete` after a crash, `chitin gc`)
//! can undo everything: processes are killed first, then the rest is undone backwards. Undoing tolerates what is not
//! there (any more). A journal of an unknown version is left alone; a line of an unknown kind is skipped.

use crate::cgroup;
use crate::host_process::HostProcess;
use crate::network;
use rustix::mount::{UnmountFlags, unmount};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Directory of all ledgers.
pub const ROOT: &str = "/run/chitin";
/// First line of a journal.
const HEADER: &str = "chitin journal 1";
/// How long a killed process may take to go.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a ledger cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// An id or namespace that cannot be a directory's name.
    #[error("{what} {name:?} cannot be used as a directory name")]
    BadName {
        /// Which.
        what: &'static str,
        /// It.
        name: String,
    },
    /// The id is in use.
    #[error("container {id} exists already ({})", path.display())]
    Exists {
        /// The id.
        id: String,
        /// Its journal.
        path: PathBuf,
    },
    /// An operation on the files failed.
    #[error("ledger {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Operating system error.
        source: io::Error,
    },
    /// A value with a line break.
    #[error("a path with a line break cannot be noted: {0:?}")]
    LineBreak(String),
}

/// One effect on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The process that owns this ledger.
    Owner(HostProcess),
    /// The container lives in the sandbox of this id, whose owner undoes the rest.
    Member(String),
    /// The bundle's directory; not an effect, but where to find its specification.
    Bundle(PathBuf),
    /// A socket in the file system.
    Socket(PathBuf),
    /// A VMM.
    Vmm(HostProcess),
    /// A mount.
    Mount(PathBuf),
    /// A control group's directory.
    Cgroup(PathBuf),
    /// A network interface tied to a TAP of the sandbox.
    Interface {
        /// Its name.
        name: String,
        /// The network namespace that it is in.
        namespace: PathBuf,
    },
}

impl Effect {
    fn line(&self) -> Result<String, LedgerError> {
        let (kind, value) = match self {
            Self::Owner(process) => ("owner", process.to_string()),
            Self::Member(id) => ("member", id.clone()),
            Self::Bundle(path) => ("bundle", path.display().to_string()),
            Self::Socket(path) => ("socket", path.display().to_string()),
            Self::Vmm(process) => ("vmm", process.to_string()),
            Self::Mount(path) => ("mount", path.display().to_string()),
            Self::Cgroup(path) => ("cgroup", path.display().to_string()),
            Self::Interface { name, namespace } => ("interface", format!("{name} {}", namespace.display())),
        };
        if value.contains('\n') {
            return Err(LedgerError::LineBreak(value));
        }
        Ok(format!("{kind} {value}\n"))
    }

    fn parse(line: &str) -> Option<Self> {
        let (kind, value) = line.split_once(' ')?;
        Some(match kind {
            "owner" => Self::Owner(value.parse().ok()?),
            "member" => Self::Member(value.to_owned()),
            "bundle" => Self::Bundle(value.into()),
            "socket" => Self::Socket(value.into()),
            "vmm" => Self::Vmm(value.parse().ok()?),
            "mount" => Self::Mount(value.into()),
            "cgroup" => Self::Cgroup(value.into()),
            "interface" => {
                let (name, namespace) = value.split_once(' ')?;
                Self::Interface { name: name.to_owned(), namespace: namespace.into() }
            }
            _ => return None,
        })
    }

    /// Undoes the effect.
    fn undo(&self) -> io::Result<()> {
        let absent = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        match self {
            Self::Owner(process) if process.is_own() => Ok(()),
            Self::Owner(process) | Self::Vmm(process) => process.kill(KILL_TIMEOUT),
            Self::Member(_) | Self::Bundle(_) => Ok(()),
            Self::Socket(path) => absent(fs::remove_file(path)),
            Self::Mount(path) => match unmount(path.as_path(), UnmountFlags::DETACH) {
                // Not a mount point: it was detached, or never mounted.
                Err(rustix::io::Errno::INVAL) => Ok(()),
                other => absent(other.map_err(Into::into)),
            },
            Self::Cgroup(path) => absent(cgroup::remove_soon(path)),
            Self::Interface { name, namespace } => network::detach(namespace, name),
        }
    }
}

/// The journal of one container.
#[derive(Debug)]
pub struct Ledger {
    directory: PathBuf,
    journal: File,
}

impl Ledger {
    /// Starts a journal.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] when there is one, [`LedgerError::BadName`], [`LedgerError::Io`].
    pub fn create(namespace: &str, id: &str) -> Result<Self, LedgerError> {
        Self::create_in(Path::new(ROOT), namespace, id)
    }

    fn create_in(root: &Path, namespace: &str, id: &str) -> Result<Self, LedgerError> {
        let directory = directory(root, namespace, id)?;
        let fail = |source| LedgerError::Io { path: directory.clone(), source };
        fs::create_dir_all(&directory).map_err(fail)?;
        let path = directory.join("journal");
        let journal = OpenOptions::new().append(true).create_new(true).open(&path);
        let mut journal = journal.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => LedgerError::Exists { id: id.to_owned(), path },
            _ => LedgerError::Io { path, source },
        })?;
        journal.write_all(format!("{HEADER}\n").as_bytes()).map_err(fail)?;
        Ok(Self { directory, journal })
    }

    /// Notes an effect that is about to happen.
    ///
    /// # Errors
    /// [`LedgerError::Io`], [`LedgerError::LineBreak`]; the effect must not happen then.
    pub fn note(&self, effect: &Effect) -> Result<(), LedgerError> {
        let line = effect.line()?;
        (&self.journal)
            .write_all(line.as_bytes())
            .map_err(|source| LedgerError::Io { path: self.directory.join("journal"), source })
    }

    /// Undoes everything and removes the ledger; returns what could not be undone.
    #[must_use]
    pub fn settle(self) -> Vec<String> {
        settle_directory(&self.directory)
    }
}

/// What is known of a container from its journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Namespace.
    pub namespace: String,
    /// Container id.
    pub id: String,
    /// Everything noted, in order.
    pub effects: Vec<Effect>,
    directory: PathBuf,
}

impl Record {
    /// Reads one container's journal; `None` when there is none (or one of another version).
    #[must_use]
    pub fn find(namespace: &str, id: &str) -> Option<Self> {
        Self::read(namespace, id, directory(Path::new(ROOT), namespace, id).ok()?)
    }

    /// Reads all journals.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut records = Vec::new();
        for namespace in names(Path::new(ROOT)) {
            for id in names(&Path::new(ROOT).join(&namespace)) {
                records.extend(Self::find(&namespace, &id));
            }
        }
        records
    }

    fn read(namespace: &str, id: &str, directory: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(directory.join("journal")).ok()?;
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return None;
        }
        let effects = lines.filter_map(Effect::parse).collect();
        Some(Self { namespace: namespace.to_owned(), id: id.to_owned(), effects, directory })
    }

    /// The socket of the process that runs it.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Socket(path) => Some(path.as_path()),
            _ => None,
        })
    }

    /// The VMM's process.
    #[must_use]
    pub fn vmm(&self) -> Option<HostProcess> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Vmm(process) => Some(*process),
            _ => None,
        })
    }

    /// The bundle's directory.
    #[must_use]
    pub fn bundle(&self) -> Option<&Path> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Bundle(path) => Some(path.as_path()),
            _ => None,
        })
    }

    /// The sandbox that the container is a guest of, if it is not its own.
    #[must_use]
    pub fn member_of(&self) -> Option<&str> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Member(group) => Some(group.as_str()),
            _ => None,
        })
    }

    /// When the journal was started.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        let journal = fs::metadata(self.directory.join("journal")).ok()?;
        journal.created().or_else(|_| journal.modified()).ok()
    }

    /// Whether the process that keeps this journal is there.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Owner(process) if process.is_alive()))
    }

    /// Undoes everything and removes the ledger; returns what could not be undone.
    #[must_use]
    pub fn settle(&self) -> Vec<String> {
        settle_directory(&self.directory)
    }
}

fn settle_directory(directory: &Path) -> Vec<String> {
    let Some(record) = Record::read("", "", directory.to_owned()) else {
        return vec![format!("{}: not a journal of this version", directory.display())];
    };
    let is_member = record.effects.iter().any(|effect| matches!(effect, Effect::Member(_)));
    let mut problems = Vec::new();
    let (processes, others): (Vec<_>, Vec<_>) =
        record.effects.iter().rev().partition(|effect| matches!(effect, Effect::Owner(_) | Effect::Vmm(_)));
    for effect in processes.into_iter().chain(others) {
        // The owner of a shared sandbox must outlive this container.
        if is_member && matches!(effect, Effect::Owner(_)) {
            continue;
        }
        if let Err(error) = effect.undo() {
            problems.push(format!("undo {effect:?}: {error}"));
        }
    }
    if problems.is_empty() {
        let _ = fs::remove_file(directory.join("journal"));
        let _ = fs::remove_dir(directory);
        if let Some(namespace) = directory.parent() {
            // Fails while other containers are in it.
            let _ = fs::remove_dir(namespace);
        }
    }
    problems
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn directory(root: &Path, namespace: &str, id: &str) -> Result<PathBuf, LedgerError> {
    for (what, name) in [("namespace", namespace), ("container id", id)] {
        let usable = !name.is_empty()
            && !matches!(name, "." | "..")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+@:".contains(&byte));
        if !usable {
            return Err(LedgerError::BadName { what, name: name.to_owned() });
        }
    }
    Ok(root.join(namespace).join(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("chitin-ledger-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        root
    }

    #[test]
    fn effects_are_undone_backwards_and_the_ledger_goes() {
        let root = scratch("undo");
        let ledger = Ledger::create_in(&root, "ns", "one").unwrap();
        let socket = root.join("socket");
        fs::write(&socket, "").unwrap();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let vmm = HostProcess::find(child.id()).unwrap();
        for effect in [
            Effect::Socket(socket.clone()),
            Effect::Mount(root.join("never-mounted")),
            Effect::Cgroup(root.join("never-made")),
            Effect::Interface { name: "eth0".to_owned(), namespace: root.join("never was") },
            Effect::Vmm(vmm),
        ] {
            ledger.note(&effect).unwrap();
        }
        assert!(matches!(Ledger::create_in(&root, "ns", "one"), Err(LedgerError::Exists { .. })));
        // A kind that a later version may have added.
        (&ledger.journal).write_all(b"tap chitin0\n").unwrap();
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        assert_eq!(ledger.settle(), Vec::<String>::new());
        assert!(!reaper.join().unwrap().success());
        assert!(!vmm.is_alive() && !socket.exists() && !root.join("ns").exists());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        for bad in ["", "..", "a/b", "a b", "a\n"] {
            assert!(directory(Path::new("/x"), "ns", bad).is_err(), "{bad:?}");
        }
    }
}
