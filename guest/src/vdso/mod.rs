//! The vDSO: an ELF image compiled from `guest/vdso` and embedded here, copied into frames at boot, and the data page
//! that follows it. The clock of the kernel itself reads the same page, so that both always agree.

mod data;

use crate::clock;
use alloc::vec::Vec;
use chitin_core::frame::{FRAME_SIZE, Frame};
use chitin_core::once::Once;
use core::sync::atomic::{AtomicBool, Ordering, fence};
pub(crate) use data::Data;

static IMAGE: &[u8] = include_bytes!(env!("CHITIN_VDSO"));

static FRAMES: Once<Vec<Frame>> = Once::new();
static UPDATING: AtomicBool = AtomicBool::new(false);

/// Copies the image into frames and fills the data page. Without memory for it there is no vDSO.
pub(crate) fn init() {
    let mut frames = Vec::new();
    for page in IMAGE.chunks(FRAME_SIZE) {
        let Some(frame) = Frame::zeroed() else { return };
        frame.copy_in(0, page);
        frames.push(frame);
    }
    let Some(data) = Frame::zeroed() else { return };
    frames.push(data);
    FRAMES.set(frames);
    update();
}

/// Takes the newest pairing over into the data page.
pub(crate) fn update() {
    let Some(frame) = FRAMES.get().and_then(|frames| frames.last()) else { return };
    if UPDATING.swap(true, Ordering::Acquire) {
        return;
    }
    let data = clock::snapshot();
    let page = frame.as_ptr().cast::<Data>();
    // SAFETY: the frame is this module's, larger than the data and aligned; user code only reads it. One CPU writes at a
    // time, and readers that see an odd or changed sequence number start again.
    unsafe {
        let sequence = (&raw const (*page).sequence).read_volatile();
        (&raw mut (*page).sequence).write_volatile(sequence | 1);
        fence(Ordering::SeqCst);
        page.write_volatile(Data { sequence: sequence | 1, ..data });
        fence(Ordering::SeqCst);
        (&raw mut (*page).sequence).write_volatile((sequence | 1).wrapping_add(1));
    }
    UPDATING.store(false, Ordering::Release);
}

/// Frames of the image and its data page.
pub(crate) fn frames() -> &'static [Frame] {
    FRAMES.get().map_or(&[], Vec::as_slice)
}
