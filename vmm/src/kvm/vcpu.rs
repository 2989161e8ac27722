//! vCPU threads: run the guest, serve the few ports that exit to user space, pause and stop.

#![expect(unsafe_code, reason = "reads the CPU clocks of other threads")]

use super::KvmError;
use super::counters::{ExitCounters, ExitReason};
use super::doorbell::Doorbells;
use super::entry::{self, Entry};
use super::kick::{self, Kicker};
use super::vm::Vm;
use crate::jail::seccomp;
use crate::machine::clock::GuestClock;
use crate::machine::notice::{GuestEnd, Notices};
use crate::machine::plan::Plan;
use chitin_proto::layout::{self, PowerOff};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What all vCPU threads share.
#[derive(Debug)]
pub struct Shared {
    /// The VM.
    pub vm: Vm,
    /// Where vCPUs begin.
    pub entry: Entry,
    /// Where things lie.
    pub plan: Plan,
    /// What the threads tell the main loop.
    pub notices: Arc<Notices>,
    /// Wall clock for the guest.
    pub clock: GuestClock,
    /// Doorbells that exit.
    pub doorbells: Doorbells,
    /// Exits.
    pub counters: ExitCounters,
    /// vCPUs that may exist.
    pub cpus: u32,
    /// Where the threads wait while paused.
    pub gate: Gate,
    /// Filter of the threads.
    pub seccomp: seccomp::Mode,
}

/// All vCPU threads of a machine.
#[derive(Debug)]
pub struct Vcpus {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    index: u32,
    kicker: Kicker,
    handle: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Command {
    Run,
    Pause,
    Stop,
}

/// Where threads wait while the machine is paused.
#[derive(Debug, Default)]
pub struct Gate {
    command: AtomicU8,
    running: Mutex<u32>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    fn command(&self) -> Command {
        match self.command.load(Ordering::Acquire) {
            0 => Command::Run,
            1 => Command::Pause,
            _ => Command::Stop,
        }
    }

    fn set(&self, command: Command) {
        let _running = lock(&self.running);
        self.command.store(command as u8, Ordering::Release);
        self.changed.notify_all();
    }

    fn enter(&self) {
        *lock(&self.running) += 1;
    }

    fn leave(&self) {
        *lock(&self.running) -= 1;
        self.changed.notify_all();
    }

    /// Waits until told to run or stop.
    fn park(&self) {
        let mut running = lock(&self.running);
        *running -= 1;
        self.changed.notify_all();
        while self.command() == Command::Pause {
            running = self.changed.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
    }
}

impl Vcpus {
    /// No thread yet.
    ///
    /// # Errors
    /// [`KvmError::Ioctl`] when the kick signal cannot be set up.
    pub fn new(shared: Arc<Shared>) -> Result<Self, KvmError> {
        kick::prepare_signal()?;
        Ok(Self { shared, threads: Vec::new() })
    }

    /// What the threads share.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether CPU `index` has been started.
    #[must_use]
    pub fn is_started(&self, index: u32) -> bool {
        self.threads.iter().any(|thread| thread.index == index)
    }

    /// Creates vCPU `index`, ready at its entry.
    ///
    /// # Errors
    /// [`KvmError::Ioctl`].
    pub fn prepare(&self, index: u32) -> Result<VcpuFd, KvmError> {
        let vcpu = self.shared.vm.create_vcpu(index)?;
        entry::set(&vcpu, &self.shared.entry, index, self.shared.plan.stack_top(index))?;
        Ok(vcpu)
    }

