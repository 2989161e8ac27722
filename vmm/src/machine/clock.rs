//! The guest's clock: pairings of host wall time and guest TSC, written to the [`TimePage`].

use super::memory::{GuestRam, MemoryError};
use crate::kvm::KvmError;
use chitin_proto::boot::TimePage;
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::mem::offset_of;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

const MSR_TSC: u32 = 0x10;

/// Writes the time page.
#[derive(Debug)]
pub struct GuestClock {
    ram: Arc<GuestRam>,
    page: u64,
    sequence: Mutex<u64>,
}

/// Why the clock could not be set.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// KVM would not read the TSC.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The page is not RAM.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

fn nanoseconds(time: Timespec) -> u64 {
    u64::try_from(i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)).unwrap_or(0)
}

/// The guest's TSC now.
///
/// # Errors
/// [`KvmError::Ioctl`].
pub fn guest_tsc(vcpu: &VcpuFd) -> Result<u64, KvmError> {
    let mut msrs = Msrs::from_entries(&[kvm_msr_entry { index: MSR_TSC, ..kvm_msr_entry::default() }])
        .map_err(|_| KvmError::Missing("the TSC MSR"))?;
    vcpu.get_msrs(&mut msrs).map_err(KvmError::ioctl("KVM_GET_MSRS"))?;
    msrs.as_slice().first().map(|entry| entry.data).ok_or(KvmError::Missing("the TSC MSR"))
}

impl GuestClock {
    /// A clock whose page lies at guest-physical `page`.
    #[must_use]
    pub const fn new(ram: Arc<GuestRam>, page: u64) -> Self {
        Self { ram, page, sequence: Mutex::new(0) }
    }

    /// Pairs host time and the TSC of `vcpu` and publishes the pair.
    ///
    /// # Errors
    /// [`ClockError`].
    pub fn pair(&self, vcpu: &VcpuFd) -> Result<(), ClockError> {
        let mut sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        let before = nanoseconds(clock_gettime(ClockId::Realtime));
        let tsc = guest_tsc(vcpu)?;
        let after = nanoseconds(clock_gettime(ClockId::Realtime));
        let boottime = nanoseconds(clock_gettime(ClockId::Boottime));
        let half = after.saturating_sub(before) / 2;
        let put = |offset: usize, value: u64| self.ram.write_value(self.page + offset as u64, &value);

        put(offset_of!(TimePage, sequence), *sequence + 1)?;
        fence(Ordering::SeqCst);
        put(offset_of!(TimePage, tsc), tsc)?;
        put(offset_of!(TimePage, realtime_ns), before + half)?;
        put(offset_of!(TimePage, boottime_ns), boottime.saturating_sub(half))?;
        fence(Ordering::SeqCst);
        *sequence += 2;
        put(offset_of!(TimePage, sequence), *sequence)?;
        Ok(())
    }

    /// TSC at which the guest entered user mode for the first time, as it noted it; 0 before.
    #[must_use]
    pub fn first_user_tsc(&self) -> u64 {
        let at = self.page + offset_of!(TimePage, first_user_tsc) as u64;
        self.ram.read_value(at).unwrap_or(0)
    }
}
