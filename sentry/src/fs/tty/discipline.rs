//! [`Discipline`]: what a terminal makes of bytes: line editing, echo, signals on the way in, newlines and tabs on the way
//! out (termios(3)). Plain logic, no locks and no waiting.

use super::termios::{Termios, cc, iflag, lflag, oflag};
use alloc::collections::VecDeque;

/// Bytes of input that wait at most (`N_TTY_BUF_SIZE`).
pub(super) const INPUT_MAX: usize = 4096;
/// Bytes of output that wait at most.
pub(super) const OUTPUT_MAX: usize = 16 << 10;
/// Most bytes that one byte of input or output can become on the way out, but for erasing whole lines.
const EXPANSION: usize = 8;

/// A signal that a character asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TtySignal {
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTSTP.
    Suspend,
}

/// The state of a terminal's line.
pub(super) struct Discipline {
    pub(super) termios: Termios,
    /// Input: complete lines first, then the line being edited (or, without `ICANON`, simply bytes).
    input: VecDeque<u8>,
    /// Lengths of the complete lines at the start of `input`. An empty one is an end of file.
    lines: VecDeque<usize>,
    /// Sum of `lines`.
    complete: usize,
    /// The next character is taken literally.
    literal: bool,
    /// Output to the other side.
    pub(super) output: VecDeque<u8>,
    /// Column of the cursor, and where the line being edited began.
    column: usize,
    line_column: usize,
    /// Output is stopped (`^S`, TCXONC).
    pub(super) stopped: bool,
}

impl Discipline {
    pub(super) fn new() -> Self {
        Self {
            termios: Termios::new(),
            input: VecDeque::new(),
            lines: VecDeque::new(),
            complete: 0,
            literal: false,
            output: VecDeque::new(),
            column: 0,
            line_column: 0,
            stopped: false,
        }
    }

    fn is_canonical(&self) -> bool {
        self.termios.local(lflag::ICANON)
    }

    /// Replaces the settings.
    pub(super) fn set_termios(&mut self, termios: Termios) {
        let was_canonical = self.is_canonical();
        self.termios = termios;
        if was_canonical != self.is_canonical() {
            self.lines.clear();
            self.complete = 0;
            if self.is_canonical() && !self.input.is_empty() {
                // What was typed before can be read as it is.
                self.complete = self.input.len();
                self.lines.push_back(self.complete);
            }
        }
        if !self.termios.input(iflag::IXON) {
            self.stopped = false;
        }
    }

    /// Forgets all input.
    pub(super) fn flush_input(&mut self) {
        self.input.clear();
        self.lines.clear();
        self.complete = 0;
        self.literal = false;
    }

    /// Bytes that can be read now.
    pub(super) fn readable_bytes(&self) -> usize {
        if self.is_canonical() { self.complete } else { self.input.len() }
    }

    /// Whether a line, or an end of file, can be read; without `ICANON` whether any byte can.
    pub(super) fn has_input(&self) -> bool {
        if self.is_canonical() { !self.lines.is_empty() } else { !self.input.is_empty() }
    }

    /// Whether the other side may send more.
    pub(super) fn has_room(&self) -> bool {
        // An edited line may always be finished or erased, so only complete ones hold the sender up.
        self.input.len() < INPUT_MAX - 1 || (self.is_canonical() && self.lines.is_empty())
    }

    /// Whether output fits that may be as long as `len` bytes make it.
    pub(super) fn output_room(&self) -> usize {
        OUTPUT_MAX.saturating_sub(self.output.len()) / EXPANSION
    }

    /// The next piece of what can be read, up to a line's end; `None` is an end of file.
    pub(super) fn front(&self) -> Option<usize> {
        if self.is_canonical() {
            self.lines.front().copied().filter(|len| *len > 0)
        } else {
            Some(self.input.len())
        }
    }

    /// The first `len` bytes, in two pieces.
    pub(super) fn peek(&self, len: usize) -> (&[u8], &[u8]) {
        let (first, second) = self.input.as_slices();
        let split = len.min(first.len());
        (
            first.get(..split).unwrap_or_default(),
            second.get(..(len - split).min(second.len())).unwrap_or_default(),
        )
    }

    /// Takes `len` bytes of the first line; 0 takes an end of file.
    pub(super) fn consume(&mut self, len: usize) {
        self.input.drain(..len.min(self.input.len()));
        if !self.is_canonical() {
            return;
        }
        self.complete = self.complete.saturating_sub(len);
        if let Some(front) = self.lines.front_mut() {
            *front = front.saturating_sub(len);
            if *front == 0 {
                self.lines.pop_front();
            }
        }
    }