    /// Starts the thread of `vcpu`.
    ///
    /// # Errors
    /// [`KvmError::Thread`].
    pub fn spawn(&mut self, index: u32, mut vcpu: VcpuFd) -> Result<(), KvmError> {
        let kicker = Kicker::new(&mut vcpu);
        let (shared, own_kicker) = (Arc::clone(&self.shared), kicker.clone());
        shared.gate.enter();
        let spawned =
            std::thread::Builder::new().name(format!("vcpu{index}")).stack_size(256 << 10).spawn(move || {
                match seccomp::apply(seccomp::Thread::Vcpu, shared.seccomp) {
                    Ok(()) => run(&shared, index, &mut vcpu),
                    Err(error) => shared.notices.end(GuestEnd::Crash(error.to_string())),
                }
                own_kicker.retire();
                shared.gate.leave();
            });
        match spawned {
            Ok(handle) => {
                self.threads.push(Thread { index, kicker, handle: Some(handle) });
                Ok(())
            }
            Err(error) => {
                self.shared.gate.leave();
                Err(KvmError::Thread(index, error))
            }
        }
    }

    fn kick_all(&self) {
        for thread in &self.threads {
            if let Some(handle) = &thread.handle {
                thread.kicker.kick(handle);
            }
        }
    }

    /// Returns once no vCPU runs guest code, or false after `patience`.
    #[must_use]
    pub fn pause(&self, patience: Duration) -> bool {
        self.shared.gate.set(Command::Pause);
        self.kick_all();
        let running = lock(&self.shared.gate.running);
        let waited = self.shared.gate.changed.wait_timeout_while(running, patience, |running| *running > 0);
        waited.is_ok_and(|(running, _)| *running == 0)
    }

    /// Lets paused vCPUs go on.
    pub fn resume(&self) {
        self.shared.gate.set(Command::Run);
    }

    /// CPU time of all vCPU threads, ns.
    #[must_use]
    pub fn cpu_time_ns(&self) -> u64 {
        self.threads.iter().filter_map(|thread| thread.handle.as_ref()).map(thread_time_ns).sum()
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        self.shared.gate.set(Command::Stop);
        self.kick_all();
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                let _ = handle.join();
            }
        }
    }
}

