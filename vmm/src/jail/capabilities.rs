//! Giving capabilities up (capabilities(7)).

use super::{JailError, failed};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

const FILE_SERVER: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

/// Keeps what the file server needs, of what there is; the bounding and ambient sets are emptied.
///
/// # Errors
/// [`JailError::System`].
pub fn keep_file_server() -> Result<(), JailError> {
    let had = capabilities(None).map_err(failed("read capabilities"))?;
    if had.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            // Those that this kernel does not know are not in the set.
            if rustix::thread::capability_is_in_bounding_set(capability).unwrap_or(false) {
                rustix::thread::remove_capability_from_bounding_set(capability)
                    .map_err(failed("empty the capability bounding set"))?;
            }
        }
    }
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
