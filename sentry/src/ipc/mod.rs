//! Inter-process communication beside files: futexes.

pub mod futex;
