//! [`NamespaceFile`]: what `/proc/PID/ns/*` opens, for setns(2) and for keeping a namespace.

use super::{NetNamespace, PidNamespace, Plain, UtsNamespace};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::fs::{Attr, MountNamespace, OpenFile, Stream, anon};
use crate::ipc::IpcNamespace;
use crate::security::UserNamespace;
use crate::user::{IoReader, IoWriter, UserAddr, UserMemory, UserPtr};
use crate::wait::{PollMask, PollTable, Stop};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;

/// Which namespace.
#[derive(Clone)]
pub enum Contents {
    /// Control groups.
    Cgroup(Arc<Plain>),
    /// System V objects and message queues.
    Ipc(Arc<IpcNamespace>, Arc<Plain>),
    /// Mounts.
    Mount(Arc<MountNamespace>),
    /// Network.
    Net(Arc<NetNamespace>),
    /// Numbers of processes.
    Pid(Arc<PidNamespace>),
    /// Ids and capabilities.
    User(Arc<UserNamespace>),
    /// Names.
    Uts(Arc<UtsNamespace>),
}

impl Contents {
    /// Name and inode number.
    #[must_use]
    pub fn identity(&self) -> (&'static str, u64) {
        match self {
            Self::Cgroup(namespace) => ("cgroup", namespace.ino),
            Self::Ipc(_, identity) => ("ipc", identity.ino),
            Self::Mount(namespace) => ("mnt", namespace.id),
            Self::Net(namespace) => ("net", namespace.ino),
            Self::Pid(namespace) => ("pid", namespace.ino),
            Self::User(namespace) => ("user", namespace.ino),
            Self::Uts(namespace) => ("uts", namespace.ino),
        }
    }

    /// Whose capabilities count in it; of a user namespace, the one that it was made in.
    #[must_use]
    pub fn owner(&self) -> Option<Arc<UserNamespace>> {
        match self {
            Self::Cgroup(namespace) | Self::Ipc(_, namespace) => Some(namespace.owner.clone()),
            Self::Mount(namespace) => Some(namespace.owner.clone()),
            Self::Net(namespace) => Some(namespace.owner.clone()),
            Self::Pid(namespace) => Some(namespace.owner.clone()),
            Self::User(namespace) => namespace.parent().cloned(),
            Self::Uts(namespace) => Some(namespace.owner.clone()),
        }
    }

    /// `CLONE_NEW*` of the kind.
    #[must_use]
    pub const fn flag(&self) -> u64 {
        match self {
            Self::Mount(_) => 0x2_0000,
            Self::Cgroup(_) => 0x200_0000,
            Self::Uts(_) => 0x400_0000,
            Self::Ipc(..) => 0x800_0000,
            Self::User(_) => 0x1000_0000,
            Self::Pid(_) => 0x2000_0000,
            Self::Net(_) => 0x4000_0000,
        }
    }
}

/// An open namespace.
pub struct NamespaceFile(pub Contents);

impl NamespaceFile {
    /// The namespace that an open file stands for.
    ///
    /// # Errors
    /// `EINVAL` when it is no such file.
    pub fn contents_of(file: &OpenFile) -> Result<&Contents, Errno> {
        let stream = file.stream().ok_or(Errno::EINVAL)?;
        stream.as_any().downcast_ref::<Self>().map(|file| &file.0).ok_or(Errno::EINVAL)
    }
}

/// Gives a descriptor of [`Contents::owner`].
pub const NS_GET_USERNS: u32 = 0xb701;
/// Gives a descriptor of the namespace above.
pub const NS_GET_PARENT: u32 = 0xb702;
const NS_GET_NSTYPE: u32 = 0xb703;
const NS_GET_OWNER_UID: u32 = 0xb704;

impl Stream for NamespaceFile {
    fn try_read(&self, _to: &mut IoWriter<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn try_write(&self, _from: &mut IoReader<'_>) -> Result<usize, Stop> {
        Err(Errno::EINVAL.into())
    }

    fn poll(&self, _table: Option<&mut PollTable>) -> PollMask {
        PollMask::IN | PollMask::OUT | PollMask::RDNORM | PollMask::WRNORM
    }

    fn ioctl(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        match (command, &self.0) {
            (NS_GET_NSTYPE, contents) => usize::try_from(contents.flag()).map_err(|_| Errno::EINVAL),
            (NS_GET_OWNER_UID, Contents::User(namespace)) => {
                let user: UserMemory<'_> = cx.user;
                user.write(UserPtr::<u32>::new(UserAddr::new(argument)), &namespace.owner)?;
                Ok(0)
            }
            (NS_GET_OWNER_UID, _) => Err(Errno::EINVAL),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn attr(&self) -> Attr {
        anon::attr(self.0.identity().1, 0o100_444)
    }

    fn name(&self) -> String {
        let (name, ino) = self.0.identity();
        format!("{name}:[{ino}]")
    }

    fn reopen(self: Arc<Self>, flags: u32) -> Result<Arc<dyn Stream>, Errno> {
        if flags & 3 == 0 { Ok(self) } else { Err(Errno::EPERM) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
