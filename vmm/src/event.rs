//! An eventfd that can be borrowed as a descriptor and handed to KVM.

#![expect(unsafe_code, reason = "vmm-sys-util's EventFd does not lend its descriptor")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// A non-blocking eventfd.
#[derive(Debug)]
pub struct Event(EventFd);

impl Event {
    /// A new one, not signalled.
    ///
    /// # Errors
    /// That of eventfd(2).
    pub fn new() -> io::Result<Self> {
        EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Self)
    }

    /// Makes it readable.
    pub fn signal(&self) {
        // Fails only when the counter is full, and then it is readable anyway.
        let _ = self.0.write(1);
    }

    /// Makes it unreadable.
    pub fn clear(&self) {
        // Fails only when it is not signalled.
        let _ = self.0.read();
    }

    /// What `kvm-ioctls` wants.
    #[must_use]
    pub const fn as_eventfd(&self) -> &EventFd {
        &self.0
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self` is.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
