//! User programs of the hosted platform: registered closures that make system calls through a [`User`].
//!
//! A program runs in a std thread of its own, a coroutine of the kernel thread that runs it. Its "address" stands for
//! its code: a `rip` that names another program than the one that trapped is a signal handler to be called (its return
//! is `rt_sigreturn`), or after execve the new program. A `rip` two bytes back repeats the system call, as a restart does.

use super::Abandoned;
use super::baton::{self, sim};
use crate::platform::{Access, Space, Trap};
use crate::user::UserAddr;
use chitin_core::cpu::{ExitRequest, Regs, UserContext};
use core::any::Any;
use core::cell::RefCell;
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec;
use std::vec::Vec;

/// A user program; what it returns is its exit status.
pub type Program = Arc<dyn Fn(&mut User) -> i32 + Send + Sync>;

const BASE: u64 = 0x1000_0000;
const STRIDE: u64 = 0x1000;
/// Where a program's system calls return to.
const AFTER_CALL: u64 = 0x10;
const EXECVE: u64 = 59;
const EXECVEAT: u64 = 322;

static PROGRAMS: Mutex<Vec<Program>> = Mutex::new(Vec::new());

/// Registers a program; returns the address that stands for it (an entry point, a handler).
pub fn program(body: impl Fn(&mut User) -> i32 + Send + Sync + 'static) -> u64 {
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    programs.push(Arc::new(body));
    BASE + (programs.len() as u64 - 1) * STRIDE
}

fn program_at(rip: u64) -> Option<Program> {
    let index = usize::try_from(rip.checked_sub(BASE)? / STRIDE).ok()?;
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
}

struct Resume {
    regs: Regs,
    space: Arc<dyn Space>,
}

/// The hardware as a user program sees it.
pub struct User {
    /// Registers as of the last return from the sentry.
    pub regs: Regs,
    space: Arc<dyn Space>,
    traps: Sender<(Regs, Trap)>,
    resumes: Receiver<Resume>,
}

impl User {
    /// Traps into the sentry and comes back when it says so; handlers run before this returns.
    fn trap(&mut self, trap: Trap) {
        let mut trap = trap;
        // Where handlers return to, and where a repeated call began two bytes before.
        let expected = self.regs.rip;
        loop {
            let _ = self.traps.send((self.regs, trap));
            let Ok(resume) = self.resumes.recv() else { resume_unwind(Box::new(Abandoned)) };
            self.regs = resume.regs;
            self.space = resume.space;
            if self.regs.rip == expected {
                return;
            }
            if self.regs.rip.wrapping_add(2) == expected {
                self.regs.rip = expected;
                self.regs.orig_rax = self.regs.rax;
                trap = Trap::Syscall;
                continue;
            }
            let Some(handler) = program_at(self.regs.rip) else {
                // Nothing is there: fetching an instruction faults.
                trap = Trap::PageFault { address: self.regs.rip, access: Access::Execute };
                continue;
            };
            handler(self);
            // The handler returns into its restorer, which pops the return address first.
            self.regs.rsp = self.regs.rsp.wrapping_add(8);
            self.regs.orig_rax = 15;
            trap = Trap::Syscall;
        }
    }

    /// Makes a system call; the result is negative for an error.
    pub fn syscall(&mut self, number: u64, arguments: [u64; 6]) -> i64 {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let entry = self.regs.rip & !(STRIDE - 1);
        self.call_returning_to(entry + AFTER_CALL, Regs { rdi, rsi, rdx, r10, r8, r9, ..self.regs }, number)
    }

    fn call_returning_to(&mut self, rip: u64, regs: Regs, number: u64) -> i64 {
        self.regs = Regs { rip, orig_rax: number, rax: (-38i64).cast_unsigned(), ..regs };
        self.trap(Trap::Syscall);
        self.regs.rax.cast_signed()
    }

    /// A system call that makes a task (fork, vfork, clone): the child runs `child`.
    pub fn spawn(
        &mut self,
        number: u64,
        arguments: [u64; 6],
        child: impl Fn(&mut User) -> i32 + Send + Sync + 'static,
    ) -> i64 {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let home = self.regs.rip;
        let regs = Regs { rdi, rsi, rdx, r10, r8, r9, ..self.regs };
        let result = self.call_returning_to(program(child) + AFTER_CALL, regs, number);
        self.regs.rip = home;
        result
    }

    /// fork(2).
    pub fn fork(&mut self, child: impl Fn(&mut User) -> i32 + Send + Sync + 'static) -> i64 {
        self.spawn(57, [0; 6], child)
    }

    /// Computes for a while: an interrupt may be served.
    pub fn spin(&mut self) {
        self.trap(Trap::Interrupt);
    }

