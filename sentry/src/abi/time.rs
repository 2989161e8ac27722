//! Times as user space lays them out.

use crate::abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds of a second.
pub const NS_PER_SEC: u64 = 1_000_000_000;

/// `struct timespec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, below 10^9 when valid.
    pub nsec: i64,
}

impl Timespec {
    /// From ns.
    #[must_use]
    pub fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NS_PER_SEC).cast_signed(), nsec: (ns % NS_PER_SEC).cast_signed() }
    }

    /// In ns; what is too large for that becomes the largest value, which is 584 years.
    ///
    /// # Errors
    /// `EINVAL` when negative or with 10^9 ns or more.
    pub fn to_ns(self) -> Result<u64, Errno> {
        let sec = u64::try_from(self.sec).map_err(|_| Errno::EINVAL)?;
        let nsec = u64::try_from(self.nsec).ok().filter(|nsec| *nsec < NS_PER_SEC).ok_or(Errno::EINVAL)?;
        Ok(sec.saturating_mul(NS_PER_SEC).saturating_add(nsec))
    }
}

/// `struct timeval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeval {
    /// Seconds.
    pub sec: i64,
    /// Microseconds, below 10^6 when valid.
    pub usec: i64,
}

impl Timeval {
    /// From ns, rounded down.
    #[must_use]
    pub fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NS_PER_SEC).cast_signed(), usec: (ns % NS_PER_SEC / 1000).cast_signed() }
    }

    /// In ns.
    ///
    /// # Errors
    /// `EINVAL` when negative or with 10^6 µs or more.
    pub fn to_ns(self) -> Result<u64, Errno> {
        let usec = (0..1_000_000).contains(&self.usec).then_some(self.usec).ok_or(Errno::EINVAL)?;
        Timespec { sec: self.sec, nsec: usec * 1000 }.to_ns()
    }

    /// In ns, with any number of microseconds (select(2)).
    ///
    /// # Errors
    /// `EINVAL` when negative.
    pub fn to_ns_normalized(self) -> Result<u64, Errno> {
        let sec = u64::try_from(self.sec).map_err(|_| Errno::EINVAL)?;
        let usec = u64::try_from(self.usec).map_err(|_| Errno::EINVAL)?;
        Ok(sec.saturating_mul(NS_PER_SEC).saturating_add(usec.saturating_mul(1000)))
    }
}

/// `struct itimerspec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerspec {
    /// Period, zero for once.
    pub interval: Timespec,
    /// First expiration, zero to disarm.
    pub value: Timespec,
}

/// `struct itimerval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerval {
    /// Period, zero for once.
    pub interval: Timeval,
    /// First expiration, zero to disarm.
    pub value: Timeval,
}
