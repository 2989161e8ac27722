//! Park, wake, deadlines, preemption, shoot-down on several CPUs.

use super::program::{Process, Program};
use super::{check, check_eq, measure};
use crate::arch::percpu;
use crate::clock;
use crate::platform::Guest;
use crate::sched::smp;
use crate::sched::thread::Thread;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::cpu::ExitRequest;
use chitin_core::frame::{self, Frame};
use chitin_core::lock::{Level, SpinLock};
use chitin_core::sleep::{SleepLock, Sleeper};
use chitin_core::wait::WaitQueue;
use chitin_sentry::platform::{Access, Class, Perm, Scheduling, Trap};
use chitin_sentry::user::UserAddr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const MILLISECOND: u64 = 1_000_000;

/// A count that threads wait for.
struct Counter {
    value: AtomicU32,
    queue: WaitQueue,
}

impl Counter {
    fn new() -> Arc<Self> {
        Arc::new(Self { value: AtomicU32::new(0), queue: WaitQueue::new() })
    }

    fn add(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
        self.queue.wake_all();
    }

    fn wait(&self, sleeper: &Sleeper, wanted: u32, limit_ns: u64) -> bool {
        let deadline = sleeper.now_ns() + limit_ns;
        let _registration = self.queue.register(&sleeper.waker());
        while self.value.load(Ordering::SeqCst) < wanted {
            if sleeper.now_ns() >= deadline {
                return false;
            }
            sleeper.park(Some(deadline));
        }
        true
    }
}

fn spawn(body: impl FnOnce(&Sleeper) + Send + 'static) {
    start_thread(Scheduling::WORKER, body);
}

#[expect(clippy::unwrap_used, reason = "a test")]
fn start_thread(how: Scheduling, body: impl FnOnce(&Sleeper) + Send + 'static) {
    Guest::get().start("test", how, Box::new(body)).unwrap();
}

pub(super) fn run(sleeper: &Sleeper, cpus: usize) {
    deadlines(sleeper);
    many_threads(sleeper);
    ping_pong(sleeper);
    contended_lock(sleeper);
    vectors_across_threads(sleeper);
    preemption(sleeper);
    weights(sleeper);
    real_time(sleeper);
    if cpus > 1 {
        check(
            "a second CPU was started for the waiting thread",
            smp::started() > 1 && percpu::online().count() > 1,
        );
        kick(sleeper);
        shoot_down(sleeper);
        process_churn(sleeper);
        stealing_storm(sleeper);
    }
    check("stack of the test thread", {
        let used = Thread::current().stack_used();
        crate::log::log!("measure stack-used {used} bytes");
        used < crate::mem::stacks::REMARKABLE
    });
}

fn deadlines(sleeper: &Sleeper) {
    let begin = sleeper.now_ns();
    sleeper.park(Some(begin + 20 * MILLISECOND));
    let slept = sleeper.now_ns() - begin;
    // How late it may be is up to the host's other work.
    check("deadline is kept", (20 * MILLISECOND..5000 * MILLISECOND).contains(&slept));
    measure("deadline-lateness", slept.saturating_sub(20 * MILLISECOND), 1);
    sleeper.waker().wake();
    let begin = sleeper.now_ns();
    sleeper.park(Some(begin + 10_000 * MILLISECOND));
    check("a wake before the park counts", sleeper.now_ns() - begin < 5000 * MILLISECOND);
    let order = Arc::new(SpinLock::new(Level(1), Vec::new()));
    let done = Counter::new();
    let begin = sleeper.now_ns();
    for number in [3u64, 1, 2] {
        let (order, done) = (order.clone(), done.clone());
        spawn(move |sleeper| {
            let deadline = begin + (1 + number) * 30 * MILLISECOND;
            while sleeper.now_ns() < deadline {
                sleeper.park(Some(deadline));
            }
            order.lock().push(number);
            done.add();
        });
    }
    check("three sleepers wake", done.wait(sleeper, 3, 5000 * MILLISECOND));
    check_eq("in the order of their deadlines", &*order.lock(), &alloc::vec![1, 2, 3]);
}

