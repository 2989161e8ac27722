//! A machine: VM, RAM with everything laid out in it, queues, vCPUs.
//!
//! | module | contents |
//! |---|---|
//! | [`memory`] | guest RAM |
//! | [`image`] | the guest kernel's ELF file |
//! | [`plan`] | where the VMM's things lie in RAM |
//! | [`paging`] | boot page tables |
//! | [`clock`] | the time page |
//! | [`console`] | the log ring |
//! | [`notice`] | mailbox from vCPU and device threads to the main loop |

pub mod clock;
pub mod console;
pub mod image;
pub mod memory;
pub mod notice;
pub mod paging;
pub mod plan;

use crate::event::Event;
use crate::jail::JailError;
use crate::jail::seccomp::Mode;
use crate::kvm::KvmError;
use crate::kvm::counters::ExitCounters;
use crate::kvm::doorbell::Doorbells;
use crate::kvm::entry::{Entry, GDT};
use crate::kvm::vcpu::{Gate, Shared, Vcpus};
use crate::kvm::vm::{self, Vm};
use crate::virtio::DeviceSpec;
use crate::virtio::queue::{QueueError, VirtQueue};
use chitin_proto::boot::{BootInfo, MAGIC, MAX_DEVICES};
use chitin_proto::device::{CONFIG_SIZE, DeviceDesc, ring_bytes};
use chitin_proto::layout::{self, MAX_QUEUES};
use chitin_proto::vmm::MachineConfig;
use clock::{ClockError, GuestClock};
use image::{Image, ImageError};
use kvm_ioctls::VcpuFd;
use memory::{GuestRam, MemoryError};
use notice::Notices;
use paging::LargestPage;
use plan::Plan;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromZeros, IntoBytes};

/// Least RAM of a machine.
pub const MIN_RAM: u64 = 16 << 20;
/// Granularity of RAM.
pub const RAM_STEP: u64 = 2 << 20;
/// Most RAM: what the direct map's part of the address space holds.
pub const MAX_RAM: u64 = 256 << 30;

/// Why a machine could not be made or started.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The configuration makes no sense.
    #[error("bad configuration: {0}")]
    Config(String),
    /// KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Kernel image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Clock.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// Jail.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// A descriptor or random bytes could not be had.
    #[error("cannot get {0}: {1}")]
    Resource(&'static str, std::io::Error),
}

/// A machine, attached or running.
#[derive(Debug)]
pub struct Machine {
    ram: Arc<GuestRam>,
    vcpus: Vcpus,
    boot_cpu: Option<VcpuFd>,
    log_event: Arc<Event>,
    configured: Instant,
    tsc_khz: u64,
    tsc_at_create: u64,
    cpus: u32,
    time_to_start: Duration,
}

/// The queues of one device.
pub type DeviceQueues = Vec<VirtQueue>;

fn check(config: &MachineConfig) -> Result<(), MachineError> {
    let bad = |what: String| Err(MachineError::Config(what));
    if config.version != chitin_proto::VERSION {
        return bad(format!(
            "protocol version {}, this VMM speaks {}",
            config.version,
            chitin_proto::VERSION
        ));
    }
    if config.cpus == 0 || config.cpus as usize > layout::MAX_CPUS {
        return bad(format!("{} CPUs, 1 to {} are possible", config.cpus, layout::MAX_CPUS));
    }
    if config.ram_bytes < MIN_RAM || !config.ram_bytes.is_multiple_of(RAM_STEP) || config.ram_bytes > MAX_RAM
    {
        return bad(format!(
            "{} bytes of RAM, not a multiple of 2 MiB from 16 MiB to 256 GiB",
            config.ram_bytes
        ));
    }
    Ok(())
}

