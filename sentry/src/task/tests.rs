//! Behaviour of processes and signals, as programs see it, under many schedules.

use super::{Container, ExitStatus, Limits, NewProcess};
use crate::abi::Errno;
use crate::fs::tmpfs::{Options, TmpFs};
use crate::fs::{FdTable, FsContext, Mount, MountFlags, MountNamespace};
use crate::mm::{Budget, Limits as MmLimits, Mm};
use crate::platform::hosted::{self, User, program};
use crate::security::Creds;
use crate::signal::{SigInfo, Signal};
use crate::user::UserAddr;
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;
use std::string::String;
use std::vec::Vec;

pub(crate) fn container() -> Arc<Container> {
    let budget = Budget::root().child(4096);
    Container::new("test".into(), b"host".to_vec(), Vec::new(), budget, crate::net::inet::Stack::new())
}

pub(crate) fn start(container: &Arc<Container>, entry: u64) -> Arc<super::Process> {
    let root = Mount::of(TmpFs::new(&Budget::root(), &Options::default()), b"root", MountFlags::empty());
    container
        .start(NewProcess {
            creds: Creds::root(),
            mm: Mm::with(container.budget.clone(), MmLimits::default()).unwrap(),
            entry: UserAddr::new(entry),
            stack_pointer: UserAddr::NULL,
            files: FdTable::new(),
            fs: FsContext::new(MountNamespace::new(root)),
            name: b"init".to_vec(),
            limits: Limits::new(),
            oom_score_adj: 0,
            held: false,
        })
        .unwrap()
}

/// Runs `init` as the first process of a container with many seeds; it is to return 0.
fn check(init: impl Fn(&mut User) -> i32 + Send + Sync + Clone + 'static) {
    hosted::for_seeds(30, move |sleeper: &Sleeper| {
        let container = container();
        let process = start(&container, program(init.clone()));
        assert_eq!(process.wait_exit(sleeper), ExitStatus::Exited(0));
        assert_eq!(container.pids(), 0, "every task is gone");
        assert!(container.processes().is_empty());
    });
}

const SIGCHLD: u64 = 17;
const WNOHANG: u64 = 1;
const WUNTRACED: u64 = 2;
const WCONTINUED: u64 = 8;

fn wait4(user: &mut User, pid: i64, options: u64) -> (i64, u32) {
    let status = user.map(4096);
    let result = user.syscall(61, [pid.cast_unsigned(), status, options, 0, 0, 0]);
    (result, user.load_u32(status))
}

fn action(user: &mut User, signal: u64, handler: u64, flags: u64) {
    let at = user.map(4096);
    for (index, word) in [handler, flags | 0x0400_0000, 1, 0].iter().enumerate() {
        user.store(at + 8 * index as u64, &word.to_le_bytes());
    }
    assert_eq!(user.syscall(13, [signal, at, 0, 8, 0, 0]), 0);
}

fn stack(user: &mut User) {
    user.regs.rsp = user.map(65536) + 65536;
}

fn kill(user: &mut User, pid: i64, signal: u64) -> i64 {
    user.syscall(62, [pid.cast_unsigned(), signal, 0, 0, 0, 0])
}

#[test]
fn children_are_waited_for() {
    check(|user| {
        assert_eq!(user.syscall(39, [0; 6]), 1);
        assert_eq!(wait4(user, -1, 0).0, -10, "no child");
        let child = user.fork(|user| {
            assert_eq!(user.syscall(110, [0; 6]), 1);
            user.spin();
            7
        });
        assert_eq!(child, 2);
        assert_eq!(wait4(user, child, 0), (child, 7 << 8));
        assert_eq!(wait4(user, child, WNOHANG).0, -10);
        0
    });
}