fn many_threads(sleeper: &Sleeper) {
    const THREADS: u32 = 500;
    let done = Counter::new();
    let batch = |done: &Arc<Counter>| {
        for _ in 0..THREADS {
            let done = done.clone();
            spawn(move |sleeper| {
                sleeper.give_way();
                done.add();
            });
        }
    };
    batch(&done);
    check("500 threads run", done.wait(sleeper, THREADS, 5000 * MILLISECOND));
    sleeper.park(Some(sleeper.now_ns() + 5 * MILLISECOND));
    let before = frame::usage().1;
    let begin = clock::now_ns();
    batch(&done);
    done.wait(sleeper, 2 * THREADS, 5000 * MILLISECOND);
    measure("spawn-run-end", clock::now_ns() - begin, u64::from(THREADS));
    sleeper.park(Some(sleeper.now_ns() + 5 * MILLISECOND));
    check("their stacks come back", frame::usage().1 + 4 * 128 >= before);
}

fn ping_pong(sleeper: &Sleeper) {
    const ROUNDS: u64 = 20_000;
    let turn = Arc::new(AtomicU64::new(0));
    let here = sleeper.waker();
    let there = Arc::new(chitin_core::once::Once::new());
    {
        let (turn, there) = (turn.clone(), there.clone());
        spawn(move |sleeper| {
            there.set(sleeper.waker());
            here.wake_by_ref();
            loop {
                let now = turn.load(Ordering::SeqCst);
                if now >= 2 * ROUNDS {
                    return;
                }
                if now % 2 == 1 {
                    turn.store(now + 1, Ordering::SeqCst);
                    here.wake_by_ref();
                } else {
                    sleeper.park(None);
                }
            }
        });
    }
    while there.get().is_none() {
        sleeper.park(None);
    }
    let begin = clock::now_ns();
    loop {
        let now = turn.load(Ordering::SeqCst);
        if now >= 2 * ROUNDS {
            break;
        }
        if now.is_multiple_of(2) {
            turn.store(now + 1, Ordering::SeqCst);
            if let Some(other) = there.get() {
                other.wake_by_ref();
            }
        } else {
            sleeper.park(None);
        }
    }
    measure("wake-and-switch", clock::now_ns() - begin, 2 * ROUNDS);
    if let Some(other) = there.get() {
        other.wake_by_ref();
    }
    check("ping-pong ends", true);
}

fn contended_lock(sleeper: &Sleeper) {
    let lock = Arc::new(SleepLock::new(0u64));
    let done = Counter::new();
    for _ in 0..4 {
        let (lock, done) = (lock.clone(), done.clone());
        spawn(move |sleeper| {
            for _ in 0..200 {
                let mut value = lock.lock(sleeper);
                let old = *value;
                sleeper.give_way();
                *value = old + 1;
            }
            done.add();
        });
    }
    check("sleep lock under contention", done.wait(sleeper, 4, 5000 * MILLISECOND));
    check_eq("sleep lock excludes", &*lock.lock(sleeper), &800);
}

fn vectors_across_threads(sleeper: &Sleeper) {
    let done = Counter::new();
    let good = Arc::new(AtomicU32::new(0));
    for number in 1..=4u64 {
        let (done, good) = (done.clone(), good.clone());
        spawn(move |sleeper| {
            let mut process = Process::new(Program::vectors);
            process.context.regs.rbx = number * 0x0101_0101_0101_0101;
            let fine = (0..200).all(|_| {
                sleeper.give_way();
                process.run() == Trap::Syscall && process.context.regs.orig_rax == 1
            });
            good.fetch_add(u32::from(fine), Ordering::SeqCst);
            done.add();
        });
    }
    check("threads with vector state end", done.wait(sleeper, 4, 5000 * MILLISECOND));
    check_eq("vector registers across threads", &good.load(Ordering::SeqCst), &4);
}

/// User threads that spin until told to stop.
struct Spinners {
    threads: Vec<(Frame, Arc<ExitRequest>)>,
    done: Arc<Counter>,
}

impl Spinners {
    fn start(count: usize) -> Self {
        Self::scheduled(&alloc::vec![Scheduling::WORKER; count])
    }

    fn scheduled(how: &[Scheduling]) -> Self {
        let done = Counter::new();
        let start_one = |how: &Scheduling| {
            let mut process = Process::new(Program::spin);
            let exit = Arc::new(ExitRequest::new());
            let thread = (process.data.clone(), exit.clone());
            let done = done.clone();
            start_thread(*how, move |sleeper| {
                while !exit.is_set() {
                    Guest::get().run_user(&mut process.context, &process.space, &exit);
                    sleeper.resched_point();
                }
                done.add();
            });
            thread
        };
        let threads = how.iter().map(start_one).collect();
        Self { threads, done }
    }

