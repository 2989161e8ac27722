//! Hands RAM to the frame allocator.
//!
//! The metadata lies at the first free byte. It is valid when it is all zero, as fresh RAM is, so nothing of it is
//! touched: a large sandbox starts as fast as a small one.

use crate::mem::direct;
use chitin_core::frame::{self, FRAME_SIZE, Meta};
use chitin_proto::boot::BootInfo;
use chitin_proto::layout::RAM_GPA;
use core::ptr::NonNull;

/// Makes all RAM from `free_start` on allocatable; `false` if the boot information makes no sense.
///
/// # Safety
/// Called once, with boot information written by the VMM; RAM from `free_start` on reads as zero and has no user.
pub(crate) unsafe fn init(boot: &BootInfo) -> bool {
    let frames = (boot.ram_size / FRAME_SIZE as u64) as usize;
    let metas_at = boot.free_start.next_multiple_of(FRAME_SIZE as u64);
    let metas_end = metas_at + (frames * size_of::<Meta>()) as u64;
    let first_free =
        metas_end.next_multiple_of(FRAME_SIZE as u64).saturating_sub(RAM_GPA) / FRAME_SIZE as u64;
    let Ok(first_free) = u32::try_from(first_free) else { return false };
    if boot.free_start < RAM_GPA || first_free as usize >= frames {
        return false;
    }
    let Some(base) = NonNull::new(direct::<u8>(RAM_GPA)) else { return false };
    // SAFETY: free RAM that reads as zero, which is a valid `Meta`; nobody else uses it.
    let metas: &'static [Meta] = unsafe { core::slice::from_raw_parts(direct::<Meta>(metas_at), frames) };
    // SAFETY: the caller's contract; frames before `first_free` are the VMM's and the metadata.
    unsafe { frame::init(base, RAM_GPA, metas, first_free) }
}
