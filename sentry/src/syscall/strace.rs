//! Printing system calls to the log, for containers that ask for it.

use super::row::Row;
use super::{Failure, SysResult};
use crate::task::Task;
use alloc::string::String;
use core::fmt::Write;

/// Prints one call with raw arguments.
pub(super) fn print(task: &Task, row: &Row, arguments: [u64; 6], result: SysResult) {
    let mut line = String::new();
    let _ = write!(line, "[{}] {}(", task.tid(), row.name);
    for (at, argument) in arguments.iter().enumerate() {
        let _ = write!(line, "{}{argument:#x}", if at == 0 { "" } else { ", " });
    }
    let _ = match result {
        Ok(value) => writeln!(line, ") = {value:#x}"),
        Err(Failure::Errno(errno)) => writeln!(line, ") = -{errno:?}"),
        Err(Failure::Interrupted) => writeln!(line, ") = ? interrupted"),
    };
    crate::log::write(&line);
}
