//! The host side of a Chitin sandbox: one process per VM.
//!
//! | module | contents |
//! |---|---|
//! | [`lifecycle`] | Blank → Attached → Running ⇄ Paused, and what is legal where |
//! | [`machine`] | the machine: RAM, kernel image, page tables, log, clock |
//! | [`kvm`] | the VM as KVM knows it: irqchip, slots, vCPU threads |
//! | [`virtio`] | the devices |
//! | [`fileserver`] | the FUSE server behind virtio-fs |
//! | [`sandbox`] | the event loop that ties machine, devices and control channel together |
//! | [`boot`] | `chitin-vmm boot`: the guest kernel without a shim, for its developers |
//! | [`control`] | the channel to the shim |
//! | [`jail`] | what the process may still do |
//! | [`doctor`] | can this host run guests? |
#![deny(unsafe_code)]

pub mod boot;
pub mod control;
pub mod doctor;
pub mod event;
pub mod fileserver;
pub mod inherited;
pub mod jail;
pub mod kvm;
pub mod lifecycle;
pub mod machine;
pub mod sandbox;
pub mod virtio;
