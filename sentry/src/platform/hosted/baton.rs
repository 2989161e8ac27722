//! The seeded scheduler: kernel threads are std threads that pass a baton, so that one runs at a time, and the seed
//! decides who is next at every park, lock, yield and entry to user mode. Time is virtual: it moves a little with each
//! decision, and jumps to the next deadline when nobody can run.

use super::{Abandoned, KernelThread};
use chitin_core::hooks::Hooks;
use chitin_core::lock::HeldLocks;
use chitin_core::sleep::Sleeper;
use std::boxed::Box;
use std::cell::Cell;
use std::format;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::string::{String, ToString};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread::JoinHandle;
use std::vec::Vec;

/// What a thread is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Runnable,
    Parked(Option<u64>),
    Ended,
}

struct Slot {
    name: &'static str,
    state: State,
    token: bool,
    turn: Arc<Condvar>,
    /// Virtual time that passed while it had the baton.
    ran_ns: u64,
    /// Virtual time that passed while it was runnable without it.
    waited_ns: u64,
    switches: u64,
}

/// One simulation.
#[derive(Default)]
pub(super) struct Sim {
    number: u64,
    random: u64,
    now_ns: u64,
    threads: Vec<Slot>,
    handles: Vec<JoinHandle<()>>,
    running: usize,
    /// Why it ended badly.
    failure: Option<String>,
    /// Threads are to unwind.
    over: bool,
    pub(super) log: String,
}

static SIM: Mutex<Option<Sim>> = Mutex::new(None);
static FINISHED: Condvar = Condvar::new();

std::thread_local! {
    /// Simulation and index of the calling kernel thread.
    static CURRENT: Cell<Option<(u64, usize)>> = const { Cell::new(None) };
    static HELD: &'static HeldLocks = Box::leak(Box::new(HeldLocks::new()));
}

/// The simulation in progress.
pub(super) fn sim() -> MutexGuard<'static, Option<Sim>> {
    SIM.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    /// The next pseudo-random number (splitmix64).
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
        self.finish();
    }

    fn finish(&mut self) {
        self.over = true;
        for thread in &self.threads {
            thread.turn.notify_all();
        }
        FINISHED.notify_all();
    }

    /// Chooses who runs now.
    fn choose(&mut self) {
        let passed_ns = 50 + self.random() % 200;
        self.now_ns += passed_ns;
        for (index, thread) in self.threads.iter_mut().enumerate() {
            if index == self.running {
                thread.ran_ns += passed_ns;
            } else if thread.state == State::Runnable {
                thread.waited_ns += passed_ns;
            }
        }
        loop {
            let now = self.now_ns;
            for thread in &mut self.threads {
                if matches!(thread.state, State::Parked(Some(deadline)) if deadline <= now) {
                    thread.state = State::Runnable;
                }
            }
            let runnable: Vec<usize> = (0..self.threads.len())
                .filter(|at| self.threads.get(*at).is_some_and(|thread| thread.state == State::Runnable))
                .collect();
            if !runnable.is_empty() {
                let at = usize::try_from(self.random() % runnable.len() as u64).unwrap_or(0);
                let before = core::mem::replace(&mut self.running, runnable.get(at).copied().unwrap_or(0));
                if let Some(thread) = self.threads.get_mut(self.running) {
                    thread.switches += u64::from(self.running != before);
                    thread.turn.notify_all();
                }
                return;
            }
            let deadlines = self.threads.iter().filter_map(|thread| match thread.state {
                State::Parked(deadline) => deadline,
                _ => None,
            });
            let Some(next) = deadlines.min() else {
                let who: Vec<&str> = (self.threads.iter())
                    .filter(|thread| thread.state != State::Ended)
                    .map(|thread| thread.name)
                    .collect();
                return self.fail(format!("deadlock: everybody sleeps for ever: {who:?}"));
            };
            self.now_ns = next;
        }
    }
}

