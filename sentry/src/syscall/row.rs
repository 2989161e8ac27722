//! [`Row`]: one line of the system-call table. Families list their rows beside their handlers; [`super::table`] joins them.

use super::{Cx, FromArg, SysResult};

/// What happens when a signal interrupts the call (signal(7), "Interruption of system calls").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Restarted after a handler with `SA_RESTART`, or when no handler runs; else `EINTR` (Linux: `ERESTARTSYS`).
    Sa,
    /// Restarted only when no handler runs (Linux: `ERESTARTNOHAND`).
    NoHandler,
    /// Restarted with what is left of its time when no handler runs; else `EINTR` (Linux: `ERESTART_RESTARTBLOCK`).
    Remaining,
    /// Restarted in any case, unseen by the program but for its handlers (Linux: `ERESTARTNOINTR`).
    Always,
    /// Always `EINTR`.
    Never,
}

/// How much of the Linux call is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// All of it that the manual page describes, covered by a comparing test.
    Full,
    /// Some of it; the remark says what is missing.
    Partial(&'static str),
    /// Answers `ENOSYS` and is counted by name.
    None,
}

/// Calls a handler with the six argument registers.
pub type Handler = fn(&mut Cx<'_>, [u64; 6]) -> SysResult;

/// One system call.
#[derive(Clone, Copy)]
pub struct Row {
    /// x86-64 system call number.
    pub number: u16,
    /// Name as in the manual.
    pub name: &'static str,
    /// How many arguments the handler takes.
    pub arity: u8,
    /// The handler, `None` for [`Support::None`].
    pub handler: Option<Handler>,
    /// What a signal does to it.
    pub restart: Restart,
    /// How much is there.
    pub support: Support,
}

/// A row: `row!(0, "read", 3, read, Restart::Sa, Support::Full)` for a handler `fn read(&mut Cx, A, B, C) -> SysResult` of
/// three arguments.
macro_rules! row {
    ($number:literal, $name:literal, 0, $f:path, $restart:expr, $support:expr) => {
        $crate::syscall::row::Row {
            number: $number,
            name: $name,
            arity: 0,
            handler: Some(|cx, _| $f(cx)),
            restart: $restart,
            support: $support,
        }
    };
    ($number:literal, $name:literal, 1, $f:path, $restart:expr, $support:expr) => {
        $crate::syscall::row::Row {
            number: $number,
            name: $name,
            arity: 1,
            handler: Some(|cx, a| $crate::syscall::row::call1($f, cx, a)),
            restart: $restart,
            support: $support,
        }
    };
    ($number:literal, $name:literal, 2, $f:path, $restart:expr, $support:expr) => {
        $crate::syscall::row::Row {
            number: $number,
            name: $name,
            arity: 2,
            handler: Some(|cx, a| $crate::syscall::row::call2($f, cx, a)),
            restart: $restart,
            support: $support,
        }
    };
    ($number:literal, $name:literal, 3, $f:path, $restart:expr, $support:expr) => {
        $crate::syscall::row::Row {
            number: $number,
            name: $name,
            arity: 3,
            handler: Some(|cx, a| $crate::syscall::row::call3($f, cx, a)),
            restart: $restart,
            support: $support,
        }
    };
    ($number:literal, $name:literal, 4, $f:path, $restart:expr, $support:expr) => {
        $crate::syscall::row::Row {
            number: $number,
            name: $name,
            arity: 4,
            handler: Some(|cx, a| $crate::syscall::row::call4($f, cx, a)),
            restart: $restart,
            support: $support,
        }
    };
    ($number:literal, $name:literal, 5, $f:path, $restart:expr, $support:expr) => {
        $crate::syscall::row::Row {
            number: $number,
            name: $name,
            arity: 5,
            handler: Some(|cx, a| $crate::syscall::row::call5($f, cx, a)),
            restart: $restart,
            support: $support,
        }
    };
    ($number:literal, $name:literal, 6, $f:path, $restart:expr, $support:expr) => {
        $crate::syscall::row::Row {
            number: $number,
            name: $name,
            arity: 6,
            handler: Some(|cx, a| $crate::syscall::row::call6($f, cx, a)),
            restart: $restart,
            support: $support,
        }
    };
}
pub(crate) use row;

macro_rules! call {
    ($name:ident, $($arg:ident : $type:ident),*) => {
        /// Converts the arguments and calls the handler.
        pub fn $name<$($type: FromArg),*>(
            handler: fn(&mut Cx<'_>, $($type),*) -> SysResult,
            cx: &mut Cx<'_>,
            arguments: [u64; 6],
        ) -> SysResult {
            let [$($arg,)* ..] = arguments;
            handler(cx, $($type::from_arg($arg)),*)
        }
    };
}

call!(call1, a: A);
call!(call2, a: A, b: B);
call!(call3, a: A, b: B, c: C);
call!(call4, a: A, b: B, c: C, d: D);
call!(call5, a: A, b: B, c: C, d: D, e: E);
call!(call6, a: A, b: B, c: C, d: D, e: E, f: F);
