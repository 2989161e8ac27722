//! Can this host run guests? `doctor` does not trust that `/dev/kvm` exists: it runs a tiny guest that makes system calls
//! from ring 3, takes a page fault and a timer interrupt, all under a time limit.

mod guest;
mod report;

pub use report::{Check, Outcome, Report};

use crate::kvm::KvmError;
use crate::kvm::cpuid::CpuFeatures;
use crate::kvm::entry::{self, Entry};
use crate::kvm::kick::{self, Kicker};
use crate::kvm::vm::{self, Vm};
use crate::machine::memory::GuestRam;
use kvm_bindings::kvm_segment;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Time limit of the whole guest run.
const LIMIT: Duration = Duration::from_secs(2);
const RAM: u64 = 2 << 20;
/// An instruction of ring 0 that takes longer than this is emulated.
const SLOWEST_NS: f64 = 50.0;
/// The checks that the guest makes, in its order.
const GUEST_CHECKS: [&str; 4] = ["ring 0", "system calls", "page fault", "timer"];

/// Something the guest said.
#[derive(Debug)]
enum Word {
    Port(u16, u32),
    Gone(String),
}

/// Runs all checks.
#[must_use]
pub fn examine() -> Report {
    let mut report = Report::default();
    let kvm = match vm::open() {
        Ok(kvm) => kvm,
        Err(error @ KvmError::Missing(_)) => {
            report.pass("/dev/kvm", "opens");
            report.fail("capabilities", error.to_string());
            return report.skip_rest(&GUEST_CHECKS);
        }
        Err(error) => {
            report.fail("/dev/kvm", error.to_string());
            report.skip_rest(&["capabilities"]);
            return report.skip_rest(&GUEST_CHECKS);
        }
    };
    report.pass("/dev/kvm", "opens");
    report.pass("capabilities", &format!("all {} that are needed", vm::REQUIRED.len()));
    match prepare(&kvm) {
        // The VM owns the memory that the vCPU runs in, so it has to outlive the run.
        Ok((_vm, vcpu, khz)) => run(vcpu, khz, &mut report),
        Err(error) => {
            report.fail(GUEST_CHECKS[0], format!("cannot set up a guest: {error}"));
            report.skip_rest(&GUEST_CHECKS)
        }
    }
}

/// A VM with its vCPU about to enter the tiny guest, and the TSC's kHz.
fn prepare(kvm: &Kvm) -> Result<(Vm, VcpuFd, u32), Box<dyn std::error::Error>> {
    let ram = Arc::new(GuestRam::new(RAM)?);
    guest::load(&ram)?;
    let mut vm = Vm::new(kvm, 1)?;
    vm.attach_ram(&ram)?;
    let vcpu = vm.create_vcpu(0)?;
    let entry = Entry {
        rip: guest::KERNEL,
        pml4: guest::TABLES,
        gdt: guest::GDT_AT,
        boot_info: 0,
        features: CpuFeatures { cr4: 0, ..vm.features() },
    };
    entry::set(&vcpu, &entry, 0, guest::KERNEL_STACK)?;
    let mut sregs = vcpu.get_sregs().map_err(KvmError::ioctl("KVM_GET_SREGS"))?;
    sregs.gdt.base = guest::GDT_AT;
    (sregs.idt.base, sregs.idt.limit) = (guest::IDT_AT, 0xfff);
    sregs.tr = kvm_segment { base: guest::TSS_AT, selector: 0x40, ..sregs.tr };
    vcpu.set_sregs(&sregs).map_err(KvmError::ioctl("KVM_SET_SREGS"))?;
    let khz = vcpu.get_tsc_khz().map_err(KvmError::ioctl("KVM_GET_TSC_KHZ"))?;
    Ok((vm, vcpu, khz))
}

fn run(mut vcpu: VcpuFd, khz: u32, report: &mut Report) -> Report {
    if let Err(error) = kick::prepare_signal() {
        report.fail(GUEST_CHECKS[0], error.to_string());
        return report.skip_rest(&GUEST_CHECKS);
    }
    let kicker = Kicker::new(&mut vcpu);
    let own_kicker = kicker.clone();
    let (words, heard) = channel();
    let spawned = std::thread::Builder::new().name("doctor".to_owned()).spawn(move || {
        let mut deadline_kick = false;
        while !deadline_kick && step(&mut vcpu, &words, &mut deadline_kick) {}
        own_kicker.retire();
    });
    let thread = match spawned {
        Ok(thread) => thread,
        Err(error) => {
            report.fail(GUEST_CHECKS[0], format!("cannot start a thread: {error}"));
            return report.skip_rest(&GUEST_CHECKS);
        }
    };
    listen(&heard, khz, report);
    kicker.kick(&thread);
    let _ = thread.join();
    report.skip_rest(&GUEST_CHECKS)
}

