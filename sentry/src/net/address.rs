//! [`Address`]: where a socket is, in any family.

use super::unix::Name;
use crate::abi::Errno;
use alloc::vec::Vec;

/// `AF_UNSPEC`.
pub const AF_UNSPEC: u16 = 0;
/// `AF_UNIX`.
pub const AF_UNIX: u16 = 1;

/// Bytes of `struct sockaddr_storage`.
pub const MAX_LEN: usize = 128;
/// Bytes of `sun_path`.
const UNIX_PATH_MAX: usize = 108;

/// Where a socket is.
#[derive(Clone, Debug)]
pub enum Address {
    /// Nowhere: connect(2) takes it to end a datagram socket's connection.
    Unspecified,
    /// A unix socket's name.
    Unix(Name),
}

impl Address {
    /// Reads `struct sockaddr`.
    ///
    /// # Errors
    /// `EINVAL` when it is too short or long, `EAFNOSUPPORT` for a family that is not there.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Errno> {
        let (family, rest) = bytes.split_first_chunk().ok_or(Errno::EINVAL)?;
        match u16::from_ne_bytes(*family) {
            AF_UNSPEC => Ok(Self::Unspecified),
            AF_UNIX if rest.len() > UNIX_PATH_MAX => Err(Errno::EINVAL),
            AF_UNIX => Ok(Self::Unix(match rest {
                [] => Name::Unnamed,
                [0, name @ ..] => Name::Abstract(name.to_vec()),
                _ => Name::Path(rest.iter().copied().take_while(|byte| *byte != 0).collect(), None),
            })),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// `struct sockaddr` as user space sees it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Unspecified => AF_UNSPEC.to_ne_bytes().to_vec(),
            Self::Unix(name) => {
                let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
                match name {
                    Name::Unnamed => {}
                    Name::Abstract(name) => {
                        bytes.push(0);
                        bytes.extend_from_slice(name);
                    }
                    Name::Path(path, _) => {
                        bytes.extend_from_slice(path);
                        bytes.push(0);
                    }
                }
                bytes
            }
        }
    }
}