impl Machine {
    /// Builds a machine that is ready to start, and the queues of each of `devices`.
    ///
    /// # Errors
    /// [`MachineError`], naming what is missing.
    pub fn new(
        config: &MachineConfig,
        image: &Image,
        devices: &[DeviceSpec],
        notices: Arc<Notices>,
        mode: Mode,
    ) -> Result<(Self, Vec<DeviceQueues>), MachineError> {
        check(config)?;
        let configured = Instant::now();
        let kvm = vm::open()?;
        let mut vm = Vm::new(&kvm, config.cpus)?;
        let ram = Arc::new(GuestRam::new(config.ram_bytes)?);
        vm.attach_memory(&ram, image)?;
        let features = vm.features();

        let plan = Plan::new(config.ram_bytes, image.data_len(), config.cpus, devices)?;
        for segment in image.data() {
            ram.write(plan.data + (segment.va - layout::DATA_VA), image.data_bytes(segment))?;
        }
        let largest = if features.pages_1g { LargestPage::Size1G } else { LargestPage::Size2M };
        let tables = paging::build(&ram, &plan, image, largest)?;
        ram.write(plan.gdt, GDT.as_bytes())?;
        let log_event = Event::new().map_err(|error| MachineError::Resource("an eventfd", error))?;
        let log_event = Arc::new(log_event);
        let mut doorbells = Doorbells::new(Arc::clone(&log_event));
        let queues = wire_queues(&vm, &plan, devices, &mut doorbells)?;

        let entry = Entry {
            rip: image.entry(),
            pml4: tables.pml4,
            gdt: plan.gdt,
            boot_info: layout::DIRECT_VA + layout::RAM_GPA,
            features,
        };
        let clock = GuestClock::new(Arc::clone(&ram), plan.time_page);
        let shared = Shared {
            vm,
            entry,
            plan,
            notices,
            clock,
            doorbells,
            counters: ExitCounters::default(),
            cpus: config.cpus,
            gate: Gate::default(),
            seccomp: mode,
        };
        let vcpus = Vcpus::new(Arc::new(shared))?;
        let boot_cpu = vcpus.prepare(0)?;
        let tsc_khz = u64::from(boot_cpu.get_tsc_khz().map_err(KvmError::ioctl("KVM_GET_TSC_KHZ"))?);
        let since = u64::try_from(configured.elapsed().as_nanos()).unwrap_or(0);
        let tsc_at_create =
            clock::guest_tsc(&boot_cpu)?.wrapping_sub(since.saturating_mul(tsc_khz) / 1_000_000);

        let machine = Self {
            ram,
            vcpus,
            boot_cpu: Some(boot_cpu),
            log_event,
            configured,
            tsc_khz,
            tsc_at_create,
            cpus: config.cpus,
            time_to_start: Duration::ZERO,
        };
        machine.write_boot_info(tables.end)?;
        Ok((machine, queues))
    }