fn thread_time_ns(handle: &JoinHandle<()>) -> u64 {
    if handle.is_finished() {
        return 0;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut clock = 0;
    // SAFETY: the thread has not been joined, so its id is valid; both results are written to locals.
    let found = unsafe {
        libc::pthread_getcpuclockid(handle.as_pthread_t(), &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    if found { u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0) } else { 0 }
}

/// What to do after an exit.
enum Next {
    Enter,
    SetTime,
    ClearKick,
    End(GuestEnd),
    /// The guest cannot go on; the text says why.
    Dead(String),
}

fn run(shared: &Shared, index: u32, vcpu: &mut VcpuFd) {
    loop {
        match shared.gate.command() {
            Command::Run => {}
            Command::Pause => shared.gate.park(),
            Command::Stop => return,
        }
        match step(shared, vcpu) {
            Next::Enter => {}
            Next::ClearKick => vcpu.set_kvm_immediate_exit(0),
            Next::SetTime => {
                if let Err(error) = shared.clock.pair(vcpu) {
                    return shared
                        .notices
                        .end(GuestEnd::Crash(format!("cannot read the guest's clock: {error}")));
                }
            }
            Next::End(end) => return shared.notices.end(end),
            Next::Dead(what) => {
                return shared
                    .notices
                    .end(GuestEnd::Crash(format!("CPU {index}: {what}\n{}", registers(vcpu))));
            }
        }
    }
}

fn step(shared: &Shared, vcpu: &mut VcpuFd) -> Next {
    let count = |reason| shared.counters.count(reason);
    match vcpu.run() {
        Ok(VcpuExit::IoOut(port, data)) => {
            count(ExitReason::IoOut);
            port_write(shared, port, data)
        }
        Ok(VcpuExit::IoIn(port, data)) => {
            count(ExitReason::IoIn);
            data.fill(0xff);
            Next::End(GuestEnd::Violation(format!("read of port {port:#x}, where nothing is")))
        }
        Ok(VcpuExit::MmioRead(address, _)) => {
            count(ExitReason::Mmio);
            Next::Dead(format!("read of guest-physical {address:#x}, where nothing is"))
        }
        Ok(VcpuExit::MmioWrite(address, _)) => {
            count(ExitReason::Mmio);
            Next::Dead(format!(
                "write to guest-physical {address:#x}, which nothing backs or which is read-only"
            ))
        }
        Ok(VcpuExit::Shutdown) => Next::Dead("triple fault".to_owned()),
        Ok(VcpuExit::InternalError) => {
            Next::Dead("KVM internal error (an instruction it cannot emulate?)".to_owned())
        }
        Ok(VcpuExit::FailEntry(reason, _)) => {
            Next::Dead(format!("the CPU refused to enter the guest, reason {reason:#x}"))
        }
        Ok(VcpuExit::Intr | VcpuExit::Hlt | VcpuExit::IrqWindowOpen) => {
            count(ExitReason::Other);
            Next::Enter
        }
        Ok(other) => {
            let what = format!("unexpected exit {other:?}");
            count(ExitReason::Other);
            Next::Dead(what)
        }
        Err(error) if error.errno() == libc::EINTR => {
            count(ExitReason::Interrupted);
            Next::ClearKick
        }
        Err(error) if error.errno() == libc::EAGAIN => Next::Enter,
        Err(error) => Next::Dead(format!("KVM_RUN: {error}")),
    }
}

fn port_write(shared: &Shared, port: u16, data: &[u8]) -> Next {
    if let Ok(queue) = data.try_into().map(u16::from_le_bytes)
        && shared.doorbells.ring(port, queue)
    {
        return Next::Enter;
    }
    let Ok(value) = data.try_into().map(u32::from_le_bytes) else {
        return Next::End(GuestEnd::Violation(format!("write of {} bytes to port {port:#x}", data.len())));
    };
    match port {
        layout::PORT_POWER => Next::End(match PowerOff::from_u32(value) {
            Some(how) => GuestEnd::PowerOff(how),
            None => GuestEnd::Violation(format!("power-off with unknown value {value:#x}")),
        }),
        layout::PORT_START_CPU => {
            shared.notices.start_cpu(value);
            Next::Enter
        }
        layout::PORT_TIME => Next::SetTime,
        layout::PORT_LOG => {
            shared.doorbells.ring_log();
            Next::Enter
        }
        _ => {
            Next::End(GuestEnd::Violation(format!("write of {value:#x} to port {port:#x}, where nothing is")))
        }
    }
}

/// Register dump for a crash report.
fn registers(vcpu: &VcpuFd) -> String {
    let (Ok(r), Ok(s)) = (vcpu.get_regs(), vcpu.get_sregs()) else {
        return "registers cannot be read".to_owned();
    };
    format!(
        "rip {:016x} rsp {:016x} rflags {:08x} cs {:x} ss {:x}\n\
         rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}\n\
         rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}\n\
         r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}\n\
         r13 {:016x} r14 {:016x} r15 {:016x}\n\
         cr0 {:x} cr2 {:016x} cr3 {:x} cr4 {:x} efer {:x}\n\
         fs {:016x} gs {:016x} tr {:x}/{:016x} gdt {:016x}/{:x} idt {:016x}/{:x}",
        r.rip,
        r.rsp,
        r.rflags,
        s.cs.selector,
        s.ss.selector,
        r.rax,
        r.rbx,
        r.rcx,
        r.rdx,
        r.rsi,
        r.rdi,
        r.rbp,
        r.r8,
        r.r9,
        r.r10,
        r.r11,
        r.r12,
        r.r13,
        r.r14,
        r.r15,
        s.cr0,
        s.cr2,
        s.cr3,
        s.cr4,
        s.efer,
        s.fs.base,
        s.gs.base,
        s.tr.selector,
        s.tr.base,
        s.gdt.base,
        s.gdt.limit,
        s.idt.base,
        s.idt.limit
    )
}
