//! Printing system calls to the log, for containers that ask for it (`chitin run --strace`).
//!
//! | file | concept |
//! |---|---|
//! | this one | a line: what goes in before the call, what comes out after it |
//! | [`shape`] | which arguments a call has |
//! | [`values`] | an argument as text |
//! | [`flags`] | names of bits and numbers |

mod flags;
mod shape;
mod values;

use super::row::Row;
use super::{Cx, Failure, SysResult};
use alloc::string::String;
use core::fmt::Write;

/// Longest text of a line; what is beyond is cut.
const LINE_MAX: usize = 1024;

/// A call on its way. Arguments that the kernel reads are shown as they were before it, those that it fills as they are after.
pub(super) struct Line {
    text: String,
    shape: &'static str,
    /// First argument that waits for the end of the call.
    rest: usize,
}

impl Line {
    /// Shows what goes into the call.
    pub(super) fn begin(cx: &Cx<'_>, row: &Row, arguments: [u64; 6]) -> Self {
        let shape = shape::of(row);
        let mut line = Self { text: String::new(), shape, rest: 0 };
        let _ = write!(line.text, "[{}] {}(", cx.task.tid(), row.name);
        let incoming = shape.bytes().position(values::is_result).unwrap_or(shape.len());
        line.arguments(cx, &arguments, incoming, 0);
        if ends_the_task(row) {
            let _ = writeln!(line.text, ") = ?");
            crate::log::write(&line.text);
        }
        line
    }

    /// Shows what came out, and the result.
    pub(super) fn end(mut self, cx: &Cx<'_>, row: &Row, arguments: [u64; 6], result: SysResult) {
        if ends_the_task(row) {
            return;
        }
        let got = result.as_ref().ok().and_then(|value| i64::try_from(*value).ok()).unwrap_or(-1);
        self.arguments(cx, &arguments, self.shape.len(), got);
        let _ = match result {
            Ok(value)
                if row.name == "mmap" || row.name == "mremap" || row.name == "brk" || row.name == "shmat" =>
            {
                writeln!(self.text, ") = {value:#x}")
            }
            Ok(value) => writeln!(self.text, ") = {value}"),
            Err(Failure::Errno(errno)) => writeln!(self.text, ") = -1 {errno:?} ({})", errno.text()),
            Err(Failure::Interrupted) => writeln!(self.text, ") = ? interrupted by a signal"),
        };
        crate::log::write(&self.text);
    }

    fn arguments(&mut self, cx: &Cx<'_>, arguments: &[u64; 6], until: usize, result: i64) {
        for at in self.rest..until {
            let Some(kind) = self.shape.as_bytes().get(at) else { break };
            if at > 0 {
                self.text.push_str(", ");
            }
            if self.text.len() > LINE_MAX {
                self.text.push_str("...");
                break;
            }
            values::show(&mut self.text, cx, *kind, arguments, at, result);
        }
        self.rest = until;
    }
}

/// The call does not come back; the whole line is shown before it.
fn ends_the_task(row: &Row) -> bool {
    matches!(row.name, "exit" | "exit_group")
}
