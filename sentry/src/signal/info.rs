//! [`SigInfo`]: why a signal was sent (`siginfo_t`, sigaction(2)).

use super::number::Signal;

/// `si_code` values.
#[expect(missing_docs, reason = "names of sigaction(2)")]
pub mod code {
    pub const USER: i32 = 0;
    pub const KERNEL: i32 = 0x80;
    pub const QUEUE: i32 = -1;
    pub const TIMER: i32 = -2;
    pub const TKILL: i32 = -6;
    pub const CLD_EXITED: i32 = 1;
    pub const CLD_KILLED: i32 = 2;
    pub const CLD_DUMPED: i32 = 3;
    pub const CLD_TRAPPED: i32 = 4;
    pub const CLD_STOPPED: i32 = 5;
    pub const CLD_CONTINUED: i32 = 6;
    pub const SEGV_MAPERR: i32 = 1;
    pub const SEGV_ACCERR: i32 = 2;
    pub const BUS_ADRALN: i32 = 1;
    pub const BUS_ADRERR: i32 = 2;
    pub const ILL_ILLOPN: i32 = 2;
    pub const FPE_INTDIV: i32 = 1;
    pub const FPE_FLTINV: i32 = 7;
    pub const TRAP_BRKPT: i32 = 1;
    pub const TRAP_TRACE: i32 = 2;
}

/// The part that depends on who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel, without more to say.
    Kernel,
    /// A process: kill, tkill, sigqueue. Ids as the receiver sees them.
    Process {
        /// Sender's process id.
        pid: u32,
        /// Sender's real user id.
        uid: u32,
        /// Value of sigqueue(3).
        value: u64,
    },
    /// A child changed state.
    Child {
        /// Its process id.
        pid: u32,
        /// Its real user id.
        uid: u32,
        /// Exit status or signal.
        status: i32,
        /// User time in clock ticks.
        user_ticks: i64,
        /// System time in clock ticks.
        system_ticks: i64,
    },
    /// The CPU.
    Fault {
        /// Faulting address or instruction.
        address: u64,
    },
    /// A POSIX timer.
    Timer {
        /// Timer id.
        id: i32,
        /// Expirations missed.
        overrun: i32,
        /// Value of the timer's sigevent.
        value: u64,
    },
    /// A descriptor became ready.
    Poll {
        /// `POLL*` mask.
        band: i64,
        /// Descriptor.
        fd: i32,
    },
    /// A system call refused by a filter.
    Syscall {
        /// Address of the instruction.
        address: u64,
        /// System call number.
        number: i32,
    },
    /// What rt_sigqueueinfo(2) was given: bytes from offset 12.
    Raw([u8; 116]),
}

/// Why a signal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigInfo {
    /// The signal.
    pub signal: Signal,
    /// `si_errno`.
    pub errno: i32,
    /// `si_code`.
    pub code: i32,
    /// The rest.
    pub origin: Origin,
}

/// Bytes of `siginfo_t`.
pub const SIZE: usize = 128;

const ARCH_X86_64: u32 = 0xc000_003e;

impl SigInfo {
    /// From the kernel, for no particular reason (`SI_KERNEL`).
    #[must_use]
    pub const fn kernel(signal: Signal) -> Self {
        Self { signal, errno: 0, code: code::KERNEL, origin: Origin::Kernel }
    }

    /// From a process, by kill(2).
    #[must_use]
    pub const fn user(signal: Signal, pid: u32, uid: u32) -> Self {
        Self { signal, errno: 0, code: code::USER, origin: Origin::Process { pid, uid, value: 0 } }
    }

    /// From the CPU.
    #[must_use]
    pub const fn fault(signal: Signal, code: i32, address: u64) -> Self {
        Self { signal, errno: 0, code, origin: Origin::Fault { address } }
    }

    /// From a refused system call (seccomp(2)).
    #[must_use]
    pub const fn refused_call(address: u64, number: i32, errno: i32) -> Self {
        Self { signal: Signal::SYS, errno, code: 1, origin: Origin::Syscall { address, number } }
    }

    /// `siginfo_t` as user space sees it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put = |at: usize, part: &[u8]| {
            if let Some(to) = bytes.get_mut(at..at + part.len()) {
                to.copy_from_slice(part);
            }
        };
        put(0, &i32::from(self.signal.number()).to_le_bytes());
        put(4, &self.errno.to_le_bytes());
        put(8, &self.code.to_le_bytes());
        match self.origin {
            Origin::Kernel => {}
            Origin::Process { pid, uid, value } => {
                put(16, &pid.to_le_bytes());
                put(20, &uid.to_le_bytes());
                put(24, &value.to_le_bytes());
            }
            Origin::Child { pid, uid, status, user_ticks, system_ticks } => {
                put(16, &pid.to_le_bytes());
                put(20, &uid.to_le_bytes());
                put(24, &status.to_le_bytes());
                put(32, &user_ticks.to_le_bytes());
                put(40, &system_ticks.to_le_bytes());
            }
            Origin::Fault { address } => put(16, &address.to_le_bytes()),
            Origin::Timer { id, overrun, value } => {
                put(16, &id.to_le_bytes());
                put(20, &overrun.to_le_bytes());
                put(24, &value.to_le_bytes());
            }
            Origin::Poll { band, fd } => {
                put(16, &band.to_le_bytes());
                put(24, &fd.to_le_bytes());
            }
            Origin::Syscall { address, number } => {
                put(16, &address.to_le_bytes());
                put(24, &number.to_le_bytes());
                put(28, &ARCH_X86_64.to_le_bytes());
            }
            Origin::Raw(raw) => put(12, &raw),
        }
        bytes
    }

    /// From `siginfo_t` as rt_sigqueueinfo(2) takes it; `signal` replaces the number in it.
    #[must_use]
    pub fn from_bytes(signal: Signal, bytes: &[u8; SIZE]) -> Self {
        let word = |at: usize| {
            let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
            i32::from_le_bytes(part.unwrap_or_default())
        };
        let mut raw = [0; 116];
        raw.iter_mut().zip(bytes.iter().skip(12)).for_each(|(to, from)| *to = *from);
        Self { signal, errno: word(4), code: word(8), origin: Origin::Raw(raw) }
    }
}
