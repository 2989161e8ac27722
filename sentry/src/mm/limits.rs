//! [`Limits`]: the resource limits that concern memory (getrlimit(2)), in bytes.

/// `RLIM_INFINITY`.
pub const INFINITY: u64 = u64::MAX;

/// Soft limits that an address space observes. The task keeps the authoritative values and passes changes on by
/// [`crate::mm::Mm::set_limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_AS`: all mappings together.
    pub address_space: u64,
    /// `RLIMIT_DATA`: private writable mappings.
    pub data: u64,
    /// `RLIMIT_STACK`: the growing stack.
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`: locked memory; [`INFINITY`] for a task with `CAP_IPC_LOCK`.
    pub memlock: u64,
}

impl Default for Limits {
    /// What Linux gives the first process.
    fn default() -> Self {
        Self { address_space: INFINITY, data: INFINITY, stack: 8 << 20, memlock: 8 << 20 }
    }
}
