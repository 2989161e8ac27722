//! [`ImageLayout`]: where the parts of a program image are, as `/proc/PID/stat` and prctl(PR_SET_MM) name them.

use crate::fs::OpenFile;
use crate::fs::node_state::DenyWrite;
use crate::platform;
use alloc::sync::Arc;

/// Addresses of the parts of a program image.
#[derive(Clone, Default)]
pub struct ImageLayout {
    /// First and last byte of the code, exclusive.
    pub code: (u64, u64),
    /// Of the initialised data.
    pub data: (u64, u64),
    /// Lowest program break.
    pub brk_start: u64,
    /// Program break now.
    pub brk: u64,
    /// Initial stack pointer.
    pub stack_start: u64,
    /// Argument strings.
    pub arguments: (u64, u64),
    /// Environment strings.
    pub environment: (u64, u64),
    /// The auxiliary vector.
    pub auxv: (u64, u64),
    /// Start of the vDSO image, 0 when there is none.
    pub vdso: u64,
    /// The executable (`/proc/PID/exe`).
    pub executable: Option<Arc<OpenFile>>,
    /// Keeps the executable from being written to.
    pub deny_write: Option<DenyWrite>,
}

/// A random number below 2^`bits`.
pub(crate) fn random_bits(bits: u32) -> u64 {
    let mut bytes = [0; 8];
    platform::get().entropy(&mut bytes);
    u64::from_le_bytes(bytes) & ((1 << bits) - 1)
}
