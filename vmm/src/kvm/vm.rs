//! The VM: split irqchip, two memory slots, a doorbell (ioeventfd) and an interrupt (irqfd on an MSI route) per queue.

#![expect(unsafe_code, reason = "memory slots point at memory that must stay mapped")]

use super::KvmError;
use super::cpuid::{self, CpuFeatures};
use crate::event::Event;
use crate::machine::image::Image;
use crate::machine::memory::{GuestRam, MemoryError};
use chitin_proto::layout;
use kvm_bindings::{
    CpuId, KVM_CAP_SPLIT_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_MAX_CPUID_ENTRIES, KVM_MEM_READONLY,
    KvmIrqRouting, kvm_enable_cap, kvm_irq_routing_entry, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, VcpuFd, VmFd};
use std::sync::Arc;

/// GSIs below this belong to the I/O APIC that this machine does not have.
const FIRST_GSI: u32 = 24;

/// A virtual machine.
pub struct Vm {
    fd: VmFd,
    cpuid: CpuId,
    features: CpuFeatures,
    cpus: u32,
    // The slots point into these.
    _ram: Option<Arc<GuestRam>>,
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vm")
            .field("features", &self.features)
            .field("cpus", &self.cpus)
            .finish_non_exhaustive()
    }
}

/// What the host's KVM must have, with the names used in messages.
pub const REQUIRED: [(Cap, &str); 8] = [
    (Cap::SplitIrqchip, "a split irqchip (KVM_CAP_SPLIT_IRQCHIP)"),
    (Cap::Ioeventfd, "ioeventfd (KVM_CAP_IOEVENTFD)"),
    (Cap::Irqfd, "irqfd (KVM_CAP_IRQFD)"),
    (Cap::IrqRouting, "interrupt routing (KVM_CAP_IRQ_ROUTING)"),
    (Cap::ReadonlyMem, "read-only memory slots (KVM_CAP_READONLY_MEM)"),
    (Cap::ImmediateExit, "immediate exit (KVM_CAP_IMMEDIATE_EXIT)"),
    (Cap::TscDeadlineTimer, "the TSC deadline timer (KVM_CAP_TSC_DEADLINE_TIMER)"),
    (Cap::Xcrs, "XCR registers (KVM_CAP_XCRS)"),
];

/// Opens /dev/kvm and compares its capabilities with [`REQUIRED`].
///
/// # Errors
/// [`KvmError::Open`] and [`KvmError::Missing`].
pub fn open() -> Result<Kvm, KvmError> {
    let kvm = Kvm::new().map_err(|error| KvmError::Open(error.into()))?;
    for (cap, name) in REQUIRED {
        if !kvm.check_extension(cap) {
            return Err(KvmError::Missing(name));
        }
    }
    Ok(kvm)
}