#[test]
fn orphans_go_to_init() {
    check(|user| {
        let child = user.fork(|user| {
            let grandchild = user.fork(|user| {
                while user.syscall(110, [0; 6]) != 1 {
                    user.syscall(24, [0; 6]);
                }
                5
            });
            assert!(grandchild > 0);
            3
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (pid, status) = wait4(user, -1, 0);
            seen.push((pid, status >> 8));
        }
        seen.sort_unstable();
        assert_eq!(seen, [(child, 3), (child + 1, 5)]);
        0
    });
}

#[test]
fn the_end_of_init_ends_all() {
    check(|user| {
        for _ in 0..3 {
            user.fork(|user| {
                user.fork(|user| i32::try_from(user.syscall(34, [0; 6])).unwrap_or(1));
                loop {
                    user.syscall(34, [0; 6]);
                }
            });
        }
        0
    });
}

#[test]
fn handlers_run_and_return() {
    check(|user| {
        stack(user);
        let counter = user.map(4096);
        let handler = program(move |user: &mut User| {
            assert_eq!(user.regs.rdi, 10);
            let count = user.load_u64(counter);
            user.store(counter, &(count + 1).to_le_bytes());
            0
        });
        action(user, 10, handler, 0);
        let rsp = user.regs.rsp;
        assert_eq!(kill(user, 1, 10), 0);
        assert_eq!(user.load_u64(counter), 1);
        assert_eq!(user.regs.rsp, rsp);
        // sigsuspend lets it in, and blocks it again.
        let set = user.map(4096);
        user.store(set, &(1u64 << 9).to_le_bytes());
        assert_eq!(user.syscall(14, [0, set, 0, 8, 0, 0]), 0);
        let child = user.fork(|user| i32::from(kill(user, 1, 10) != 0));
        assert_eq!(user.syscall(130, [set + 8, 8, 0, 0, 0, 0]), -4);
        assert_eq!(user.syscall(14, [0, 0, set + 16, 8, 0, 0]), 0);
        assert_eq!(user.load_u64(set + 16), 1 << 9);
        assert_eq!(user.load_u64(counter), 2);
        assert_eq!(wait4(user, child, 0), (child, 0));
        0
    });
}

#[test]
fn waiting_restarts_after_a_handler_with_sa_restart() {
    check(|user| {
        stack(user);
        action(user, 10, program(|_: &mut User| 0), 0x1000_0000);
        action(user, 12, program(|_: &mut User| 0), 0);
        let child = user.fork(|user| {
            for _ in 0..5 {
                user.spin();
            }
            kill(user, 1, 10);
            4
        });
        assert_eq!(wait4(user, child, 0), (child, 4 << 8), "restarted");
        let child = user.fork(|user| {
            user.syscall(34, [0; 6]);
            0
        });
        let other = user.fork(|user| {
            let time = user.map(4096);
            user.store(time + 8, &100_000u64.to_le_bytes());
            loop {
                kill(user, 1, 12);
                user.syscall(35, [time, 0, 0, 0, 0, 0]);
            }
        });
        assert_eq!(wait4(user, child, 0).0, -4, "not restarted");
        kill(user, child, 9);
        kill(user, other, 9);
        for pid in [child, other] {
            while wait4(user, pid, 0).0 == -4 {}
        }
        0
    });
}

#[test]
fn killed_and_stopped_children_are_told() {
    check(|user| {
        let child = user.fork(|user| {
            loop {
                user.syscall(34, [0; 6]);
            }
        });
        assert_eq!(user.syscall(109, [child.cast_unsigned(), child.cast_unsigned(), 0, 0, 0, 0]), 0);
        assert_eq!(wait4(user, child, WNOHANG | WUNTRACED).0, 0);
        assert_eq!(kill(user, child, 19), 0);
        assert_eq!(wait4(user, child, WUNTRACED), (child, 0x137f));
        assert_eq!(kill(user, child, 18), 0);
        assert_eq!(wait4(user, child, WCONTINUED), (child, 0xffff));
        assert_eq!(kill(user, child, 19), 0);
        assert_eq!(wait4(user, -child, WUNTRACED), (child, 0x137f));
        assert_eq!(kill(user, child, 9), 0);
        assert_eq!(wait4(user, child, 0), (child, 9));
        assert_eq!(kill(user, child, 0), -3);
        0
    });
}

#[test]
fn init_is_protected_from_inside_only() {
    hosted::for_seeds(20, |sleeper| {
        let container = container();
        let init = start(
            &container,
            program(|user: &mut User| {
                assert_eq!(kill(user, 1, 9), 0);
                assert_eq!(kill(user, 1, 15), 0);
                loop {
                    user.syscall(34, [0; 6]);
                }
            }),
        );
        sleeper.park(Some(sleeper.now_ns() + 1_000_000));
        init.send_from_host(SigInfo::kernel(Signal::TERM)).unwrap();
        sleeper.park(Some(sleeper.now_ns() + 1_000_000));
        assert!(init.status().is_none());
        init.send_from_host(SigInfo::kernel(Signal::KILL)).unwrap();
        assert_eq!(init.wait_exit(sleeper), ExitStatus::Killed(Signal::KILL));
        assert_eq!(init.status().unwrap().shell_status(), 137);
    });
}

#[test]
fn threads_end_with_their_process() {
    const THREAD: u64 = 0x5_0f00;
    check(|user| {
        let child = user.fork(|user| {
            let word = user.map(4096);
            for _ in 0..3 {
                let tid = user.spawn(56, [THREAD | 0x20_0000, 0, 0, word, 0, 0], |user| {
                    assert_ne!(user.syscall(186, [0; 6]), user.syscall(39, [0; 6]));
                    loop {
                        user.syscall(34, [0; 6]);
                    }
                });
                assert!(tid > 0);
            }
            // A thread that ends alone.
            user.store(word, &1u32.to_le_bytes());
            let tid = user.spawn(56, [THREAD | 0x20_0000, 0, 0, word, 0, 0], |user| {
                user.syscall(60, [0; 6]);
                1
            });
            assert!(tid > 0);
            while user.load_u32(word) != 0 {
                user.syscall(202, [word, 0, 1, 0, 0, 0]);
            }
            6
        });
        assert_eq!(wait4(user, child, 0), (child, 6 << 8));
        0
    });
}

#[test]
fn the_limit_of_tasks_holds() {
    hosted::for_seeds(5, |sleeper| {
        let container = container();
        container.set_pids_limit(Some(4));
        let init = start(
            &container,
            program(|user: &mut User| {
                let made = (0..10)
                    .filter(|_| {
                        user.fork(|user| {
                            loop {
                                user.syscall(34, [0; 6]);
                            }
                        }) > 0
                    })
                    .count();
                i32::try_from(made).unwrap()
            }),
        );
        assert_eq!(init.wait_exit(sleeper), ExitStatus::Exited(3));
        assert_eq!(container.pids(), 0);
    });
}

#[test]
fn signals_of_a_set_are_taken() {
    check(|user| {
        let set = user.map(4096);
        user.store(set, &((1u64 << 9) | (1 << 39)).to_le_bytes());
        assert_eq!(user.syscall(14, [0, set, 0, 8, 0, 0]), 0);
        for value in 0..3u64 {
            let info = user.map(4096);
            user.store(info + 8, &(-1i32).to_le_bytes());
            user.store(info + 24, &value.to_le_bytes());
            assert_eq!(user.syscall(129, [1, 40, info, 0, 0, 0]), 0);
        }
        let child = user.fork(|user| i32::from(kill(user, 1, 10) != 0));
        let info = user.map(4096);
        for value in 0..3u64 {
            let signal = loop {
                match user.syscall(128, [set, info, 0, 8, 0, 0]) {
                    10 => {}
                    other => break other,
                }
            };
            assert_eq!(signal, 40);
            assert_eq!(user.load_u64(info + 24), value);
        }
        let timeout = user.map(4096);
        user.store(timeout + 8, &1_000_000u64.to_le_bytes());
        let _ = wait4(user, child, 0);
        let last = user.syscall(128, [set, info, timeout, 8, 0, 0]);
        assert!(last == 10 || last == -11, "{last}");
        0
    });
}

#[test]
fn faults_and_exceptions_kill() {
    check(|user| {
        let child = user.fork(|user| {
            user.load_u64(8);
            0
        });
        assert_eq!(wait4(user, child, 0), (child, 11));
        let child = user.fork(|user| {
            user.exception(6);
            0
        });
        assert_eq!(wait4(user, child, 0), (child, 4));
        let child = user.fork(|user| {
            // A broken signal frame.
            user.syscall(15, [0; 6]);
            0
        });
        assert_eq!(wait4(user, child, 0), (child, 11));
        0
    });
}

#[test]
fn vfork_waits_for_the_child() {
    check(|user| {
        let word = user.map(4096);
        let child = user.spawn(58, [0; 6], move |user| {
            user.spin();
            user.store(word, &5u32.to_le_bytes());
            user.spin();
            user.syscall(231, [0; 6]);
            0
        });
        assert_eq!(user.load_u32(word), 5);
        assert_eq!(wait4(user, child, 0).0, child);
        assert_eq!(user.syscall(56, [SIGCHLD | 0x1_0000, 0, 0, 0, 0, 0]), -22, "a thread shares handlers");
        0
    });
}

#[test]
fn unimplemented_calls_are_counted() {
    hosted::run(1, |sleeper| {
        let container = container();
        let init = start(
            &container,
            program(|user: &mut User| {
                assert_eq!(user.syscall(298, [0; 6]), i64::from(-Errno::ENOSYS.number()));
                assert_eq!(user.syscall(9999, [0; 6]), -38);
                0
            }),
        );
        init.wait_exit(sleeper);
        assert_eq!(container.unimplemented(), [(String::from("perf_event_open"), 1)]);
    });
}

/// A file that names a program as its entry point.
fn executable(user: &mut User, path: &str, contents: &[u8]) {
    let path = user.string(path);
    let fd = user.syscall(2, [path, 0o1101, 0o755, 0, 0, 0]);
    assert!(fd >= 0, "open: {fd}");
    let at = user.place(contents);
    let len = contents.len() as u64;
    assert_eq!(user.syscall(1, [fd.cast_unsigned(), at, len, 0, 0, 0]), i64::try_from(len).unwrap());
    assert_eq!(user.syscall(3, [fd.cast_unsigned(), 0, 0, 0, 0, 0]), 0);
}

fn elf(entry: u64) -> Vec<u8> {
    let mut image = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    image.extend_from_slice(&entry.to_le_bytes());
    image.extend_from_slice(&64u64.to_le_bytes());
    image.extend_from_slice(&[0; 12]);
    for half in [64u16, 56, 1, 0, 0, 0] {
        image.extend_from_slice(&half.to_le_bytes());
    }
    image.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0u64, 0x40_0000, 0x40_0000, 120, 120, 4096] {
        image.extend_from_slice(&word.to_le_bytes());
    }
    image
}

