//! Time: clocks, and timers that act when their deadline passes.
//!
//! Sleeping calls need nothing of this but the clocks: they park with a deadline. What has to happen while nobody sleeps for
//! it (timerfd, interval timers, POSIX timers) is a [`Timer`], served by one worker thread.

pub mod clock;
pub mod periodic;
pub mod process;
mod queue;

pub use clock::ClockId;
pub use periodic::Schedule;
pub use process::ProcessTimers;
pub use queue::{Expire, Timer};
