//! Signal numbers, sets and default actions (signal(7)).

use crate::abi::Errno;

/// A signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// Numbers there are.
pub const COUNT: usize = 64;
/// First real-time signal of the kernel.
pub const RT_MIN: u8 = 32;

macro_rules! signals {
    ($($name:ident = $number:literal;)*) => {
        #[expect(missing_docs, reason = "names of signal(7)")]
        impl Signal {
            $(pub const $name: Self = Self($number);)*
        }
        impl core::fmt::Debug for Signal {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.0 {
                    $($number => f.write_str(concat!("SIG", stringify!($name))),)*
                    number => write!(f, "SIGRT_{}", number - RT_MIN),
                }
            }
        }
    };
}

signals! {
    HUP = 1; INT = 2; QUIT = 3; ILL = 4; TRAP = 5; ABRT = 6; BUS = 7; FPE = 8; KILL = 9; USR1 = 10; SEGV = 11; USR2 = 12;
    PIPE = 13; ALRM = 14; TERM = 15; STKFLT = 16; CHLD = 17; CONT = 18; STOP = 19; TSTP = 20; TTIN = 21; TTOU = 22;
    URG = 23; XCPU = 24; XFSZ = 25; VTALRM = 26; PROF = 27; WINCH = 28; IO = 29; PWR = 30; SYS = 31;
}

/// What happens to a process that has no handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// It ends.
    Terminate,
    /// It ends; the wait status has the core bit clear, for no core is written.
    Core,
    /// Nothing.
    Ignore,
    /// It stops.
    Stop,
    /// It continues.
    Continue,
}

impl Signal {
    /// Checks a number.
    ///
    /// # Errors
    /// `EINVAL` outside 1 to 64.
    pub fn new(number: u32) -> Result<Self, Errno> {
        match u8::try_from(number) {
            Ok(number @ 1..=64) => Ok(Self(number)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// As [`Signal::new`], with `None` for 0, which only tests whether a target is there.
    ///
    /// # Errors
    /// `EINVAL` outside 0 to 64.
    pub fn or_probe(number: u32) -> Result<Option<Self>, Errno> {
        if number == 0 { Ok(None) } else { Self::new(number).map(Some) }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its bit in a [`SigSet`].
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// Index in a table of all signals.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// Whether several of it queue.
    #[must_use]
    pub const fn is_real_time(self) -> bool {
        self.0 >= RT_MIN
    }

    /// The action without a handler.
    #[must_use]
    pub const fn default_action(self) -> DefaultAction {
        match self {
            Self::CHLD | Self::URG | Self::WINCH => DefaultAction::Ignore,
            Self::CONT => DefaultAction::Continue,
            Self::STOP | Self::TSTP | Self::TTIN | Self::TTOU => DefaultAction::Stop,
            Self::QUIT
            | Self::ILL
            | Self::TRAP
            | Self::ABRT
            | Self::BUS
            | Self::FPE
            | Self::SEGV
            | Self::XCPU
            | Self::XFSZ
            | Self::SYS => DefaultAction::Core,
            _ => DefaultAction::Terminate,
        }
    }
}

/// A set of signals.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// What cannot be blocked, caught or ignored.
    pub const UNBLOCKABLE: Self = Self(Signal::KILL.bit() | Signal::STOP.bit());
    /// What stops by default.
    pub const STOPS: Self =
        Self(Signal::STOP.bit() | Signal::TSTP.bit() | Signal::TTIN.bit() | Signal::TTOU.bit());
    /// What the CPU raises for the instruction being run: delivered before all others.
    pub const SYNCHRONOUS: Self = Self(
        Signal::SEGV.bit()
            | Signal::BUS.bit()
            | Signal::ILL.bit()
            | Signal::TRAP.bit()
            | Signal::FPE.bit()
            | Signal::SYS.bit(),
    );

    /// Whether it has `signal`.
    #[must_use]
    pub const fn has(self, signal: Signal) -> bool {
        self.0 & signal.bit() != 0
    }

    /// Without the signals of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// With the signals of `other`.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first to deliver: synchronous ones, then the lowest number.
    #[must_use]
    pub fn first(self) -> Option<Signal> {
        let synchronous = self.0 & Self::SYNCHRONOUS.0;
        let from = if synchronous != 0 { synchronous } else { self.0 };
        Signal::new(from.trailing_zeros() + 1).ok()
    }
}

impl core::fmt::Debug for SigSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SigSet({:#x})", self.0)
    }
}