    fn counts(&self) -> Vec<u32> {
        let count = |frame: &Frame| frame.word(0).map_or(0, |word| word.load(Ordering::Relaxed));
        self.threads.iter().map(|(frame, _)| count(frame)).collect()
    }

    /// Whether all ended in time.
    fn stop(&self, sleeper: &Sleeper) -> bool {
        for (_, exit) in &self.threads {
            if let Some(cpu) = exit.set() {
                Guest::get().kick(cpu);
            }
        }
        self.done.wait(sleeper, self.threads.len() as u32, 5000 * MILLISECOND)
    }
}

fn preemption(sleeper: &Sleeper) {
    let spinners = Spinners::start(3);
    // None of them gives its CPU up: what is not preempted never ends, so a long limit hides nothing, and a machine whose
    // host takes its CPUs away for half a second passes.
    let begin = sleeper.now_ns();
    let advance = |counts: &[u32]| counts.iter().all(|count| *count > 1000);
    while !advance(&spinners.counts()) && sleeper.now_ns() - begin < 5000 * MILLISECOND {
        sleeper.park(Some(sleeper.now_ns() + 10 * MILLISECOND));
    }
    let counts = spinners.counts();
    check("spinning threads all advance", advance(&counts));
    measure("spinners-all-advance", sleeper.now_ns() - begin, 1);
    crate::log::log!("  turns {counts:?} on {} CPUs", percpu::online().count());
    let begin = sleeper.now_ns();
    sleeper.park(Some(begin + 10 * MILLISECOND));
    check("a sleeper is not starved by spinners", sleeper.now_ns() - begin < 2000 * MILLISECOND);
    check("spinners stop", spinners.stop(sleeper));
}

/// Only on the first CPU.
const HERE: u64 = 1;

fn weights(sleeper: &Sleeper) {
    let how = [1024, 110].map(|weight| Scheduling { class: Class::Fair { weight }, cpus: HERE });
    let spinners = Spinners::scheduled(&how);
    let end = sleeper.now_ns() + 400 * MILLISECOND;
    while sleeper.now_ns() < end {
        sleeper.park(Some(end));
    }
    let counts = spinners.counts();
    check("weighted spinners stop", spinners.stop(sleeper));
    let [heavy, light] = [0, 1].map(|at| counts.get(at).copied().unwrap_or(0));
    crate::log::log!("  turns {counts:?}");
    check("CPU time goes by weight", light > 0 && (4..20).contains(&(heavy / light.max(1))));
}

fn real_time(sleeper: &Sleeper) {
    let class = Class::RealTime { priority: 50, takes_turns: false };
    let ordinary = Scheduling { class: Class::Fair { weight: 1024 }, cpus: HERE };
    let spinners = Spinners::scheduled(&[Scheduling { class, cpus: HERE }, ordinary]);
    let end = sleeper.now_ns() + 1500 * MILLISECOND;
    while sleeper.now_ns() < end {
        sleeper.park(Some(end));
    }
    let counts = spinners.counts();
    check("a real-time thread does not keep others from stopping it", spinners.stop(sleeper));
    let [first, second] = [0, 1].map(|at| counts.get(at).copied().unwrap_or(0));
    crate::log::log!("  turns {counts:?}");
    check("a real-time thread goes first", first / 4 > second);
    check("and leaves others something", second > 0);
}

fn kick(sleeper: &Sleeper) {
    let process = Process::new(Program::spin);
    let counter = process.data.clone();
    let shared = Arc::new(SpinLock::new(Level(1), Some(process)));
    let exit: Arc<ExitRequest> = Arc::default();
    let done = Counter::new();
    {
        let (shared, exit, done) = (shared.clone(), exit.clone(), done.clone());
        spawn(move |_| {
            let Some(mut process) = shared.lock().take() else { return };
            while !exit.is_set() {
                Guest::get().run_user(&mut process.context, &process.space, &exit);
            }
            done.add();
        });
    }
    let begin = sleeper.now_ns();
    while counter.word(0).is_none_or(|word| word.load(Ordering::Relaxed) == 0) {
        if sleeper.now_ns() - begin > 5000 * MILLISECOND {
            break;
        }
        sleeper.park(Some(sleeper.now_ns() + MILLISECOND));
    }
    // It spins alone on its CPU, so only the kick gets it out.
    let begin = sleeper.now_ns();
    if let Some(cpu) = exit.set() {
        Guest::get().kick(cpu);
    }
    check("a kick gets user code out", done.wait(sleeper, 1, 5000 * MILLISECOND));
    measure("kick-to-exit", sleeper.now_ns() - begin, 1);
}

