//! Getting a vCPU thread out of `KVM_RUN` from another thread.
//!
//! The kicker sets `immediate_exit` in the vCPU's run page and then sends [`signal`]: if the thread is in the guest the
//! signal gets it out, if it is about to enter, `immediate_exit` does.

#![expect(unsafe_code, reason = "writes immediate_exit of a run page that another thread owns")]

use super::KvmError;
use kvm_ioctls::VcpuFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

/// The `immediate_exit` byte of a vCPU's run page.
#[derive(Debug)]
struct RunPage(*mut u8);

// SAFETY: the byte is only written, with volatile writes, while the lock around the `RunPage` is held; the owning thread
// takes the value out under that lock before it unmaps the page.
unsafe impl Send for RunPage {}

/// Kicks one vCPU thread.
#[derive(Clone, Debug)]
pub struct Kicker(Arc<Mutex<Option<RunPage>>>);

extern "C" fn ignore_signal(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// The signal that gets a vCPU thread out of the guest.
#[must_use]
pub fn signal() -> i32 {
    SIGRTMIN()
}

/// Makes [`signal`] interrupt system calls instead of ending the process.
///
/// # Errors
/// [`KvmError::Ioctl`] with that of sigaction(2).
pub fn prepare_signal() -> Result<(), KvmError> {
    register_signal_handler(signal(), ignore_signal).map_err(KvmError::ioctl("sigaction"))
}

impl Kicker {
    /// A kicker for the thread that will run `vcpu`. That thread must call [`Kicker::retire`] before it drops `vcpu`.
    #[must_use]
    pub fn new(vcpu: &mut VcpuFd) -> Self {
        let immediate_exit = &raw mut vcpu.get_kvm_run().immediate_exit;
        Self(Arc::new(Mutex::new(Some(RunPage(immediate_exit)))))
    }

    /// No more kicks: the run page is about to go.
    pub fn retire(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Gets `thread`, which runs the vCPU, out of the guest.
    pub fn kick(&self, thread: &JoinHandle<()>) {
        if let Some(page) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // SAFETY: the page is mapped as long as the `RunPage` exists.
            unsafe { page.0.write_volatile(1) };
            // The thread cannot have ended while its run page is here.
            let _ = thread.kill(signal());
        }
    }
}
