use super::discipline::{Discipline, TtySignal};
use super::termios::{cc, iflag, lflag, oflag};
use super::*;
use crate::abi::Errno;
use crate::fs::{FileBody, OpenFile, Stream};
use crate::platform::hosted;
use crate::user::{IoReader, IoWriter};
use crate::wait::{PollMask, Stop};
use alloc::sync::Arc;
use chitin_core::lock::{Level, SpinLock};
use std::vec;
use std::vec::Vec;

fn typed(line: &mut Discipline, bytes: &[u8]) -> Vec<TtySignal> {
    bytes.iter().filter_map(|byte| line.type_byte(*byte)).collect()
}

fn shown(line: &mut Discipline) -> Vec<u8> {
    line.output.drain(..).collect()
}

fn next(line: &mut Discipline) -> Vec<u8> {
    let len = line.front().unwrap_or(0);
    let (first, second) = line.peek(len);
    let bytes = [first, second].concat();
    line.consume(len);
    bytes
}

#[test]
fn lines_are_edited_and_echoed() {
    let mut line = Discipline::new();
    typed(&mut line, b"helo\x7flo wrld\x17world\rmore");
    assert_eq!(shown(&mut line), b"helo\x08 \x08lo wrld\x08 \x08\x08 \x08\x08 \x08\x08 \x08world\r\nmore");
    assert_eq!(line.readable_bytes(), 12);
    assert_eq!(next(&mut line), b"hello world\n");
    assert!(!line.has_input());
    typed(&mut line, b"\x15gone\x16\x03\n");
    assert_eq!(next(&mut line), b"gone\x03\n");
    shown(&mut line);
    typed(&mut line, b"a\tb\x7f\x7f\x7f\x7f");
    let mut expected = b"a\tb\x08 \x08".to_vec();
    expected.extend(b"\x08 \x08".repeat(7));
    expected.extend(b"\x08 \x08");
    assert_eq!(shown(&mut line), expected);
}

#[test]
fn end_of_file_and_signals() {
    let mut line = Discipline::new();
    typed(&mut line, b"part\x04");
    assert_eq!(next(&mut line), b"part");
    typed(&mut line, b"\x04");
    assert!(line.has_input());
    assert_eq!(line.front(), None);
    line.consume(0);
    assert!(!line.has_input());
    shown(&mut line);
    assert_eq!(typed(&mut line, b"lost\x03"), vec![TtySignal::Interrupt]);
    assert_eq!(shown(&mut line), b"^C");
    assert_eq!(typed(&mut line, b"\x1a\x1c"), vec![TtySignal::Suspend, TtySignal::Quit]);
    typed(&mut line, b"\n");
    assert_eq!(next(&mut line), b"\n");
}

#[test]
fn modes_change_what_is_typed_and_shown() {
    let mut line = Discipline::new();
    let mut termios = Termios::new();
    termios.lflag &= !(lflag::ICANON | lflag::ECHO | lflag::ISIG);
    termios.iflag &= !iflag::ICRNL;
    line.set_termios(termios);
    typed(&mut line, b"a\x03\r");
    assert_eq!(next(&mut line), b"a\x03\r");
    assert!(shown(&mut line).is_empty());
    b"x\ny".iter().for_each(|byte| line.put_output(*byte));
    assert_eq!(shown(&mut line), b"x\r\ny");
    termios.oflag &= !oflag::OPOST;
    line.set_termios(termios);
    line.put_output(b'\n');
    assert_eq!(shown(&mut line), b"\n");
    line.set_termios(Termios::new());
    typed(&mut line, b"\x13");
    assert!(line.stopped);
    typed(&mut line, b"\x11");
    assert!(!line.stopped);
    typed(&mut line, &vec![b'x'; 10_000]);
    typed(&mut line, b"\n");
    assert_eq!(next(&mut line).len(), 4096);
}

fn write(stream: &dyn Stream, bytes: &[u8]) -> Result<usize, Stop> {
    stream.try_write(&mut IoReader::kernel(bytes))
}

