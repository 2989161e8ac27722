//! From the first instruction to the boot thread.

use crate::arch::{apic, cpu, percpu, tables, xstate};
use crate::log::log;
use crate::mem::{arena, heap, large, stacks};
use crate::platform::{GUEST, Guest};
use crate::report;
use crate::sched::thread::Thread;
use crate::sched::{smp, switch};
use crate::{clock, entropy, vdso, virtio};
use alloc::boxed::Box;
use chitin_proto::VERSION;
use chitin_proto::boot::{BootInfo, MAGIC};
use chitin_proto::layout::RAM_GPA;
use chitin_sentry::platform::Scheduling;
use core::sync::atomic::Ordering;

/// Called by the entry code of every CPU, on its boot stack, with interrupts off.
pub(crate) extern "C" fn start(boot: *const BootInfo, index: u64) -> ! {
    if index == 0 {
        // SAFETY: the entry contract: the VMM's boot information, in the direct map.
        start_first(unsafe { &*boot })
    } else {
        smp::start_secondary(index as usize)
    }
}

fn start_first(boot: &'static BootInfo) -> ! {
    let entered = cpu::tsc();
    if boot.magic != MAGIC || boot.version != VERSION {
        report::bad_boot("wrong version of the VMM");
    }
    if boot.boot_pml4 < RAM_GPA || boot.ram_size == 0 {
        report::bad_boot("no memory");
    }
    cpu::detect();
    let Some(this) = percpu::install(0) else { report::bad_boot("no CPU") };
    tables::load(this);
    if !clock::init(boot, entered) {
        report::bad_boot("no TSC frequency");
    }
    crate::mem::tables::set_boot_root(boot.boot_pml4);
    // SAFETY: called once, with the VMM's boot information.
    if !unsafe { arena::init(boot) } {
        report::bad_boot("no room for the kernel");
    }
    heap::refill_reserve();
    if tables::add_interrupt_stacks(this).is_err() || stacks::init().is_err() || large::init().is_err() {
        report::bad_boot("too little memory");
    }
    xstate::detect();
    apic::enable(this);
    entropy::init(&boot.seed);
    smp::set_limit(boot.cpus);
    let idle = Thread::adopt_boot_flow();
    this.current.store(idle, Ordering::Relaxed);
    this.idle_thread.store(idle, Ordering::Relaxed);
    this.online.store(true, Ordering::Release);
    chitin_core::hooks::install(&GUEST);
    vdso::init();
    virtio::init(boot);
    chitin_sentry::platform::install(Guest::get());
    let started = Thread::spawn(
        "boot",
        Scheduling::WORKER,
        Box::new(move |sleeper| {
            log!(
                "chitin: {} CPUs, {} MiB, boot {} us",
                boot.cpus,
                boot.ram_size >> 20,
                clock::now_ns() / 1000
            );
            #[cfg(feature = "selftest")]
            crate::selftest::run(sleeper, boot);
            #[cfg(not(feature = "selftest"))]
            chitin_sentry::main(sleeper);
        }),
    );
    if started.is_err() {
        report::bad_boot("too little memory for a thread");
    }
    cpu::interrupts_on();
    switch::idle_loop()
}
