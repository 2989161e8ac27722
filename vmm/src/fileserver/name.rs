//! Names of directory entries as the guest gives them, checked.

use std::ffi::{CStr, CString};

/// Longest name, bytes (`NAME_MAX`).
const MAX: usize = 255;

/// One path component: not empty, no `/`, no NUL, neither `.` nor `..`, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(CString);

impl Name {
    /// Checks `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let bad =
            bytes.is_empty() || bytes.len() > MAX || bytes == b"." || bytes == b".." || bytes.contains(&b'/');
        if bad { None } else { CString::new(bytes).ok().map(Self) }
    }

    /// For system calls.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_components_pass() {
        for good in [b"a".as_slice(), b"...", b".a", b"a b", b"\xff\xfe", &[b'x'; 255]] {
            assert!(Name::new(good).is_some());
        }
        for bad in [b"".as_slice(), b".", b"..", b"a/b", b"/", b"a\0b", &[b'x'; 256]] {
            assert!(Name::new(bad).is_none());
        }
    }
}