impl Vm {
    /// Creates a VM for up to `cpus` vCPUs, with its interrupt controllers and without memory.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn new(kvm: &Kvm, cpus: u32) -> Result<Self, KvmError> {
        let fd = kvm.create_vm().map_err(KvmError::ioctl("KVM_CREATE_VM"))?;
        fd.set_tss_address(0xfffb_d000).map_err(KvmError::ioctl("KVM_SET_TSS_ADDR"))?;
        let mut split = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..kvm_enable_cap::default() };
        split.args[0] = u64::from(FIRST_GSI);
        fd.enable_cap(&split).map_err(KvmError::ioctl("KVM_ENABLE_CAP(SPLIT_IRQCHIP)"))?;
        let mut cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(KvmError::ioctl("KVM_GET_SUPPORTED_CPUID"))?;
        let features = cpuid::baseline(&mut cpuid);
        Ok(Self { fd, cpuid, features, cpus, _ram: None })
    }

    /// What the guest's CPUs offer.
    #[must_use]
    pub const fn features(&self) -> CpuFeatures {
        self.features
    }

    /// Makes `ram` and the read-only pages of `image` the VM's memory.
    ///
    /// # Errors
    /// [`KvmError::Ioctl`]; `ENOMEM` and `EEXIST` come from KVM_SET_USER_MEMORY_REGION.
    pub fn attach_memory(&mut self, ram: &Arc<GuestRam>, image: &Image) -> Result<(), KvmError> {
        self.attach_ram(ram)?;
        let slot = kvm_userspace_memory_region {
            slot: 1,
            flags: KVM_MEM_READONLY,
            guest_phys_addr: layout::IMAGE_GPA,
            memory_size: image.slot_len(),
            userspace_addr: image.bytes().as_ptr().addr() as u64,
        };
        // SAFETY: the image stays mapped for the life of the process; the slot is read-only, and its last page is mapped
        // even where the file ends within it.
        unsafe { self.fd.set_user_memory_region(slot) }.map_err(KvmError::ioctl("KVM_SET_USER_MEMORY_REGION"))
    }

    /// Makes `ram` alone the VM's memory.
    ///
    /// # Errors
    /// As [`Vm::attach_memory`].
    pub fn attach_ram(&mut self, ram: &Arc<GuestRam>) -> Result<(), KvmError> {
        let address = ram.host_address().map_err(|error: MemoryError| {
            KvmError::Ioctl("KVM_SET_USER_MEMORY_REGION", std::io::Error::other(error))
        })?;
        let slot = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: layout::RAM_GPA,
            memory_size: ram.size(),
            userspace_addr: address,
        };
        // SAFETY: RAM stays mapped as long as `self` holds its `Arc`.
        unsafe { self.fd.set_user_memory_region(slot) }
            .map_err(KvmError::ioctl("KVM_SET_USER_MEMORY_REGION"))?;
        self._ram = Some(Arc::clone(ram));
        Ok(())
    }

    /// A new vCPU with its CPUID set.
    ///
    /// # Errors
    /// [`KvmError::Ioctl`].
    pub fn create_vcpu(&self, index: u32) -> Result<VcpuFd, KvmError> {
        let vcpu = self.fd.create_vcpu(u64::from(index)).map_err(KvmError::ioctl("KVM_CREATE_VCPU"))?;
        vcpu.set_cpuid2(&cpuid::for_cpu(&self.cpuid, index, self.cpus))
            .map_err(KvmError::ioctl("KVM_SET_CPUID2"))?;
        Ok(vcpu)
    }

    /// Signals `kick` when the guest writes queue index `queue` to `port`.
    ///
    /// # Errors
    /// [`KvmError::Ioctl`].
    pub fn add_doorbell(&self, port: u16, queue: u16, kick: &Event) -> Result<(), KvmError> {
        self.fd
            .register_ioevent(kick.as_eventfd(), &IoEventAddress::Pio(u64::from(port)), queue)
            .map_err(KvmError::ioctl("KVM_IOEVENTFD"))
    }

    /// Routes the interrupts of `queues` queues (of all devices, in order) to vectors from [`layout::VECTOR_QUEUE`] on,
    /// all to CPU 0, the one that surely runs.
    ///
    /// # Errors
    /// [`KvmError::Ioctl`].
    pub fn route_interrupts(&self, queues: u32) -> Result<(), KvmError> {
        let entries: Vec<kvm_irq_routing_entry> = (0..queues)
            .map(|queue| {
                let mut entry = kvm_irq_routing_entry {
                    gsi: FIRST_GSI + queue,
                    type_: KVM_IRQ_ROUTING_MSI,
                    ..kvm_irq_routing_entry::default()
                };
                entry.u.msi.address_lo = 0xfee0_0000;
                entry.u.msi.data = u32::from(layout::VECTOR_QUEUE) + queue;
                entry
            })
            .collect();
        let routing = KvmIrqRouting::from_entries(&entries)
            .map_err(|_| KvmError::Ioctl("KVM_SET_GSI_ROUTING", std::io::Error::other("too many routes")))?;
        self.fd.set_gsi_routing(&routing).map_err(KvmError::ioctl("KVM_SET_GSI_ROUTING"))
    }

    /// Lets a write to `interrupt` raise the interrupt of queue number `queue` of all devices.
    ///
    /// # Errors
    /// [`KvmError::Ioctl`].
    pub fn add_interrupt(&self, queue: u32, interrupt: &Event) -> Result<(), KvmError> {
        self.fd
            .register_irqfd(interrupt.as_eventfd(), FIRST_GSI + queue)
            .map_err(KvmError::ioctl("KVM_IRQFD"))
    }
}
