//! The virtual machine as KVM knows it.
//!
//! | module | contents |
//! |---|---|
//! | [`vm`] | the VM: irqchip, memory slots, doorbells, interrupt routes |
//! | [`cpuid`] | what the guest's CPUID says, and XCR0 |
//! | [`doorbell`] | queue kicks that exit to user space |
//! | [`entry`] | register state at the first instruction |
//! | [`kick`] | getting a vCPU out of the guest |
//! | [`vcpu`] | vCPU threads and their exits |
//! | [`counters`] | exits by reason |

pub mod counters;
pub mod cpuid;
pub mod doorbell;
pub mod entry;
pub mod kick;
pub mod vcpu;
pub mod vm;

/// Why KVM would not do something.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// /dev/kvm could not be opened.
    #[error("cannot open /dev/kvm: {0}{hint}", hint = open_hint(.0))]
    Open(std::io::Error),
    /// The kernel's KVM lacks something.
    #[error("this host's KVM lacks {0}")]
    Missing(&'static str),
    /// An ioctl failed.
    #[error("{0} failed: {1}")]
    Ioctl(&'static str, std::io::Error),
    /// A thread could not be started.
    #[error("cannot start the thread of vCPU {0}: {1}")]
    Thread(u32, std::io::Error),
}

impl KvmError {
    /// Wraps the error of ioctl `name`.
    pub(crate) fn ioctl(name: &'static str) -> impl Fn(vmm_sys_util::errno::Error) -> Self {
        move |error| Self::Ioctl(name, error.into())
    }
}

fn open_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            " (is the kvm module loaded, does this machine offer virtualization?)"
        }
        std::io::ErrorKind::PermissionDenied => " (run as root or as a member of group kvm)",
        _ => "",
    }
}