    /// Raises an exception, as an instruction would.
    pub fn exception(&mut self, vector: u8) {
        self.trap(Trap::Exception { vector, code: 0 });
    }

    /// Loads bytes, faulting as user code does.
    pub fn load(&mut self, from: u64, to: &mut [u8]) {
        let mut done = 0;
        while let Err(fault) = (self.space.clone())
            .copy_in(UserAddr::new(from + done as u64), to.get_mut(done..).unwrap_or_default())
        {
            done += fault.done;
            self.trap(Trap::PageFault { address: from + done as u64, access: Access::Read });
        }
    }

    /// Stores bytes, faulting as user code does.
    pub fn store(&mut self, to: u64, bytes: &[u8]) {
        let mut done = 0;
        while let Err(fault) = (self.space.clone())
            .copy_out(UserAddr::new(to + done as u64), bytes.get(done..).unwrap_or_default())
        {
            done += fault.done;
            self.trap(Trap::PageFault { address: to + done as u64, access: Access::Write });
        }
    }

    /// Loads a 64-bit word.
    pub fn load_u64(&mut self, from: u64) -> u64 {
        let mut bytes = [0; 8];
        self.load(from, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Loads a 32-bit word.
    pub fn load_u32(&mut self, from: u64) -> u32 {
        let mut bytes = [0; 4];
        self.load(from, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Maps `len` bytes of anonymous memory (mmap) and returns their address.
    ///
    /// # Panics
    /// When mmap fails.
    pub fn map(&mut self, len: u64) -> u64 {
        let at = self.syscall(9, [0, len, 3, 0x22, u64::MAX, 0]);
        assert!(at > 0, "mmap: {at}");
        at.cast_unsigned()
    }

    /// Puts bytes somewhere in fresh memory and returns their address.
    pub fn place(&mut self, bytes: &[u8]) -> u64 {
        let at = self.map((bytes.len() as u64).max(1).next_multiple_of(4096));
        self.store(at, bytes);
        at
    }

    /// Puts a string with its null byte into fresh memory.
    pub fn string(&mut self, text: &str) -> u64 {
        let mut bytes = vec![0; text.len() + 1];
        bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        self.place(&bytes)
    }
}

/// The coroutine of a kernel thread.
struct Coroutine {
    resumes: Sender<Resume>,
    traps: Receiver<(Regs, Trap)>,
    last_call: Option<u64>,
    last_rip: u64,
}

std::thread_local! {
    static COROUTINE: RefCell<Option<Coroutine>> = const { RefCell::new(None) };
}

fn start(regs: Regs) -> Option<Coroutine> {
    let body = program_at(regs.rip)?;
    let (resumes, resumes_in) = channel::<Resume>();
    let (traps_out, traps) = channel();
    let thread = std::thread::Builder::new().name("user".into()).spawn(move || {
        let Ok(first) = resumes_in.recv() else { return };
        let mut user = User { regs: first.regs, space: first.space, traps: traps_out, resumes: resumes_in };
        let result: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(|| {
            let status = body(&mut user);
            loop {
                user.syscall(231, [i64::from(status).cast_unsigned(), 0, 0, 0, 0, 0]);
            }
        }));
        drop(result);
    });
    thread.ok().map(|_| Coroutine { resumes, traps, last_call: None, last_rip: 0 })
}

/// Runs the coroutine of the calling kernel thread until it traps.
pub(super) fn run(context: &mut UserContext, space: &Arc<dyn Space>, exit: &ExitRequest) -> Trap {
    baton::point();
    let interrupt = sim().as_mut().is_some_and(|sim| sim.random().is_multiple_of(16));
    if interrupt || exit.is_set() {
        return Trap::Interrupt;
    }
    COROUTINE.with_borrow_mut(|slot| {
        let regs = context.regs;
        if slot.as_ref().is_some_and(|coroutine| {
            matches!(coroutine.last_call, Some(EXECVE | EXECVEAT))
                && coroutine.last_rip != regs.rip
                && coroutine.last_rip != regs.rip.wrapping_add(2)
        }) {
            *slot = None;
        }
        if slot.is_none() {
            *slot = start(regs);
        }
        let Some(coroutine) = slot.as_mut() else {
            return Trap::PageFault { address: regs.rip, access: Access::Execute };
        };
        let _ = coroutine.resumes.send(Resume { regs, space: space.clone() });
        #[expect(clippy::panic, reason = "tests only: the program's own panic has been printed")]
        let Ok((regs, trap)) = coroutine.traps.recv() else { panic!("a user program panicked") };
        context.regs = regs;
        coroutine.last_call = (trap == Trap::Syscall).then_some(regs.orig_rax);
        coroutine.last_rip = regs.rip;
        trap
    })
}