/// Waits until `me` has the baton; unwinds when the simulation is over.
fn await_turn(mut guard: MutexGuard<'static, Option<Sim>>, number: u64, me: usize) {
    let turn = guard.as_ref().and_then(|sim| sim.threads.get(me)).map(|slot| slot.turn.clone());
    loop {
        let go_on = guard.as_ref().is_some_and(|sim| sim.number == number && !sim.over);
        let Some(turn) = turn.as_ref().filter(|_| go_on) else {
            drop(guard);
            CURRENT.set(None);
            if std::thread::panicking() {
                return;
            }
            resume_unwind(Box::new(Abandoned));
        };
        if guard.as_ref().is_some_and(|sim| sim.running == me) {
            return;
        }
        guard = turn.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Lets the seed decide who runs; `change` is applied to the caller first.
fn switch(change: impl FnOnce(&mut Sim, usize)) {
    let Some((number, me)) = CURRENT.get() else { return std::thread::yield_now() };
    let mut guard = sim();
    if let Some(sim) = guard.as_mut().filter(|sim| sim.number == number && !sim.over) {
        change(sim, me);
        sim.choose();
    }
    await_turn(guard, number, me);
}

/// A point where another thread may run.
pub(super) fn point() {
    if CURRENT.get().is_some() {
        switch(|_, _| {});
    }
}

struct ThreadWaker {
    number: u64,
    index: usize,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        if let Some(sim) = sim().as_mut().filter(|sim| sim.number == self.number)
            && let Some(thread) = sim.threads.get_mut(self.index)
        {
            thread.token = true;
            if matches!(thread.state, State::Parked(_)) {
                thread.state = State::Runnable;
            }
        }
    }
}

struct StdWaker(std::thread::Thread);

impl Wake for StdWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(super) struct HostedHooks;

impl Hooks for HostedHooks {
    fn cpu(&self) -> usize {
        0
    }

    fn relax(&self) {
        switch(|_, _| {});
    }

    fn lock_point(&self) {
        // Rarely, so that runs stay short; what is decided still depends on the seed alone.
        let switches = CURRENT.get().is_some()
            && sim().as_mut().is_some_and(|sim| !sim.over && sim.random().is_multiple_of(8));
        if switches {
            point();
        }
    }

    fn held_locks(&self) -> &HeldLocks {
        HELD.with(|held| *held)
    }

    fn now_ns(&self) -> u64 {
        sim().as_ref().map_or(0, |sim| sim.now_ns)
    }

    fn park(&self, deadline_ns: Option<u64>) {
        if CURRENT.get().is_none() {
            return std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        switch(|sim, me| {
            if let Some(thread) = sim.threads.get_mut(me)
                && !core::mem::take(&mut thread.token)
            {
                thread.state = State::Parked(deadline_ns);
            }
        });
        if let Some((number, me)) = CURRENT.get()
            && let Some(sim) = sim().as_mut().filter(|sim| sim.number == number)
            && let Some(thread) = sim.threads.get_mut(me)
        {
            thread.token = false;
        }
    }

    fn waker(&self) -> Waker {
        match CURRENT.get() {
            Some((number, index)) => Waker::from(Arc::new(ThreadWaker { number, index })),
            None => Waker::from(Arc::new(StdWaker(std::thread::current()))),
        }
    }

    fn yield_now(&self) {
        switch(|_, _| {});
    }
}

/// Adds a thread; it runs when the seed says so. Outside a simulation it is an ordinary thread.
pub(super) fn spawn(name: &'static str, body: crate::platform::ThreadBody) -> Arc<dyn KernelThread> {
    let mut guard = sim();
    let Some(sim) = guard.as_mut().filter(|_| CURRENT.get().is_some()) else {
        std::thread::spawn(move || Sleeper::with_hosted(|sleeper| body(sleeper)));
        return Arc::new(HostedThread { number: 0, index: 0 });
    };
    start(sim, name, body)
}

/// A thread of a simulation, whose times are virtual ones; of an ordinary thread nothing is known.
struct HostedThread {
    number: u64,
    index: usize,
}

impl HostedThread {
    fn ask<T: Default>(&self, what: impl FnOnce(&Slot) -> T) -> T {
        let guard = sim();
        let sim = guard.as_ref().filter(|sim| sim.number == self.number);
        sim.and_then(|sim| sim.threads.get(self.index)).map_or_else(T::default, what)
    }
}

impl KernelThread for HostedThread {
    fn ran_ns(&self) -> u64 {
        self.ask(|slot| slot.ran_ns)
    }

    fn waited_ns(&self) -> u64 {
        self.ask(|slot| slot.waited_ns)
    }

    fn switches(&self) -> (u64, u64) {
        (0, self.ask(|slot| slot.switches))
    }

    fn is_asleep(&self) -> bool {
        self.ask(|slot| matches!(slot.state, State::Parked(_)))
    }

    /// The seed alone decides who runs.
    fn set_scheduling(&self, _scheduling: crate::platform::Scheduling) {}
}

fn start(sim: &mut Sim, name: &'static str, body: crate::platform::ThreadBody) -> Arc<dyn KernelThread> {
    let (number, index) = (sim.number, sim.threads.len());
    let (state, turn) = (State::Runnable, Arc::default());
    sim.threads.push(Slot { name, state, token: false, turn, ran_ns: 0, waited_ns: 0, switches: 0 });
    let thread = std::thread::Builder::new().name(name.to_string()).spawn(move || {
        CURRENT.set(Some((number, index)));
        let result = catch_unwind(AssertUnwindSafe(|| {
            await_turn(self::sim(), number, index);
            Sleeper::with_hosted(|sleeper| body(sleeper));
        }));
        CURRENT.set(None);
        let mut guard = self::sim();
        let Some(sim) = guard.as_mut().filter(|sim| sim.number == number) else { return };
        if let Err(payload) = result
            && !payload.is::<Abandoned>()
        {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            sim.fail(format!("thread {name}: {}", text.unwrap_or_else(|| "panic".into())));
        }
        if let Some(thread) = sim.threads.get_mut(index) {
            thread.state = State::Ended;
        }
        if index == 0 {
            sim.finish();
        } else if !sim.over {
            sim.choose();
        }
    });
    match thread {
        Ok(handle) => sim.handles.push(handle),
        Err(error) => sim.fail(format!("cannot start a thread: {error}")),
    }
    Arc::new(HostedThread { number, index })
}

/// Runs one simulation to the end of `body`; returns what it logged.
pub(super) fn simulate(seed: u64, body: crate::platform::ThreadBody) -> Result<String, String> {
    static NUMBER: Mutex<u64> = Mutex::new(0);
    // One at a time, for there is one set of hooks in a process.
    let mut number = NUMBER.lock().unwrap_or_else(PoisonError::into_inner);
    *number += 1;
    let mut guard = sim();
    let mut fresh = Sim { number: *number, random: seed, now_ns: 1_000_000_000, ..Sim::default() };
    start(&mut fresh, "main", body);
    *guard = Some(fresh);
    while guard.as_ref().is_some_and(|sim| !sim.over) {
        guard = FINISHED.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    let handles = guard.as_mut().map(|sim| core::mem::take(&mut sim.handles)).unwrap_or_default();
    drop(guard);
    for handle in handles {
        let _ = handle.join();
    }
    let Some(ended) = sim().take() else { return Err("simulation lost".into()) };
    ended.failure.map_or(Ok(ended.log), |why| Err(format!("seed {seed}: {why}")))
}
