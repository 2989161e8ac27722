use super::*;
use crate::platform::{self, Perm, hosted};
use chitin_core::frame::Frame;
use chitin_core::sleep::Interrupt;
use std::boxed::Box;
use std::sync::Arc as StdArc;

struct Calm;
impl Interrupt for Calm {
    fn interrupted(&self) -> bool {
        false
    }
    fn killed(&self) -> bool {
        false
    }
}

const AT: UserAddr = UserAddr::new(0x10_0000);
const AT2: UserAddr = UserAddr::new(0x10_0040);

/// An address space with one page at [`AT`].
fn memory() -> (Arc<Mm>, Frame) {
    let mm = Mm::new().unwrap();
    let frame = Frame::zeroed().unwrap();
    mm.space().map(AT, &frame, Perm::READ | Perm::WRITE).unwrap();
    (mm, frame)
}

fn spawn(body: impl FnOnce(&Sleeper) + Send + 'static) {
    platform::get().spawn("other", Box::new(body)).unwrap();
}

fn expected(user: &UserMemory<'_>, at: UserAddr, value: u32) -> Expected {
    Expected { at, key: Key::new(user, at, Scope::Private).unwrap(), value, bitset: ANY }
}

fn load(mm: &Mm, at: UserAddr) -> u32 {
    mm.space().load_u32(at).unwrap()
}

fn add(mm: &Mm, at: UserAddr, what: u32) -> u32 {
    let mut old = load(mm, at);
    loop {
        let found = mm.space().compare_exchange_u32(at, old, old.wrapping_add(what)).unwrap();
        if found == old {
            return old;
        }
        old = found;
    }
}

fn swap(mm: &Mm, at: UserAddr, new: u32) -> u32 {
    let mut old = load(mm, at);
    loop {
        let found = mm.space().compare_exchange_u32(at, old, new).unwrap();
        if found == old {
            return old;
        }
        old = found;
    }
}

