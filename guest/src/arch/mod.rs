//! What is particular to the x86-64 CPU: registers, tables, entry and exit, timer and interrupt controller.
//!
//! | module | contents |
//! |---|---|
//! | [`cpu`] | single instructions and feature flags |
//! | [`percpu`] | the data that belongs to one CPU, found by GS |
//! | [`tables`] | GDT, TSS, IDT and the SYSCALL registers |
//! | [`entry`] | assembly: boot entry, traps, user entry and exit, stack switch |
//! | [`trap`] | what happens on exceptions and interrupts in ring 0, and the vectors in use |
//! | [`apic`] | x2APIC: end of interrupt, IPIs, the deadline timer |
//! | [`xstate`] | who owns the x87/SSE/AVX registers |
//! | [`user`] | running user code until it traps |

pub(crate) mod apic;
pub(crate) mod cpu;
pub(crate) mod entry;
pub(crate) mod percpu;
pub(crate) mod tables;
pub(crate) mod trap;
pub(crate) mod user;
pub(crate) mod xstate;
