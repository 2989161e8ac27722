use super::*;
use crate::fs::eventfd::{EventFd, Take};
use crate::fs::pipe::Pipe;
use crate::platform::hosted;
use std::vec;

fn open(stream: Arc<dyn Stream>) -> Arc<OpenFile> {
    OpenFile::new(FileBody::Stream(stream, None), 2)
}

fn write(file: &OpenFile, bytes: &[u8]) {
    let FileBody::Stream(stream, _) = file.body() else { panic!() };
    stream.try_write(&mut IoReader::kernel(bytes)).unwrap();
}

fn read(file: &OpenFile, len: usize) {
    let FileBody::Stream(stream, _) = file.body() else { panic!() };
    stream.try_read(&mut IoWriter::kernel(&mut vec![0; len])).unwrap();
}

fn take(epoll: &Epoll, max: usize) -> Vec<Event> {
    let mut events = vec![];
    let given = epoll.collect(max, &mut |index, event| {
        assert_eq!(index, events.len());
        events.push(event);
        Ok(())
    });
    assert_eq!(given, Ok(events.len()));
    events
}

const IN: u32 = 1;
const OUT: u32 = 4;
const HUP: u32 = 0x10;
const ET: u32 = 1 << 31;
const ONE_SHOT: u32 = 1 << 30;

fn pipe() -> (Arc<OpenFile>, Arc<OpenFile>) {
    hosted::install();
    let (reader, writer) = Pipe::pair();
    (open(reader), open(writer))
}

#[test]
fn level_edge_and_one_shot() {
    let (reader, writer) = pipe();
    let epoll = Epoll::new();
    let interest = |events| Interest { events, data: 7 };
    epoll.add(3, &reader, interest(IN)).unwrap();
    assert_eq!(epoll.add(3, &reader, interest(IN)), Err(Errno::EEXIST));
    assert_eq!(take(&epoll, 8), vec![]);
    write(&writer, b"x");
    assert_eq!(take(&epoll, 8), vec![(IN, 7)]);
    assert_eq!(take(&epoll, 8), vec![(IN, 7)]);
    read(&reader, 1);
    assert_eq!(take(&epoll, 8), vec![]);

    epoll.modify(3, &reader, interest(IN | ET)).unwrap();
    write(&writer, b"x");
    assert_eq!(take(&epoll, 8), vec![(IN, 7)]);
    assert_eq!(take(&epoll, 8), vec![]);
    read(&reader, 1);
    write(&writer, b"x");
    assert_eq!(take(&epoll, 8), vec![(IN, 7)]);

    epoll.modify(3, &reader, interest(IN | ONE_SHOT)).unwrap();
    assert_eq!(take(&epoll, 8), vec![(IN, 7)]);
    read(&reader, 1);
    write(&writer, b"x");
    assert_eq!(take(&epoll, 8), vec![]);
    epoll.modify(3, &reader, interest(IN | ONE_SHOT)).unwrap();
    assert_eq!(take(&epoll, 8), vec![(IN, 7)]);
    drop(writer);
    epoll.modify(3, &reader, interest(0)).unwrap();
    assert_eq!(take(&epoll, 8), vec![(HUP, 7)]);
    epoll.remove(3, &reader).unwrap();
    assert_eq!(take(&epoll, 8), vec![]);
    assert_eq!(epoll.remove(3, &reader), Err(Errno::ENOENT));
}

#[test]
fn closed_files_disappear() {
    let (reader, writer) = pipe();
    let epoll = Epoll::new();
    epoll.add(3, &writer, Interest { events: OUT, data: 1 }).unwrap();
    drop(writer);
    assert_eq!(take(&epoll, 8), vec![]);
    assert!(epoll.items.lock().is_empty());
    drop(reader);
}

#[test]
fn nests_without_loops() {
    hosted::install();
    let event = open(EventFd::new(0, Take::All));
    let interest = Interest { events: IN, data: 9 };
    let (inner, outer) = (Epoll::new(), Epoll::new());
    let (inner_file, outer_file) = (open(inner.clone()), open(outer.clone()));
    assert_eq!(inner.add(5, &inner_file, interest), Err(Errno::EINVAL));
    inner.add(3, &event, interest).unwrap();
    outer.add(4, &inner_file, interest).unwrap();
    assert_eq!(inner.add(6, &outer_file, interest), Err(Errno::ELOOP));
    assert_eq!(take(&outer, 8), vec![]);
    write(&event, &1u64.to_ne_bytes());
    assert_eq!(take(&outer, 8), vec![(IN, 9)]);
    assert_eq!(take(&inner, 8), vec![(IN, 9)]);
    read(&event, 8);
    assert_eq!(take(&outer, 8), vec![]);
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

#[test]
fn no_wake_up_is_lost() {
    hosted::for_seeds(40, |sleeper| {
        let epoll = Epoll::new();
        let (events, total) = (4, 5);
        let mut files = vec![];
        for fd in 0..events {
            let file = open(EventFd::new(0, Take::One));
            let mode = if fd % 2 == 0 { ET } else { 0 };
            epoll.add(fd, &file, Interest { events: IN | mode, data: u64::try_from(fd).unwrap() }).unwrap();
            files.push(file);
        }
        for file in &files {
            let file = file.clone();
            let body = move |sleeper: &chitin_core::sleep::Sleeper| {
                for _ in 0..total {
                    write(&file, &1u64.to_ne_bytes());
                    sleeper.resched_point();
                }
            };
            crate::platform::get().spawn("writer", std::boxed::Box::new(body)).unwrap();
        }
        let waiter = Waiter { sleeper, interrupt: &Calm, regs: None };
        let mut taken = 0;
        while taken < events * total {
            let mut found = vec![];
            let mut give = |_, event| {
                found.push(event);
                Ok(())
            };
            epoll.wait(&waiter, 2, None, &mut give).unwrap().unwrap();
            for (_, fd) in found {
                let FileBody::Stream(stream, _) = files[usize::try_from(fd).unwrap()].body() else {
                    panic!()
                };
                let mut bytes = [0; 8];
                while stream.try_read(&mut IoWriter::kernel(&mut bytes)).is_ok() {
                    taken += 1;
                }
            }
        }
        let deadline_ns = Some(sleeper.now_ns() + 1_000_000);
        assert_eq!(epoll.wait(&waiter, 2, deadline_ns, &mut |_, _| panic!()), Ok(Ok(0)));
    });
}