/// The mutex of "Futexes are tricky": 0 free, 1 taken, 2 taken and perhaps waited for.
fn mutex_lock(mm: &Mm, sleeper: &Sleeper) {
    let user = UserMemory { mm, sleeper };
    let waiter = Waiter { sleeper, interrupt: &Calm, regs: None };
    if mm.space().compare_exchange_u32(AT, 0, 1).unwrap() == 0 {
        return;
    }
    while swap(mm, AT, 2) != 0 {
        match wait(&user, &waiter, &[expected(&user, AT, 2)], None) {
            Ok(_) | Err(Blocked::Errno(Errno::EAGAIN)) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn mutex_unlock(mm: &Mm, sleeper: &Sleeper) {
    let user = UserMemory { mm, sleeper };
    if swap(mm, AT, 0) == 2 {
        wake(Key::new(&user, AT, Scope::Private).unwrap(), ANY, 1);
    }
}

#[test]
fn a_mutex_excludes_and_never_hangs() {
    hosted::for_seeds(150, |sleeper| {
        let (mm, frame) = memory();
        let done = StdArc::new(std::sync::atomic::AtomicU32::new(0));
        for _ in 0..3 {
            let (mm, frame, done) = (mm.clone(), frame.clone(), done.clone());
            spawn(move |sleeper| {
                for _ in 0..4 {
                    mutex_lock(&mm, sleeper);
                    let counter = frame.word(128).unwrap();
                    let value = counter.load(Ordering::Relaxed);
                    sleeper.resched_point();
                    counter.store(value + 1, Ordering::Relaxed);
                    mutex_unlock(&mm, sleeper);
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        while done.load(Ordering::SeqCst) < 3 {
            sleeper.park(Some(sleeper.now_ns() + 10_000));
        }
        assert_eq!(frame.word(128).unwrap().load(Ordering::Relaxed), 12);
    });
}

#[test]
fn requeued_waiters_are_woken_at_their_new_place() {
    hosted::for_seeds(100, |sleeper| {
        let (mm, _frame) = memory();
        let user = UserMemory { mm: &mm, sleeper };
        for _ in 0..3 {
            let mm = mm.clone();
            spawn(move |sleeper| {
                let user = UserMemory { mm: &mm, sleeper };
                let waiter = Waiter { sleeper, interrupt: &Calm, regs: None };
                assert_eq!(wait(&user, &waiter, &[expected(&user, AT, 0)], None), Ok(0));
                add(&mm, UserAddr::new(AT.get() + 128), 1);
            });
        }
        let (from, to) = (expected(&user, AT, 0).key, expected(&user, AT2, 0).key);
        assert_eq!(requeue(&user, (AT, from), to, 1, 9, Some(5)), Err(Errno::EAGAIN));
        let mut met = 0;
        while met < 3 {
            met += requeue(&user, (AT, from), to, 0, 9, Some(0)).unwrap();
            sleeper.park(Some(sleeper.now_ns() + 10_000));
        }
        assert_eq!(wake(from, ANY, 9), 0);
        assert_eq!(wake(to, ANY, 1), 1);
        assert_eq!(wake(to, ANY, 9), 2);
        while load(&mm, UserAddr::new(AT.get() + 128)) < 3 {
            sleeper.park(Some(sleeper.now_ns() + 10_000));
        }
    });
}

#[test]
fn timeouts_bitsets_and_many() {
    hosted::for_seeds(50, |sleeper| {
        let (mm, _frame) = memory();
        let user = UserMemory { mm: &mm, sleeper };
        let waiter = Waiter { sleeper, interrupt: &Calm, regs: None };
        let deadline = sleeper.now_ns() + 1_000_000;
        assert_eq!(wait(&user, &waiter, &[expected(&user, AT, 0)], Some(deadline)), Err(Blocked::TimedOut));
        assert!(sleeper.now_ns() >= deadline);
        assert_eq!(wait(&user, &waiter, &[expected(&user, AT, 1)], None), Err(Blocked::Errno(Errno::EAGAIN)));
        let key = expected(&user, AT2, 0).key;
        spawn(move |sleeper| {
            while wake(key, 2, 1) == 0 {
                assert_eq!(wake(key, 4, 1), 0);
                sleeper.park(Some(sleeper.now_ns() + 5000));
            }
        });
        let futexes = [expected(&user, AT, 0), Expected { bitset: 2, ..expected(&user, AT2, 0) }];
        assert_eq!(wait(&user, &waiter, &futexes, None), Ok(1));
        assert!(TABLE.iter().all(|bucket| bucket.lock().is_empty()));
    });
}

#[test]
fn locks_are_handed_over() {
    hosted::for_seeds(100, |sleeper| {
        let (mm, frame) = memory();
        for tid in 1..4 {
            let (mm, frame) = (mm.clone(), frame.clone());
            spawn(move |sleeper| {
                let user = UserMemory { mm: &mm, sleeper };
                let waiter = Waiter { sleeper, interrupt: &Calm, regs: None };
                let key = expected(&user, AT, 0).key;
                for _ in 0..3 {
                    pi::lock(&user, &waiter, (AT, key), tid, pi::Patience::Wait, None).unwrap();
                    assert_eq!(load(&mm, AT) & pi::TID_MASK, tid);
                    let again = pi::lock(&user, &waiter, (AT, key), tid, pi::Patience::Wait, None);
                    assert_eq!(again, Err(Blocked::Errno(Errno::EDEADLK)));
                    sleeper.resched_point();
                    frame.word(128).unwrap().fetch_add(1, Ordering::SeqCst);
                    pi::unlock(&user, AT, key, tid).unwrap();
                    assert!(pi::unlock(&user, AT, key, 9).is_err());
                }
            });
        }
        while frame.word(128).unwrap().load(Ordering::SeqCst) < 9 || load(&mm, AT) != 0 {
            sleeper.park(Some(sleeper.now_ns() + 10_000));
        }
    });
}

#[test]
fn wake_op_changes_and_compares() {
    hosted::run(1, |sleeper| {
        let (mm, _frame) = memory();
        let user = UserMemory { mm: &mm, sleeper };
        let (first, second) = (expected(&user, AT, 0).key, expected(&user, AT2, 0).key);
        // Add 5; compare the old value with 0: equal.
        assert_eq!(requeue::wake_op(&user, first, (AT2, second), 1, 1, (1 << 28) | (5 << 12)), Ok(0));
        assert_eq!(load(&mm, AT2), 5);
        // Or with 1 << 4.
        assert_eq!(requeue::wake_op(&user, first, (AT2, second), 1, 1, (10 << 28) | (4 << 12)), Ok(0));
        assert_eq!(load(&mm, AT2), 21);
        assert_eq!(requeue::wake_op(&user, first, (AT2, second), 1, 1, 7 << 28), Err(Errno::ENOSYS));
    });
}

use requeue::requeue;
