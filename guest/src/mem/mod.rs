//! Memory: the frame arena, the kernel heap, page tables, address spaces, kernel stacks.
//!
//! | module | contents |
//! |---|---|
//! | [`arena`] | hands RAM to the frame allocator of `chitin-core` |
//! | [`heap`] | the global allocator on top of frames |
//! | [`large`] | allocations larger than any block of frames |
//! | [`tables`] | page tables of a user address space |
//! | [`space`] | [`space::GuestSpace`], the platform's `Space` |
//! | [`tlb`] | shoot-down on other CPUs |
//! | [`copy`] | copies from and to user memory that survive faults |
//! | [`stacks`] | kernel stacks with guard pages |
//!
//! Lock levels: [`STACKS`] < [`SPACE`] < [`HEAP`] < [`LARGE`] < `chitin_core::frame::LEVEL`. All lie above the sentry's own.

use chitin_core::lock::Level;
use chitin_proto::layout::DIRECT_VA;

pub(crate) mod arena;
pub(crate) mod copy;
pub(crate) mod heap;
pub(crate) mod large;
pub(crate) mod space;
pub(crate) mod stacks;
pub(crate) mod tables;
pub(crate) mod tlb;

/// Level of the stack pool's lock.
pub(crate) const STACKS: Level = Level(244);
/// Level of a space's lock.
pub(crate) const SPACE: Level = Level(245);
/// Level of the heap's lock.
pub(crate) const HEAP: Level = Level(247);
/// Level of the lock of the window for large allocations.
pub(crate) const LARGE: Level = Level(248);

/// No frame is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// Direct-map pointer to guest-physical `address`.
#[inline]
pub(crate) fn direct<T>(address: u64) -> *mut T {
    (DIRECT_VA + address) as *mut T
}

/// Guest-physical address of something in the direct map.
#[inline]
pub(crate) fn physical<T: ?Sized>(pointer: *const T) -> u64 {
    (pointer.cast::<u8>() as u64).wrapping_sub(DIRECT_VA)
}
