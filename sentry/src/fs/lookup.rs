//! Path look-up (path_resolution(7)).

use crate::abi::Errno;
use crate::fs::{FsCx, Path};

/// Makes the missing directories of `path` below `root`.
pub(crate) fn mkdir_all(cx: &FsCx<'_>, root: &Path, path: &[u8]) -> Result<Path, Errno> {
    let mut at = root.clone();
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        at = at.child(cx, name)?;
    }
    Ok(at)
}
