//! Giving capabilities up (capabilities(7)).

use super::{JailError, failed};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

const FILE_SERVER: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

/// Keeps what the file server needs, of what there is. The bounding set does not matter: no thread can execute a program,
/// and `no_new_privs` would keep it from gaining anything by that.
///
/// # Errors
/// [`JailError::System`].
pub fn keep_file_server() -> Result<(), JailError> {
    let had = capabilities(None).map_err(failed("read capabilities"))?;
    rustix::thread::clear_ambient_capability_set().map_err(failed("clear ambient capabilities"))?;
    set(had.permitted & FILE_SERVER)
}

/// Gives everything up, for the calling thread and those it will start.
///
/// # Errors
/// [`JailError::System`].
pub fn drop_all() -> Result<(), JailError> {
    set(CapabilitySet::empty())
}

fn set(kept: CapabilitySet) -> Result<(), JailError> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(failed("give capabilities up"))
}
