//! Where everything the VMM puts into RAM lies, decided once before boot.
//!
//! ```text
//! boot info | log ring | data+bss | time page | rings of each device | GDT | page tables | boot stacks | free
//! ```

use super::memory::MemoryError;
use crate::virtio::DeviceSpec;
use chitin_proto::boot::MAX_DEVICES;
use chitin_proto::device::{DeviceDesc, ring_bytes};
use chitin_proto::layout::{self, PAGE_SIZE};

/// Guest-physical addresses of what the VMM lays out.
#[derive(Debug)]
pub struct Plan {
    /// First byte of the kernel's data.
    pub data: u64,
    /// Time page.
    pub time_page: u64,
    /// Device descriptors with their rings placed.
    pub devices: Vec<DeviceDesc>,
    /// GDT.
    pub gdt: u64,
    /// First byte of the boot stacks, [`layout::BOOT_STACK_SIZE`] each.
    pub stacks: u64,
    /// First byte of the page tables; they grow up to `free_start`.
    pub tables: u64,
}

impl Plan {
    /// Lays out RAM for a kernel with `data_len` bytes of data.
    ///
    /// # Errors
    /// [`MemoryError::Layout`] when it cannot fit `ram_size`.
    pub fn new(ram_size: u64, data_len: u64, cpus: u32, devices: &[DeviceSpec]) -> Result<Self, MemoryError> {
        let mut next = layout::RAM_GPA + layout::LOG_OFFSET + layout::LOG_SIZE;
        let mut take = |len: u64| {
            let at = next;
            next += len.next_multiple_of(PAGE_SIZE);
            at
        };
        let data = take(data_len);
        let time_page = take(PAGE_SIZE);
        let mut placed = Vec::with_capacity(devices.len());
        let mut first_vector = 0;
        let mut doorbell = layout::PORT_DOORBELL;
        for spec in devices.iter().take(MAX_DEVICES) {
            let rings = take(ring_bytes(spec.queue_size) * u64::from(spec.queues));
            placed.push(DeviceDesc {
                kind: spec.kind,
                queues: spec.queues,
                queue_size: spec.queue_size,
                doorbell,
                first_vector,
                reserved: 0,
                features: spec.features,
                rings,
                config: spec.config,
            });
            first_vector += spec.queues;
            doorbell += 2;
        }
        let gdt = take(PAGE_SIZE);
        let stacks = take(layout::BOOT_STACK_SIZE * u64::from(cpus));
        let plan = Self { data, time_page, devices: placed, gdt, stacks, tables: next };
        // Room for the page tables and a kernel that has just begun.
        if plan.tables + (4 << 20) > layout::RAM_GPA + ram_size {
            return Err(MemoryError::Layout(ram_size));
        }
        Ok(plan)
    }

    /// Kernel-virtual top of the boot stack of CPU `cpu`.
    #[must_use]
    pub fn stack_top(&self, cpu: u32) -> u64 {
        layout::DIRECT_VA + self.stacks + layout::BOOT_STACK_SIZE * (u64::from(cpu) + 1)
    }
}
