//! [`Guest`]: what the substrate and the sentry ask of this machine.

use crate::arch::{apic, percpu, trap, user, xstate};
use crate::mem::space::GuestSpace;
use crate::sched::thread::Thread;
use crate::sched::{smp, switch};
use crate::{clock, entropy, log, vdso, virtio};
use alloc::sync::Arc;
use chitin_core::cpu::{ExitRequest, UserContext, XsaveBlock, Xstate};
use chitin_core::frame::Frame;
use chitin_core::hooks::Hooks;
use chitin_core::lock::HeldLocks;
use chitin_proto::layout::PowerOff;
use chitin_sentry::platform::{
    BlockPort, FuseChannel, KernelThread, NetPort, OutOfMemory, Platform, Scheduling, Space, ThreadBody,
    Trap, VsockPort,
};
use core::task::Waker;

/// The bare-metal platform.
pub(crate) struct Guest;

/// The one value of it.
pub(crate) static GUEST: Guest = Guest;

impl Guest {
    /// The platform as the sentry sees it.
    pub(crate) fn get() -> &'static dyn Platform {
        &GUEST
    }
}

impl Hooks for Guest {
    fn cpu(&self) -> usize {
        percpu::this().number()
    }

    fn relax(&self) {
        core::hint::spin_loop();
    }

    fn held_locks(&self) -> &HeldLocks {
        &percpu::this().held
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn park(&self, deadline_ns: Option<u64>) {
        switch::park(deadline_ns);
    }

    fn waker(&self) -> Waker {
        Waker::from(Thread::current())
    }

    fn yield_now(&self) {
        switch::yield_now();
    }

    fn give_way(&self) {
        switch::give_way();
    }

    fn xstate_dropped(&self, area: *const XsaveBlock) {
        xstate::forget(area);
    }
}

impl Platform for Guest {
    fn start(
        &self,
        name: &'static str,
        scheduling: Scheduling,
        body: ThreadBody,
    ) -> Result<Arc<dyn KernelThread>, OutOfMemory> {
        Ok(Thread::spawn(name, scheduling, body)?)
    }

    fn new_space(&self) -> Result<Arc<dyn Space>, OutOfMemory> {
        match GuestSpace::new() {
            Ok(space) => Ok(Arc::new(space)),
            Err(_) => Err(OutOfMemory),
        }
    }

    fn run_user(&self, context: &mut UserContext, space: &Arc<dyn Space>, exit: &ExitRequest) -> Trap {
        user::run(context, space, exit)
    }

    fn flush_xstate(&self, xstate: &mut Xstate) {
        xstate::flush(xstate);
    }

    fn xstate_layout(&self) -> (usize, u64) {
        xstate::layout()
    }

    fn kick(&self, cpu: usize) {
        if cpu < smp::started() && cpu != percpu::this().number() {
            apic::send(cpu, trap::VECTOR_KICK);
        }
    }

    fn cpus(&self) -> usize {
        smp::limit()
    }

    fn realtime_ns(&self) -> u64 {
        clock::realtime_ns()
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let result = crate::arch::cpu::cpuid(leaf, subleaf);
        [result.eax, result.ebx, result.ecx, result.edx]
    }

    fn clock_khz(&self) -> u64 {
        clock::khz()
    }

    fn entropy(&self, bytes: &mut [u8]) {
        entropy::fill(bytes);
    }

    fn vdso(&self) -> &[Frame] {
        vdso::frames()
    }

    fn log(&self, text: &str) {
        log::write(text);
    }

    fn power_off(&self, reason: PowerOff) -> ! {
        trap::stop(reason)
    }

    fn fuse(&self) -> Option<&dyn FuseChannel> {
        virtio::fuse()
    }

    fn vsock(&self) -> Option<&dyn VsockPort> {
        virtio::vsock()
    }

    fn net(&self, card: usize) -> Option<&dyn NetPort> {
        virtio::net(card)
    }

    fn block(&self, slot: usize) -> Option<&'static dyn BlockPort> {
        virtio::block(slot)
    }
}