fn execve(user: &mut User, path: &str, arguments: &[&str]) -> i64 {
    let pointers: Vec<u64> = arguments.iter().map(|argument| user.string(argument)).chain([0]).collect();
    let bytes: Vec<u8> = pointers.iter().flat_map(|pointer| pointer.to_le_bytes()).collect();
    let (path, argv) = (user.string(path), user.place(&bytes));
    user.syscall(59, [path, argv, 0, 0, 0, 0])
}

fn argument(user: &mut User, index: u64) -> String {
    let at = user.load_u64(user.regs.rsp + 8 + 8 * index);
    let mut text = String::new();
    for offset in 0.. {
        let mut byte = [0];
        user.load(at + offset, &mut byte);
        if byte[0] == 0 {
            break;
        }
        text.push(char::from(byte[0]));
    }
    text
}

#[test]
fn programs_replace_programs() {
    check(|user| {
        let shell = program(|user: &mut User| {
            // argc, and the arguments of a script.
            assert_eq!(user.load_u64(user.regs.rsp), 4);
            let found: Vec<String> = (0..4).map(|index| argument(user, index)).collect();
            assert_eq!(found, ["/shell", "-x y", "/script", "one"]);
            // The descriptor that closes is gone, the ignored signal stays ignored.
            assert_eq!(user.syscall(3, [9, 0, 0, 0, 0, 0]), -9);
            let own = user.syscall(39, [0; 6]);
            assert_eq!(kill(user, own, 12), 0);
            assert_eq!(user.syscall(186, [0; 6]), user.syscall(39, [0; 6]));
            11
        });
        executable(user, "/shell", &elf(shell));
        executable(user, "/script", b"#! /shell -x y \necho\n");
        executable(user, "/loop", b"#!/loop\n");
        executable(user, "/text", b"text\n");
        assert_eq!(execve(user, "/loop", &["a"]), -40);
        assert_eq!(execve(user, "/text", &["a"]), -8);
        assert_eq!(execve(user, "/missing", &["a"]), -2);
        let child = user.fork(|user| {
            stack(user);
            action(user, 12, 1, 0);
            action(user, 10, program(|_: &mut User| 0), 0);
            assert_eq!(user.syscall(293, [user.regs.rsp - 8, 0o2_000_000, 0, 0, 0, 0]), 0);
            let fd = u64::from(user.load_u32(user.regs.rsp - 8));
            assert_eq!(user.syscall(292, [fd, 9, 0o2_000_000, 0, 0, 0]), 9);
            // Another thread is there, and may be the one that calls execve.
            let other = user.spawn(56, [0x5_0f00, 0, 0, 0, 0, 0], |user| {
                loop {
                    user.spin();
                    user.syscall(24, [0; 6]);
                }
            });
            assert!(other > 0);
            let caller = user.spawn(56, [0x5_0f00, 0, 0, 0, 0, 0], |user| {
                panic!("execve: {}", execve(user, "/script", &["script", "one"]));
            });
            assert!(caller > 0);
            loop {
                user.syscall(34, [0; 6]);
            }
        });
        assert_eq!(wait4(user, child, 0), (child, 11 << 8));
        0
    });
}