/// One stay in the guest; false when it is the last.
fn step(vcpu: &mut VcpuFd, words: &Sender<Word>, kicked: &mut bool) -> bool {
    let word = match vcpu.run() {
        Ok(VcpuExit::IoOut(port, data)) => {
            let value = data.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
            Word::Port(port, value)
        }
        Ok(VcpuExit::Intr | VcpuExit::Hlt) => return true,
        Ok(VcpuExit::Shutdown) => Word::Gone("triple fault".to_owned()),
        Ok(VcpuExit::InternalError) => Word::Gone("KVM internal error".to_owned()),
        Ok(VcpuExit::FailEntry(reason, _)) => {
            Word::Gone(format!("the CPU refused to enter, reason {reason:#x}"))
        }
        Ok(other) => Word::Gone(format!("unexpected exit {other:?}")),
        Err(error) if error.errno() == libc::EINTR => {
            *kicked = true;
            return false;
        }
        Err(error) => Word::Gone(format!("KVM_RUN: {error}")),
    };
    let goes_on = matches!(word, Word::Port(..));
    words.send(word).is_ok() && goes_on
}

/// What the next check is called, and what to say if the guest never passes it.
fn explanation(check: &str) -> &'static str {
    match check {
        "ring 0" => "a guest does not even begin to run",
        "system calls" => "SYSCALL from guest ring 3 does not arrive in guest ring 0 as it should",
        "page fault" => "a page fault of guest ring 3 is not handled in guest ring 0",
        _ => "the TSC deadline timer does not interrupt a halted guest",
    }
}

fn listen(heard: &Receiver<Word>, khz: u32, report: &mut Report) {
    let end = Instant::now() + LIMIT;
    let nanoseconds =
        |ticks: u32, count: u64| f64::from(ticks) * 1e6 / f64::from(khz.max(1)) / (count as f64);
    let mut next = 0;
    let mut detail = String::new();
    loop {
        let Some(check) = GUEST_CHECKS.get(next).copied() else { return };
        let left = end.saturating_duration_since(Instant::now());
        match heard.recv_timeout(left) {
            Ok(Word::Port(guest::PORT_PASSED, 1)) => {}
            Ok(Word::Port(guest::PORT_LOOP_TICKS, ticks)) => {
                let each = nanoseconds(ticks, 2 * guest::LOOP_STEPS);
                next = 1;
                if each > SLOWEST_NS {
                    report.fail(check, format!(
                        "{each:.0} ns per instruction: guest ring 0 is emulated, not run, by this host's KVM"
                    ));
                } else {
                    report.pass(check, &format!("{each:.1} ns per instruction"));
                }
            }
            Ok(Word::Port(guest::PORT_SYSCALL_TICKS, ticks)) => {
                detail = format!("{:.0} ns each", nanoseconds(ticks, guest::SYSCALLS));
            }
            Ok(Word::Port(guest::PORT_PASSED, number)) if number as usize == next + 1 => {
                report.pass(check, if detail.is_empty() { "works" } else { &detail });
                detail.clear();
                next += 1;
            }
            Ok(Word::Port(guest::PORT_EXCEPTION, vector)) => {
                report.fail(check, format!("{} (exception {vector} instead)", explanation(check)));
                return;
            }
            Ok(Word::Port(port, value)) => {
                report.fail(check, format!("{} (wrote {value:#x} to port {port:#x})", explanation(check)));
                return;
            }
            Ok(Word::Gone(what)) => {
                report.fail(check, format!("{} ({what})", explanation(check)));
                return;
            }
            Err(RecvTimeoutError::Timeout) => {
                report
                    .fail(check, format!("{} (no answer within {} s)", explanation(check), LIMIT.as_secs()));
                return;
            }
            Err(RecvTimeoutError::Disconnected) => {
                report.fail(check, format!("{} (the vCPU thread ended)", explanation(check)));
                return;
            }
        }
    }
}
