//! Block devices of the host, and raw images, that a container gets.

use chitin_proto::block::ID_BYTES;
use chitin_proto::vmm::Access;
use rustix::fs::{
    FileType, FlockOperation, Mode, OFlags, SeekFrom, flock, fstat, ioctl_blkpbszget, ioctl_blksszget, major,
    minor, open, seek,
};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Most block devices of a sandbox.
pub use chitin_proto::block::SLOTS;

/// A block device that a container is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBlock {
    /// What it is on the host.
    pub source: BlockSource,
    /// May the container write?
    pub access: Access,
    /// What the host's page cache is for.
    pub caching: Caching,
    /// Its absolute path in the container.
    pub path: String,
    /// Permission bits of its special file.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a block device is on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockSource {
    /// A raw image or a special file.
    Path(PathBuf),
    /// The block device of that number, major and minor.
    Number(u32, u32),
}

/// Whether the host caches what the guest caches already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// The host's page cache serves too.
    Host,
    /// `O_DIRECT`.
    None,
}

/// One that is open.
#[derive(Debug)]
pub struct OpenBlock {
    /// The descriptor.
    pub file: OwnedFd,
    /// What it was opened for.
    pub access: Access,
    /// Bytes.
    pub bytes: u64,
    /// Logical block size.
    pub block_size: u32,
    /// Physical block size.
    pub physical_block_size: u32,
    /// Serial number.
    pub serial: String,
}

/// Why a block device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// It cannot be opened.
    #[error("block device {}: {source}", path.display())]
    Open {
        /// Path on the host.
        path: PathBuf,
        /// Operating system error.
        source: io::Error,
    },
    /// The host has no such device.
    #[error("block device {major}:{minor} for {path}: the host has none of that number")]
    Unknown {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
        /// Path in the container.
        path: String,
    },
    /// It is something else.
    #[error("block device {}: neither a block device nor a regular file", path.display())]
    Kind {
        /// Path on the host.
        path: PathBuf,
    },
    /// It has no contents.
    #[error("block device {}: it is empty; an image has at least one block of {block_size} bytes", path.display())]
    Empty {
        /// Path on the host.
        path: PathBuf,
        /// Logical block size.
        block_size: u32,
    },
    /// Another sandbox, or somebody else who locks it, uses the image.
    #[error("block device {}: the image is in use", path.display())]
    InUse {
        /// Path on the host.
        path: PathBuf,
    },
}

/// Opens a planned device. An image is locked as long as the descriptor lives, in the VMM too: several may read it, or one
/// may write.
///
/// # Errors
/// [`BlockError`].
pub fn open_block(planned: &PlannedBlock) -> Result<OpenBlock, BlockError> {
    let path = match &planned.source {
        BlockSource::Path(path) => path.clone(),
        BlockSource::Number(major, minor) => {
            let unknown = || BlockError::Unknown { major: *major, minor: *minor, path: planned.path.clone() };
            by_number(*major, *minor).ok_or_else(unknown)?
        }
    };
    let fail = |errno: Errno| BlockError::Open { path: path.clone(), source: errno.into() };
    let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags.set(OFlags::DIRECT, planned.caching == Caching::None);
    let file = match planned.access {
        Access::ReadOnly => open(&path, flags | OFlags::RDONLY, Mode::empty()),
        Access::ReadWrite => open(&path, flags | OFlags::RDWR, Mode::empty()),
    }
    .map_err(fail)?;
    let stat = fstat(&file).map_err(fail)?;
    let mut access = planned.access;
    let (block_size, physical_block_size) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => {
            if let BlockSource::Number(wanted_major, wanted_minor) = planned.source
                && (major(stat.st_rdev), minor(stat.st_rdev)) != (wanted_major, wanted_minor)
            {
                return Err(BlockError::Unknown {
                    major: wanted_major,
                    minor: wanted_minor,
                    path: planned.path.clone(),
                });
            }
            if is_read_only(stat.st_rdev) {
                access = Access::ReadOnly;
            }
            let logical = ioctl_blksszget(&file).map_err(fail)?;
            (logical, ioctl_blkpbszget(&file).unwrap_or(logical).max(logical))
        }
        FileType::RegularFile => {
            let how = match access {
                Access::ReadOnly => FlockOperation::NonBlockingLockShared,
                Access::ReadWrite => FlockOperation::NonBlockingLockExclusive,
            };
            // A file system without locks is none of ours to mend.
            if flock(&file, how) == Err(Errno::WOULDBLOCK) {
                return Err(BlockError::InUse { path });
            }
            let unit = if planned.caching == Caching::None { 4096 } else { 512 };
            (unit, 4096)
        }
        _ => return Err(BlockError::Kind { path }),
    };
    let bytes = seek(&file, SeekFrom::End(0)).map_err(fail)?;
    if bytes < u64::from(block_size) {
        return Err(BlockError::Empty { path, block_size });
    }
    let serial = serial(&path);
    Ok(OpenBlock { file, access, bytes, block_size, physical_block_size, serial })
}

/// Path of the special file of a block device.
fn by_number(major: u32, minor: u32) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(Path::new("/dev").join(name))
}

/// Whether the host's device is switched to reading only, whatever its special file allows.
fn is_read_only(device: u64) -> bool {
    let path = format!("/sys/dev/block/{}:{}/ro", major(device), minor(device));
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

/// The end of a path's name: what tells images apart.
fn serial(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain: Vec<char> = name.chars().filter(char::is_ascii_graphic).collect();
    plain.iter().skip(plain.len().saturating_sub(ID_BYTES)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(path: &Path, access: Access) -> PlannedBlock {
        PlannedBlock {
            source: BlockSource::Path(path.to_owned()),
            access,
            caching: Caching::Host,
            path: "/dev/vda".to_owned(),
            mode: 0o660,
            uid: 0,
            gid: 6,
        }
    }

    #[test]
    fn an_image_is_opened_once_for_writing() {
        let directory = std::env::temp_dir().join(format!("chitin-block-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("an-image-with-a-long-name.img");
        std::fs::write(&path, vec![1; 5000]).unwrap();
        let reader = open_block(&planned(&path, Access::ReadOnly)).unwrap();
        assert_eq!((reader.bytes, reader.block_size, reader.access), (5000, 512, Access::ReadOnly));
        assert_eq!(reader.serial, "with-a-long-name.img");
        let writer = |path: &Path| open_block(&planned(path, Access::ReadWrite));
        assert!(matches!(writer(&path), Err(BlockError::InUse { .. })));
        open_block(&planned(&path, Access::ReadOnly)).unwrap();
        drop(reader);
        let held = writer(&path).unwrap();
        assert!(matches!(writer(&path), Err(BlockError::InUse { .. })));
        drop(held);
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(writer(&path), Err(BlockError::Empty { .. })));
        assert!(matches!(writer(&directory), Err(BlockError::Open { .. })));
        assert!(matches!(writer(Path::new("/dev/null")), Err(BlockError::Kind { .. })));
        assert!(writer(&directory.join("none")).unwrap_err().to_string().contains("No such file"));
        let unknown =
            PlannedBlock { source: BlockSource::Number(4000, 1), ..planned(&path, Access::ReadOnly) };
        assert!(matches!(open_block(&unknown), Err(BlockError::Unknown { .. })));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