    /// Takes a byte that was typed. Returns the signal that it asks for.
    pub(super) fn type_byte(&mut self, byte: u8) -> Option<TtySignal> {
        let termios = self.termios;
        let mut byte = if termios.input(iflag::ISTRIP) { byte & 0x7f } else { byte };
        if core::mem::take(&mut self.literal) {
            self.add(byte);
            self.echo(byte);
            return None;
        }
        if termios.input(iflag::IUCLC) && termios.local(lflag::IEXTEN) {
            byte = byte.to_ascii_lowercase();
        }
        if termios.input(iflag::IXON) {
            if termios.is(byte, cc::VSTART) {
                self.stopped = false;
                return None;
            }
            if termios.is(byte, cc::VSTOP) {
                self.stopped = true;
                return None;
            }
            if self.stopped && termios.input(iflag::IXANY) {
                self.stopped = false;
            }
        }
        if termios.local(lflag::ISIG)
            && let Some(signal) = self.signal(byte)
        {
            return Some(signal);
        }
        match byte {
            b'\r' if termios.input(iflag::IGNCR) => return None,
            b'\r' if termios.input(iflag::ICRNL) => byte = b'\n',
            b'\n' if termios.input(iflag::INLCR) => byte = b'\r',
            _ => {}
        }
        if self.is_canonical() {
            self.edit(byte);
        } else {
            self.add(byte);
            self.echo(byte);
        }
        None
    }

    fn signal(&mut self, byte: u8) -> Option<TtySignal> {
        let termios = self.termios;
        let signal = if termios.is(byte, cc::VINTR) {
            TtySignal::Interrupt
        } else if termios.is(byte, cc::VQUIT) {
            TtySignal::Quit
        } else if termios.is(byte, cc::VSUSP) {
            TtySignal::Suspend
        } else {
            return None;
        };
        self.stopped = false;
        if !termios.local(lflag::NOFLSH) {
            self.flush_input();
            self.output.clear();
        }
        self.echo(byte);
        Some(signal)
    }

    /// One byte of a line with `ICANON`.
    fn edit(&mut self, byte: u8) {
        let termios = self.termios;
        let extended = termios.local(lflag::IEXTEN);
        if self.input.len() == self.complete {
            self.line_column = self.column;
        }
        if termios.is(byte, cc::VERASE) {
            self.erase_character();
        } else if extended && termios.is(byte, cc::VWERASE) {
            self.erase_word();
        } else if termios.is(byte, cc::VKILL) {
            self.kill(byte);
        } else if extended && termios.is(byte, cc::VLNEXT) {
            self.literal = true;
            if termios.local(lflag::ECHO) && termios.local(lflag::ECHOCTL) {
                self.output.extend(b"^\x08");
            }
        } else if extended && termios.is(byte, cc::VREPRINT) && termios.local(lflag::ECHO) {
            self.echo(byte);
            self.put_output(b'\n');
            let line: alloc::vec::Vec<u8> = self.input.iter().skip(self.complete).copied().collect();
            line.into_iter().for_each(|byte| self.echo(byte));
        } else if termios.is(byte, cc::VEOF) {
            self.finish_line();
        } else if byte == b'\n' {
            if termios.local(lflag::ECHO) || termios.local(lflag::ECHONL) {
                self.put_output(b'\n');
            }
            self.push_end(byte);
        } else if termios.is(byte, cc::VEOL) || (extended && termios.is(byte, cc::VEOL2)) {
            self.echo(byte);
            self.push_end(byte);
        } else {
            self.add(byte);
            self.echo(byte);
        }
    }

    fn push_end(&mut self, byte: u8) {
        // There is always room for a line's end: `add` keeps it.
        self.input.push_back(byte);
        self.finish_line();
    }

    fn finish_line(&mut self) {
        // Ends of file alone could be typed without end.
        if self.lines.len() < INPUT_MAX {
            self.lines.push_back(self.input.len() - self.complete);
            self.complete = self.input.len();
        }
    }

    fn add(&mut self, byte: u8) {
        if self.input.len() < INPUT_MAX - 1 {
            self.input.push_back(byte);
        } else if self.termios.input(iflag::IMAXBEL) {
            self.output.push_back(7);
        }
    }

    fn shows_as_control(&self, byte: u8) -> bool {
        self.termios.local(lflag::ECHOCTL) && byte.is_ascii_control() && byte != b'\t'
    }