fn shoot_down(sleeper: &Sleeper) {
    const PAGE: u64 = 0x60_0000;
    let mut process = Process::new(Program::read_spin);
    process.map(PAGE, Perm::READ);
    process.context.regs.rsi = PAGE;
    let (space, counter) = (process.space.clone(), process.data.clone());
    let trap = Arc::new(SpinLock::new(Level(1), None));
    let done = Counter::new();
    {
        let (trap, done) = (trap.clone(), done.clone());
        spawn(move |_| {
            *trap.lock() = Some(process.run());
            done.add();
        });
    }
    let is_spinning = || counter.word(0).is_some_and(|word| word.load(Ordering::Relaxed) > 0);
    let limit = sleeper.now_ns() + 5000 * MILLISECOND;
    while !is_spinning() && sleeper.now_ns() < limit {
        sleeper.park(Some(sleeper.now_ns() + MILLISECOND));
    }
    // It spins on: this thread woke on the other CPU, or preempted it and sends it there by waiting.
    let busy = sleeper.now_ns() + 20 * MILLISECOND;
    while sleeper.now_ns() < busy {
        sleeper.resched_point();
    }
    let spinning = is_spinning();
    space.unmap(UserAddr::new(PAGE), 1);
    check("shoot-down reaches the other CPU", spinning && done.wait(sleeper, 1, 5000 * MILLISECOND));
    check_eq(
        "and user code faults there",
        &*trap.lock(),
        &Some(Trap::PageFault { address: PAGE, access: Access::Read }),
    );
}

fn process_churn(sleeper: &Sleeper) {
    const EACH: u32 = 200;
    let (ends, good) = (Counter::new(), Arc::new(AtomicU32::new(0)));
    for number in 1..=4u64 {
        let (ends, good) = (ends.clone(), good.clone());
        spawn(move |sleeper| {
            for round in 0..EACH {
                let mut process = Process::new(Program::vectors);
                process.context.regs.rbx = number * 0x1111_1111_1111_1111 + u64::from(round);
                let fine =
                    (0..3).all(|_| process.run() == Trap::Syscall && process.context.regs.orig_rax == 1);
                good.fetch_add(u32::from(fine), Ordering::SeqCst);
                if !fine {
                    process.dump();
                }
                sleeper.give_way();
            }
            ends.add();
        });
    }
    check("short processes on all CPUs end", ends.wait(sleeper, 4, 30_000 * MILLISECOND));
    check_eq("and none sees another's memory", &good.load(Ordering::SeqCst), &(4 * EACH));
}

fn stealing_storm(sleeper: &Sleeper) {
    let spinners = Spinners::start(2);
    let (ends, good) = (Counter::new(), Arc::new(AtomicU32::new(0)));
    for number in 0..16u64 {
        let (ends, good) = (ends.clone(), good.clone());
        spawn(move |sleeper| {
            let mut process = Process::new(Program::vectors);
            process.context.regs.rbx = number * 0x1111_1111_1111_1111;
            let mut fine = true;
            for round in 0..300 {
                let trap = process.run();
                if fine && (trap != Trap::Syscall || process.context.regs.orig_rax != 1) {
                    crate::log::log!("  thread {number} round {round}: {trap:?}");
                    crate::log::log!("  {:x?}", process.context.regs);
                    process.dump();
                    fine = false;
                }
                if round % 8 == 0 {
                    sleeper.park(Some(sleeper.now_ns() + MILLISECOND / 10));
                } else {
                    sleeper.give_way();
                }
            }
            good.fetch_add(u32::from(fine), Ordering::SeqCst);
            ends.add();
        });
    }
    check("threads that move between CPUs end", ends.wait(sleeper, 16, 20_000 * MILLISECOND));
    check_eq("and keep their state", &good.load(Ordering::SeqCst), &16);
    check("spinners stop again", spinners.stop(sleeper));
}
