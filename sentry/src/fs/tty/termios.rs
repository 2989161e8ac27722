//! Terminal settings (termios(3)): `struct termios`, its flags, and `struct winsize`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Input modes.
#[expect(missing_docs, reason = "names of termios(3)")]
pub mod iflag {
    pub const ISTRIP: u32 = 0o40;
    pub const INLCR: u32 = 0o100;
    pub const IGNCR: u32 = 0o200;
    pub const ICRNL: u32 = 0o400;
    pub const IUCLC: u32 = 0o1000;
    pub const IXON: u32 = 0o2000;
    pub const IXANY: u32 = 0o4000;
    pub const IMAXBEL: u32 = 0o20000;
    pub const IUTF8: u32 = 0o40000;
}

/// Output modes.
#[expect(missing_docs, reason = "names of termios(3)")]
pub mod oflag {
    pub const OPOST: u32 = 1;
    pub const OLCUC: u32 = 2;
    pub const ONLCR: u32 = 4;
    pub const OCRNL: u32 = 0o10;
    pub const ONOCR: u32 = 0o20;
    pub const ONLRET: u32 = 0o40;
    pub const XTABS: u32 = 0o14000;
}

/// Local modes.
#[expect(missing_docs, reason = "names of termios(3)")]
pub mod lflag {
    pub const ISIG: u32 = 1;
    pub const ICANON: u32 = 2;
    pub const ECHO: u32 = 0o10;
    pub const ECHOE: u32 = 0o20;
    pub const ECHOK: u32 = 0o40;
    pub const ECHONL: u32 = 0o100;
    pub const NOFLSH: u32 = 0o200;
    pub const TOSTOP: u32 = 0o400;
    pub const ECHOCTL: u32 = 0o1000;
    pub const ECHOKE: u32 = 0o4000;
    pub const IEXTEN: u32 = 0o100_000;
}

/// Indices of special characters.
#[expect(missing_docs, reason = "names of termios(3)")]
pub mod cc {
    pub const VINTR: usize = 0;
    pub const VQUIT: usize = 1;
    pub const VERASE: usize = 2;
    pub const VKILL: usize = 3;
    pub const VEOF: usize = 4;
    pub const VTIME: usize = 5;
    pub const VMIN: usize = 6;
    pub const VSTART: usize = 8;
    pub const VSTOP: usize = 9;
    pub const VSUSP: usize = 10;
    pub const VEOL: usize = 11;
    pub const VREPRINT: usize = 12;
    pub const VWERASE: usize = 14;
    pub const VLNEXT: usize = 15;
    pub const VEOL2: usize = 16;
}

/// `struct termios` of the kernel: 36 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termios {
    /// Input modes.
    pub iflag: u32,
    /// Output modes.
    pub oflag: u32,
    /// Control modes, of no effect on pseudo-terminals.
    pub cflag: u32,
    /// Local modes.
    pub lflag: u32,
    /// Line discipline, always 0 (`N_TTY`).
    pub line: u8,
    /// Special characters; 0 is none.
    pub cc: [u8; 19],
}

impl Termios {
    /// What Linux gives to a new terminal (`tty_std_termios`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            iflag: iflag::ICRNL | iflag::IXON,
            oflag: oflag::OPOST | oflag::ONLCR,
            // B38400, CS8, CREAD.
            cflag: 0o17 | 0o60 | 0o200,
            lflag: lflag::ISIG
                | lflag::ICANON
                | lflag::ECHO
                | lflag::ECHOE
                | lflag::ECHOK
                | lflag::ECHOCTL
                | lflag::ECHOKE
                | lflag::IEXTEN,
            line: 0,
            cc: [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0],
        }
    }

    /// Whether input mode `flag` is on.
    #[must_use]
    pub const fn input(&self, flag: u32) -> bool {
        self.iflag & flag != 0
    }

    /// Whether output mode `flag` is on.
    #[must_use]
    pub const fn output(&self, flag: u32) -> bool {
        self.oflag & flag != 0
    }

    /// Whether local mode `flag` is on.
    #[must_use]
    pub const fn local(&self, flag: u32) -> bool {
        self.lflag & flag != 0
    }

    /// A special character; 0 is none.
    #[must_use]
    pub fn character(&self, index: usize) -> u8 {
        self.cc.get(index).copied().unwrap_or(0)
    }

    /// Whether `byte` is the special character `index`.
    #[must_use]
    pub fn is(&self, byte: u8, index: usize) -> bool {
        byte != 0 && self.character(index) == byte
    }
}

impl Default for Termios {
    fn default() -> Self {
        Self::new()
    }
}

/// `struct winsize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WindowSize {
    /// Rows of characters.
    pub rows: u16,
    /// Columns of characters.
    pub columns: u16,
    /// Pixels across.
    pub x_pixels: u16,
    /// Pixels down.
    pub y_pixels: u16,
}
