//! Entering a network namespace for a moment: a thread of its own goes there and never comes back.

use super::NetworkError;
use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A network namespace, by its file.
#[derive(Debug)]
pub(super) struct Namespace {
    path: PathBuf,
    file: OwnedFd,
}

impl Namespace {
    /// Opens the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, NetworkError> {
        let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
        let file =
            file.map_err(|errno| NetworkError::Namespace { path: path.to_owned(), source: errno.into() })?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn error(&self, source: impl Into<io::Error>) -> NetworkError {
        NetworkError::Namespace { path: self.path.clone(), source: source.into() }
    }

    /// Whether this process is in it.
    pub(super) fn is_own(&self) -> Result<bool, NetworkError> {
        let own = stat("/proc/self/ns/net").map_err(|errno| self.error(errno))?;
        let this = fstat(&self.file).map_err(|errno| self.error(errno))?;
        Ok((own.st_dev, own.st_ino) == (this.st_dev, this.st_ino))
    }

    /// Runs `body` in it.
    pub(super) fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T, NetworkError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|errno| self.error(errno))?;
                Ok(body())
            });
            let thread = thread.map_err(|error| self.error(error))?;
            thread.join().unwrap_or_else(|_| Err(self.error(io::Error::other("the thread in it failed"))))
        })
    }
}
