//! Which arguments a call has: a letter each, read by [`super::values`].

use crate::syscall::row::Row;

/// For calls that are not listed: as many plain numbers as its handler takes.
const PLAIN: &str = "xxxxxx";

/// `d` number, `l` long, `u` unsigned, `x` hexadecimal or address, `f` descriptor, `D` directory's descriptor, `p` path, `s`
/// text, `A` list of texts, `b` bytes that the next argument counts, `B` bytes that come back, `o` open flags, `m` mode, `a`
/// access mode, `g` signal, `S` `struct stat` that comes back, `t` time, `T` time that comes back, `i` number that comes back, `2`
/// two of them, `v` vectors, `w` wait status, `r` protection, `M` map flags, `c` clone flags, `F` futex operation, `k` clock,
/// `h` seek origin, `n` socket family, `N` socket address that the next argument counts, `e` epoll operation, `E` epoll events
/// that come back, `P` poll records, `q` signal set, `H` sigprocmask operation, `y` fcntl command, `W` advice.
const SHAPES: &[(&str, &str)] = &[
    ("read", "fBu"),
    ("write", "fbu"),
    ("open", "pom"),
    ("close", "f"),
    ("stat", "pS"),
    ("fstat", "fS"),
    ("lstat", "pS"),
    ("poll", "Pud"),
    ("lseek", "flh"),
    ("mmap", "xurMfx"),
    ("mprotect", "xur"),
    ("munmap", "xu"),
    ("brk", "x"),
    ("rt_sigaction", "gxxu"),
    ("rt_sigprocmask", "Hqxu"),
    ("rt_sigreturn", ""),
    ("ioctl", "fxx"),
    ("pread64", "fBul"),
    ("pwrite64", "fbul"),
    ("readv", "fvd"),
    ("writev", "fvd"),
    ("access", "pa"),
    ("pipe", "2"),
    ("select", "dxxxt"),
    ("sched_yield", ""),
    ("mremap", "xuuxx"),
    ("msync", "xux"),
    ("madvise", "xuW"),
    ("dup", "f"),
    ("dup2", "ff"),
    ("pause", ""),
    ("nanosleep", "tT"),
    ("alarm", "u"),
    ("getpid", ""),
    ("sendfile", "ffxu"),
    ("socket", "nxd"),
    ("connect", "fNu"),
    ("accept", "fxx"),
    ("sendto", "fbuxNu"),
    ("recvfrom", "fBuxxx"),
    ("sendmsg", "fxx"),
    ("recvmsg", "fxx"),
    ("shutdown", "fd"),
    ("bind", "fNu"),
    ("listen", "fd"),
    ("getsockname", "fxx"),
    ("getpeername", "fxx"),
    ("socketpair", "nxd2"),
    ("setsockopt", "fddxu"),
    ("getsockopt", "fddxx"),
    ("clone", "cxxxx"),
    ("fork", ""),
    ("vfork", ""),
    ("execve", "pAx"),
    ("exit", "d"),
    ("wait4", "dwxx"),
    ("kill", "dg"),
    ("uname", "x"),
    ("fcntl", "fyx"),
    ("flock", "fd"),
    ("fsync", "f"),
    ("fdatasync", "f"),
    ("truncate", "pl"),
    ("ftruncate", "fl"),
    ("getdents", "fxu"),
    ("getcwd", "su"),
    ("chdir", "p"),
    ("fchdir", "f"),
    ("rename", "pp"),
    ("mkdir", "pm"),
    ("rmdir", "p"),
    ("creat", "pm"),
    ("link", "pp"),
    ("unlink", "p"),
    ("symlink", "pp"),
    ("readlink", "pBu"),
    ("chmod", "pm"),
    ("fchmod", "fm"),
    ("chown", "pdd"),
    ("fchown", "fdd"),
    ("lchown", "pdd"),
    ("umask", "m"),
    ("gettimeofday", "Tx"),
    ("getuid", ""),
    ("getgid", ""),
    ("geteuid", ""),
    ("getegid", ""),
    ("setpgid", "dd"),
    ("getppid", ""),
    ("getpgrp", ""),
    ("setsid", ""),
    ("rt_sigsuspend", "qu"),
    ("rt_sigtimedwait", "qxtu"),
    ("mknod", "pmx"),
    ("statfs", "px"),
    ("mount", "psxxs"),
    ("umount2", "px"),
    ("chroot", "p"),
    ("gettid", ""),
    ("setxattr", "psxux"),
    ("getxattr", "psBu"),
    ("lgetxattr", "psBu"),
    ("listxattr", "pBu"),
    ("tkill", "dg"),
    ("futex", "xFxxxx"),
    ("getdents64", "fxu"),
    ("set_tid_address", "x"),
    ("fadvise64", "fllW"),
    ("clock_gettime", "kT"),
    ("clock_settime", "kt"),
    ("clock_getres", "kT"),
    ("clock_nanosleep", "kxtT"),
    ("exit_group", "d"),
    ("epoll_wait", "fEdd"),
    ("epoll_ctl", "fefx"),
    ("tgkill", "ddg"),
    ("waitid", "ddxxx"),
    ("inotify_add_watch", "fpx"),
    ("openat", "Dpom"),
    ("mkdirat", "Dpm"),
    ("mknodat", "Dpmx"),
    ("fchownat", "Dpddx"),
    ("newfstatat", "DpSx"),
    ("unlinkat", "Dpx"),
    ("renameat", "DpDp"),
    ("linkat", "DpDpx"),
    ("symlinkat", "pDp"),
    ("readlinkat", "DpBu"),
    ("fchmodat", "Dpm"),
    ("faccessat", "Dpa"),
    ("pselect6", "dxxxtx"),
    ("ppoll", "Putxu"),
    ("set_robust_list", "xu"),
    ("splice", "fxfxux"),
    ("utimensat", "Dpxx"),
    ("epoll_pwait", "fEddxu"),
    ("signalfd4", "fqux"),
    ("timerfd_create", "kx"),
    ("eventfd2", "dx"),
    ("epoll_create1", "x"),
    ("dup3", "ffo"),
    ("pipe2", "2o"),
    ("prlimit64", "ddxx"),
    ("accept4", "fxxx"),
    ("renameat2", "DpDpx"),
    ("getrandom", "xux"),
    ("memfd_create", "sx"),
    ("execveat", "DpAxx"),
    ("statx", "Dpxxx"),
    ("openat2", "Dpxu"),
    ("faccessat2", "Dpax"),
];

/// The letters of a call's arguments.
pub(super) fn of(row: &Row) -> &'static str {
    let listed = SHAPES.iter().find(|(name, _)| *name == row.name);
    listed.map_or_else(|| PLAIN.get(..usize::from(row.arity)).unwrap_or(PLAIN), |(_, shape)| *shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall::table::TABLE;

    #[test]
    fn every_shape_has_the_arguments_of_its_call() {
        for (name, shape) in SHAPES {
            let row = TABLE.iter().find(|row| row.name == *name);
            assert!(row.is_some(), "no call {name}");
            if let Some(row) = row.filter(|row| row.handler.is_some()) {
                assert!(
                    shape.len() == usize::from(row.arity) || row.arity == 6,
                    "{name}: {shape:?} for {} arguments",
                    row.arity
                );
            }
        }
    }
}
