//! The hosted platform: the sentry on an ordinary host, for tests. Deterministic: a seed decides every interleaving.
//!
//! * [`run`] runs a closure as the first kernel thread of a fresh machine; [`for_seeds`] does so with many seeds.
//! * [`program`] registers a user program; a task whose `rip` is its address runs it.
//! * Time is virtual and frames are ordinary memory.
//!
//! ```ignore
//! hosted::for_seeds(50, |sleeper| { let queue = WaitQueue::new(); … });
//! ```

mod baton;
pub mod disk;
mod space;
mod user;

use super::{
    FuseChannel, KernelThread, OutOfMemory, Platform, Scheduling, Space, ThreadBody, Trap, VsockPort,
};
use chitin_core::cpu::{ExitRequest, UserContext, Xstate};
use chitin_core::frame::Frame;
use chitin_core::sleep::Sleeper;
use std::boxed::Box;
use std::string::String;
use std::sync::Arc;

pub use user::{Program, User, program};

/// Payload of the unwinding that ends threads of a finished simulation.
struct Abandoned;

/// Frames of the machine: 64 MiB.
const FRAMES: u32 = 16384;

struct Hosted;

impl Platform for Hosted {
    fn start(
        &self,
        name: &'static str,
        _scheduling: Scheduling,
        body: ThreadBody,
    ) -> Result<Arc<dyn KernelThread>, OutOfMemory> {
        Ok(baton::spawn(name, body))
    }

    fn new_space(&self) -> Result<Arc<dyn Space>, OutOfMemory> {
        Ok(Arc::new(space::HostedSpace::default()))
    }

    fn run_user(&self, context: &mut UserContext, space: &Arc<dyn Space>, exit: &ExitRequest) -> Trap {
        user::run(context, space, exit)
    }

    fn flush_xstate(&self, _xstate: &mut Xstate) {}

    fn xstate_layout(&self) -> (usize, u64) {
        (576, 3)
    }

    fn kick(&self, _cpu: usize) {}

    fn cpus(&self) -> usize {
        1
    }

    fn realtime_ns(&self) -> u64 {
        1_700_000_000_000_000_000 + chitin_core::hooks::Hooks::now_ns(&baton::HostedHooks)
    }

    fn entropy(&self, bytes: &mut [u8]) {
        let mut sim = baton::sim();
        for byte in bytes {
            *byte = sim.as_mut().map_or(4, |sim| sim.random().to_le_bytes()[0]);
        }
    }

    fn vdso(&self) -> &[Frame] {
        &[]
    }

    fn log(&self, text: &str) {
        match baton::sim().as_mut() {
            Some(sim) => sim.log.push_str(text),
            None => std::eprint!("{text}"),
        }
    }

    #[expect(clippy::panic, reason = "tests only: ends the simulation")]
    fn power_off(&self, reason: chitin_proto::layout::PowerOff) -> ! {
        panic!("power off: {reason:?}")
    }

    fn fuse(&self) -> Option<&dyn FuseChannel> {
        None
    }

    fn vsock(&self) -> Option<&dyn VsockPort> {
        None
    }
}

/// Makes this platform the process's. [`run`] does it too; tests that need frames or locks but no threads may call it.
pub fn install() {
    chitin_core::frame::init_hosted(FRAMES);
    chitin_core::hooks::install(&baton::HostedHooks);
    super::install(&Hosted);
}

/// Runs `body` as the first kernel thread of a machine whose schedule `seed` decides. Ends when `body` returns; threads
/// left over are unwound. Returns the log.
///
/// # Panics
/// When a thread panicked or everybody sleeps for ever; the message names the seed.
#[expect(clippy::panic, reason = "tests only")]
pub fn run(seed: u64, body: impl FnOnce(&Sleeper) + Send + 'static) -> String {
    install();
    match baton::simulate(seed, Box::new(body)) {
        Ok(log) => log,
        Err(why) => panic!("{why}"),
    }
}

/// [`run`] with the seeds `0..count`, or with the one in the environment variable `CHITIN_SEED`.
///
/// # Panics
/// As [`run`].
pub fn for_seeds(count: u64, body: impl Fn(&Sleeper) + Send + Sync + 'static) {
    let one = std::env::var("CHITIN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(0..count, |seed: u64| seed..seed + 1);
    let body = Arc::new(body);
    for seed in seeds {
        let body = body.clone();
        run(seed, move |sleeper| body(sleeper));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chitin_core::lock::{Level, SpinLock};
    use chitin_core::wait::WaitQueue;
    use std::sync::Mutex;
    use std::vec::Vec;

    fn order(seed: u64) -> Vec<u32> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let result = seen.clone();
        run(seed, move |sleeper| {
            let shared = Arc::new((SpinLock::new(Level(10), 0u32), WaitQueue::new()));
            for number in 0..4 {
                let (shared, seen) = (shared.clone(), seen.clone());
                let body = Box::new(move |sleeper: &Sleeper| {
                    sleeper.park(Some(sleeper.now_ns() + 1000));
                    seen.lock().unwrap().push(number);
                    *shared.0.lock() += 1;
                    shared.1.wake_all();
                });
                crate::platform::get().spawn("counter", body).unwrap();
            }
            let _registration = shared.1.register(&sleeper.waker());
            while *shared.0.lock() < 4 {
                sleeper.park(None);
            }
        });
        let seen = result.lock().unwrap();
        seen.clone()
    }

    #[test]
    fn a_seed_replays_and_seeds_differ() {
        assert_eq!(order(1), order(1));
        let distinct: std::collections::BTreeSet<Vec<u32>> = (0..20).map(order).collect();
        assert!(distinct.len() > 5, "{distinct:?}");
    }

    #[test]
    fn sleep_locks_exclude_across_sleeps() {
        for_seeds(50, |sleeper| {
            let shared = Arc::new((chitin_core::sleep::SleepLock::new(0u32), WaitQueue::new()));
            for _ in 0..3 {
                let shared = shared.clone();
                let body = Box::new(move |sleeper: &Sleeper| {
                    let mut value = shared.0.lock(sleeper);
                    let seen = *value;
                    sleeper.park(Some(sleeper.now_ns() + 500));
                    *value = seen + 1;
                    drop(value);
                    shared.1.wake_all();
                });
                crate::platform::get().spawn("adder", body).unwrap();
            }
            let _registration = shared.1.register(&sleeper.waker());
            while *shared.0.lock(sleeper) < 3 {
                sleeper.park(None);
            }
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_deadlock_is_told() {
        run(0, |sleeper| {
            loop {
                sleeper.park(None);
            }
        });
    }

    #[test]
    fn programs_trap_and_come_back() {
        run(3, |_| {
            let entry = program(|user| {
                assert_eq!(user.syscall(39, [1, 2, 3, 4, 5, 6]), 7);
                9
            });
            let mut context = UserContext { regs: Default::default(), xstate: Xstate::new(576) };
            context.regs.rip = entry;
            let space = crate::platform::get().new_space().unwrap();
            let exit = ExitRequest::new();
            let next = move |context: &mut UserContext| loop {
                let trap = crate::platform::get().run_user(context, &space, &exit);
                if trap != Trap::Interrupt {
                    return trap;
                }
            };
            assert_eq!(next(&mut context), Trap::Syscall);
            assert_eq!((context.regs.orig_rax, context.regs.r9), (39, 6));
            context.regs.rax = 7;
            assert_eq!(next(&mut context), Trap::Syscall);
            assert_eq!((context.regs.orig_rax, context.regs.rdi), (231, 9));
        });
    }
}