    fn write_boot_info(&self, free_start: u64) -> Result<(), MachineError> {
        let shared = self.vcpus.shared();
        let mut seed = [0; 32];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| MachineError::Resource("random bytes", errno.into()))?;
        let mut devices = [DeviceDesc::new_zeroed(); MAX_DEVICES];
        for (slot, device) in devices.iter_mut().zip(&shared.plan.devices) {
            *slot = *device;
        }
        let info = BootInfo {
            magic: MAGIC,
            version: chitin_proto::VERSION,
            cpus: self.cpus,
            ram_size: self.ram.size(),
            free_start,
            boot_pml4: shared.entry.pml4,
            tsc_khz: self.tsc_khz,
            time_page: shared.plan.time_page,
            tsc_at_create: self.tsc_at_create,
            xsave_size: shared.entry.features.xsave_size,
            device_count: u32::try_from(shared.plan.devices.len()).unwrap_or(0),
            seed,
            devices,
        };
        Ok(self.ram.write_value(layout::RAM_GPA, &info)?)
    }

    /// Guest RAM.
    #[must_use]
    pub const fn ram(&self) -> &Arc<GuestRam> {
        &self.ram
    }

    /// Becomes readable when the guest has written to its log.
    #[must_use]
    pub const fn log_event(&self) -> &Arc<Event> {
        &self.log_event
    }

    /// Exits so far.
    #[must_use]
    pub fn exits(&self) -> &ExitCounters {
        &self.vcpus.shared().counters
    }

    /// The vCPU threads.
    #[must_use]
    pub const fn vcpus(&self) -> &Vcpus {
        &self.vcpus
    }

    /// Time from configuration to the start of the boot CPU's thread.
    #[must_use]
    pub const fn time_to_start(&self) -> Duration {
        self.time_to_start
    }

    /// Has kicks of the device's queue cost no exit to user space, if there is an ioeventfd to be had; it waits for a grace
    /// period of the host's, so only what is really used should have one.
    ///
    /// # Errors
    /// [`MachineError::Kvm`]; [`MachineError::Config`] when there is no such device.
    pub fn speed_up_kicks(&self, device: usize, queue: u16, kick: &Event) -> Result<(), MachineError> {
        let shared = self.vcpus.shared();
        let Some(device) = shared.plan.devices.get(device) else {
            return Err(MachineError::Config(format!("there is no device {device}")));
        };
        Ok(shared.vm.add_doorbell(device.doorbell, queue, kick)?)
    }

    /// Changes the configuration space of a device, where the guest reads it anew.
    ///
    /// # Errors
    /// [`MachineError::Memory`].
    pub fn write_config(&self, device: usize, config: &[u8; CONFIG_SIZE]) -> Result<(), MachineError> {
        let within = offset_of!(BootInfo, devices) + device * size_of::<DeviceDesc>();
        let at = layout::RAM_GPA + (within + offset_of!(DeviceDesc, config)) as u64;
        Ok(self.ram.write(at, config)?)
    }

    /// Starts the boot CPU.
    ///
    /// # Errors
    /// [`MachineError`].
    pub fn start(&mut self) -> Result<(), MachineError> {
        let Some(vcpu) = self.boot_cpu.take() else {
            return Err(MachineError::Config("the machine has been started before".to_owned()));
        };
        self.vcpus.shared().clock.pair(&vcpu)?;
        self.time_to_start = self.configured.elapsed();
        Ok(self.vcpus.spawn(0, vcpu)?)
    }

    /// Starts a further CPU at the guest's wish. `Ok(false)` when the guest may not wish that.
    ///
    /// # Errors
    /// [`MachineError::Kvm`].
    pub fn start_cpu(&mut self, index: u32) -> Result<bool, MachineError> {
        if index >= self.cpus || self.vcpus.is_started(index) {
            return Ok(false);
        }
        let vcpu = self.vcpus.prepare(index)?;
        self.vcpus.spawn(index, vcpu)?;
        Ok(true)
    }

    /// ns from configuration to the guest's first user instruction, 0 before it.
    #[must_use]
    pub fn first_user_ns(&self) -> u64 {
        match self.vcpus.shared().clock.first_user_tsc() {
            0 => 0,
            tsc => {
                let ticks = u128::from(tsc.wrapping_sub(self.tsc_at_create));
                u64::try_from(ticks * 1_000_000 / u128::from(self.tsc_khz.max(1))).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Makes the queues of all devices with their doorbells and interrupts.
fn wire_queues(
    vm: &Vm,
    plan: &Plan,
    devices: &[DeviceSpec],
    doorbells: &mut Doorbells,
) -> Result<Vec<DeviceQueues>, MachineError> {
    let mut all = Vec::with_capacity(devices.len());
    let total: u32 = plan.devices.iter().map(|device| u32::from(device.queues)).sum();
    if total as usize > MAX_QUEUES {
        return Err(MachineError::Config(format!("{total} device queues")));
    }
    vm.route_interrupts(total)?;
    for (device, spec) in plan.devices.iter().zip(devices) {
        let mut queues = Vec::new();
        for index in 0..device.queues {
            let name = spec.queue_names.get(usize::from(index)).copied().unwrap_or("queue");
            let rings = device.rings + ring_bytes(device.queue_size) * u64::from(index);
            let queue = VirtQueue::new(name, device.queue_size, rings)?;
            if spec.busy_queues.contains(&index) {
                vm.add_doorbell(device.doorbell, index, queue.kick())?;
            } else {
                doorbells.add(device.doorbell, index, Arc::clone(queue.kick()));
            }
            vm.add_interrupt(u32::from(device.first_vector + index), queue.interrupt())?;
            queues.push(queue);
        }
        all.push(queues);
    }
    Ok(all)
}