    fn echo(&mut self, byte: u8) {
        if !self.termios.local(lflag::ECHO) || self.output.len() >= OUTPUT_MAX {
            return;
        }
        if self.shows_as_control(byte) && byte != b'\n' {
            self.output.push_back(b'^');
            self.output.push_back(byte ^ 0x40);
            self.column += 2;
        } else {
            self.put_output(byte);
        }
    }

    /// Columns that the end of the edited line takes from its byte `from` on.
    fn width_from(&self, from: usize) -> usize {
        let mut column = self.line_column;
        let mut start = column;
        for (index, byte) in self.input.iter().enumerate().skip(self.complete) {
            if index == from {
                start = column;
            }
            column += match *byte {
                b'\t' => 8 - column % 8,
                byte if self.shows_as_control(byte) => 2,
                byte if byte.is_ascii_control() => 0,
                byte if self.termios.input(iflag::IUTF8) && byte & 0xc0 == 0x80 => 0,
                _ => 1,
            };
        }
        if from >= self.input.len() { 0 } else { column - start }
    }

    /// Takes the edited line's bytes from `from` on away, on the screen too.
    fn erase_from(&mut self, from: usize) {
        if self.termios.local(lflag::ECHO) {
            if self.termios.local(lflag::ECHOE) {
                let width = self.width_from(from);
                for _ in 0..width.min(OUTPUT_MAX.saturating_sub(self.output.len()) / 3) {
                    self.output.extend(b"\x08 \x08");
                    self.column = self.column.saturating_sub(1);
                }
            } else {
                let erase = self.termios.character(cc::VERASE);
                self.echo(erase);
            }
        }
        self.input.truncate(from);
    }

    fn erase_character(&mut self) {
        let mut from = self.input.len();
        let utf8 = self.termios.input(iflag::IUTF8);
        while from > self.complete {
            from -= 1;
            if !(utf8 && self.input.get(from).is_some_and(|byte| byte & 0xc0 == 0x80)) {
                break;
            }
        }
        if from < self.input.len() {
            self.erase_from(from);
        }
    }

    fn erase_word(&mut self) {
        let is_word =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let mut from = self.input.len();
        while from > self.complete && !is_word(self.input.get(from - 1)) {
            from -= 1;
        }
        while from > self.complete && is_word(self.input.get(from - 1)) {
            from -= 1;
        }
        if from < self.input.len() {
            self.erase_from(from);
        }
    }

    fn kill(&mut self, byte: u8) {
        let termios = self.termios;
        if termios.local(lflag::ECHOK) && termios.local(lflag::ECHOKE) && termios.local(lflag::ECHOE) {
            if self.input.len() > self.complete {
                self.erase_from(self.complete);
            }
            return;
        }
        self.input.truncate(self.complete);
        self.echo(byte);
        if termios.local(lflag::ECHO) && termios.local(lflag::ECHOK) {
            self.put_output(b'\n');
        }
    }

    /// Puts a byte out, as the output modes say.
    pub(super) fn put_output(&mut self, byte: u8) {
        let termios = self.termios;
        if !termios.output(oflag::OPOST) {
            self.output.push_back(byte);
            return;
        }
        let mut byte = byte;
        match byte {
            b'\n' => {
                if termios.output(oflag::ONLCR) {
                    self.output.push_back(b'\r');
                    self.column = 0;
                }
                if termios.output(oflag::ONLRET) {
                    self.column = 0;
                }
            }
            b'\r' if termios.output(oflag::ONOCR) && self.column == 0 => return,
            b'\r' if termios.output(oflag::OCRNL) => {
                byte = b'\n';
                if termios.output(oflag::ONLRET) {
                    self.column = 0;
                }
            }
            b'\r' => self.column = 0,
            b'\t' => {
                let spaces = 8 - self.column % 8;
                self.column += spaces;
                if termios.oflag & oflag::XTABS == oflag::XTABS {
                    self.output.extend(core::iter::repeat_n(b' ', spaces));
                    return;
                }
            }
            8 => self.column = self.column.saturating_sub(1),
            _ => {
                if termios.output(oflag::OLCUC) {
                    byte = byte.to_ascii_uppercase();
                }
                let continues = termios.input(iflag::IUTF8) && byte & 0xc0 == 0x80;
                if !byte.is_ascii_control() && !continues {
                    self.column += 1;
                }
            }
        }
        self.output.push_back(byte);
    }
}
