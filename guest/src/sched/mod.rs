//! Kernel threads: who runs where, parking and waking, deadlines, CPUs.
//!
//! | module | contents |
//! |---|---|
//! | [`thread`] | [`thread::Thread`]: stack, park token, start and end |
//! | [`class`] | how threads stand among those that could run: weight, priority, CPUs |
//! | [`heap`] | the order of those that wait |
//! | [`meter`] | how long a thread has run and waited |
//! | [`queue`] | a CPU's queue of runnable threads, and who goes first |
//! | [`place`] | which queue a thread goes into, and where CPUs look for work |
//! | [`switch`] | park, yield, the switch itself, the idle loop |
//! | [`timer`] | deadlines of parked threads |
//! | [`pending`] | work that interrupt handlers leave for safe points |
//! | [`smp`] | starting CPUs and giving them work |
//!
//! A woken thread is queued on the waker's CPU, without an interrupt to anybody: for pipes and futexes that is the best
//! place. Only when a queue has not been empty for a while are idle CPUs interrupted to steal, and CPUs that were never
//! started are started. The scheduler's locks ([`queue`]) are innermost: nothing is taken while one is held.

pub(crate) mod class;
pub(crate) mod heap;
pub(crate) mod meter;
pub(crate) mod pending;
pub(crate) mod place;
pub(crate) mod queue;
pub(crate) mod smp;
pub(crate) mod switch;
pub(crate) mod thread;
pub(crate) mod timer;
