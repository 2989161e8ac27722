//! The zero frame: what anonymous memory reads as before it is written.

use chitin_core::frame::Frame;
use chitin_core::once::Once;

static ZERO: Once<Frame> = Once::new();

/// The zero frame; nobody writes to it. `None` when there is no memory for it.
pub(crate) fn frame() -> Option<&'static Frame> {
    loop {
        if let Some(zero) = ZERO.get() {
            return Some(zero);
        }
        // Of two made at the same time the first wins.
        ZERO.set(Frame::zeroed()?);
    }
}