fn read(stream: &dyn Stream) -> Result<Vec<u8>, Stop> {
    let mut bytes = vec![0; 100];
    let got = stream.try_read(&mut IoWriter::kernel(&mut bytes))?;
    bytes.truncate(got);
    Ok(bytes)
}

impl pty::Owner for Arc<Seen> {
    fn signal_foreground(&self, signal: u8) {
        self.0.lock().push(signal);
    }
    fn hang_up(&self) {
        self.0.lock().push(1);
    }
    fn session(&self) -> (usize, u32) {
        (1, 2)
    }
    fn is_current(&self, _terminal: &Pty) -> bool {
        true
    }
}

struct Seen(SpinLock<Vec<u8>>);

#[test]
fn both_sides_talk_and_hang_up() {
    hosted::install();
    let pty = Pty::new(7).unwrap();
    let master = Master::new(pty.clone());
    assert_eq!(pty.open_slave().err(), Some(Errno::EIO));
    pty.unlock();
    let slave = pty.open_slave().unwrap();
    let file = OpenFile::new(FileBody::Stream(slave.clone(), None), 2);
    let seen = Arc::new(Seen(SpinLock::new(Level(230), vec![])));
    pty.set_owner(Some(Arc::new(seen.clone())));
    assert_eq!(read(&*slave), Err(Stop::WouldBlock));
    assert_eq!(write(&*master, b"ls\r\x03"), Ok(4));
    assert_eq!(*seen.0.lock(), vec![2]);
    assert_eq!(read(&*slave), Err(Stop::WouldBlock));
    assert_eq!(read(&*master).unwrap(), b"^C");
    write(&*master, b"ok\r").unwrap();
    assert!(Stream::poll(&*slave, None).contains(PollMask::IN));
    assert_eq!(read(&*slave).unwrap(), b"ok\n");
    assert_eq!(write(&*slave, b"out\n"), Ok(4));
    assert_eq!(read(&*master).unwrap(), b"ok\r\nout\r\n");
    pty.set_window(WindowSize { rows: 5, ..WindowSize::default() });
    assert_eq!(*seen.0.lock(), vec![2, 28]);
    assert!(write(&*slave, &[b'x'; 20_000]).unwrap() > 15_000);
    assert_eq!(write(&*slave, b"x"), Err(Stop::WouldBlock));
    assert!(!Stream::poll(&*slave, None).contains(PollMask::OUT));
    master.close();
    assert_eq!(*seen.0.lock(), vec![2, 28, 1]);
    assert_eq!(read(&*slave), Ok(vec![]));
    assert_eq!(write(&*slave, b"x"), Err(Stop::Errno(Errno::EIO)));
    drop(file);
}

#[test]
fn times_of_raw_reads() {
    hosted::for_seeds(20, |sleeper| {
        let pty = Pty::new(1).unwrap();
        let master = Master::new(pty.clone());
        pty.unlock();
        let slave: Arc<dyn Stream> = pty.open_slave().unwrap();
        let mut termios = Termios::new();
        termios.lflag &= !lflag::ICANON;
        termios.cc[cc::VMIN] = 0;
        termios.cc[cc::VTIME] = 2;
        pty.state().line.set_termios(termios);
        let waiter = crate::wait::Waiter { sleeper, interrupt: &Calm, regs: None };
        let start = sleeper.now_ns();
        assert_eq!(crate::wait::block_on(&waiter, &slave, None, || read(&*slave)), Ok(vec![]));
        assert!(sleeper.now_ns() >= start + 200_000_000);
        termios.cc[cc::VMIN] = 3;
        pty.state().line.set_termios(termios);
        write(&*master, b"a").unwrap();
        let start = sleeper.now_ns();
        assert_eq!(crate::wait::block_on(&waiter, &slave, None, || read(&*slave)), Ok(b"a".to_vec()));
        assert!(sleeper.now_ns() >= start + 200_000_000);
    });
}

struct Calm;
impl chitin_core::sleep::Interrupt for Calm {
    fn interrupted(&self) -> bool {
        false
    }
    fn killed(&self) -> bool {
        false
    }
}
