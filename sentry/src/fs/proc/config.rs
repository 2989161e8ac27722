//! `/proc/config.gz`: which of the options that Linux is built with are there, for programs that look before they try. What
//! is not named is not set. The archive is not compressed: gzip (RFC 1952) with stored blocks (RFC 1951).

use alloc::string::String;
use alloc::vec::Vec;

/// Options that hold here, without `CONFIG_`.
const SET: &str = "64BIT ADVISE_SYSCALLS AIO BINFMT_ELF BINFMT_SCRIPT BLK_DEV BLOCK BPF CROSS_MEMORY_ATTACH EPOLL \
    EROFS_FS EROFS_FS_XATTR EVENTFD FHANDLE FILE_LOCKING FUTEX FUTEX_PI HIGH_RES_TIMERS IKCONFIG IKCONFIG_PROC INET INET_DIAG \
    INOTIFY_USER IPC_NS IPV6 KCMP KEYS MEMBARRIER MEMFD_CREATE MMU MULTIUSER NAMESPACES NET NET_NS NUMA PACKET \
    PERSISTENT_KEYRINGS PID_NS POSIX_MQUEUE POSIX_MQUEUE_SYSCTL POSIX_TIMERS PROC_CHILDREN PROC_FS PROC_PAGE_MONITOR \
    PROC_SYSCTL RSEQ SECCOMP SECCOMP_FILTER SECURITY SHMEM SIGNALFD SMP SYSCTL SYSFS SYSVIPC SYSVIPC_SYSCTL TCP_CONG_CUBIC \
    TIMERFD TMPFS TMPFS_XATTR TTY UNIX UNIX98_PTYS UNIX_DIAG USER_NS UTS_NS VIRTIO_BLK VIRTIO_NET X86 X86_64";

/// Options that programs ask for and that do not hold.
const UNSET: &str = "BPF_SYSCALL BSD_PROCESS_ACCT CHECKPOINT_RESTORE COREDUMP FANOTIFY HUGETLBFS IA32_EMULATION IO_URING KSM \
    MODIFY_LDT_SYSCALL MODULES NETFILTER PERF_EVENTS PREEMPT_RT QUOTA SECURITY_LANDLOCK SWAP TIME_NS TMPFS_POSIX_ACL \
    TRANSPARENT_HUGEPAGE TUN USERFAULTFD VETH X86_X32_ABI";

/// Bytes of a stored block at most.
const BLOCK: usize = 0xffff;

fn text() -> String {
    let mut lines: Vec<String> =
        SET.split_ascii_whitespace().map(|name| alloc::format!("CONFIG_{name}=y\n")).collect();
    lines.extend(UNSET.split_ascii_whitespace().map(|name| alloc::format!("# CONFIG_{name} is not set\n")));
    let release = crate::abi::version::RELEASE;
    alloc::format!("#\n# Linux/x86_64 {release} Kernel Configuration\n#\n{}", lines.concat())
}

/// The file.
pub(super) fn archive() -> Vec<u8> {
    let text = text();
    // Magic, deflate, no flags, no time, no hints, Unix.
    let mut out: Vec<u8> = alloc::vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let mut blocks = text.as_bytes().chunks(BLOCK).peekable();
    while let Some(block) = blocks.next() {
        out.push(u8::from(blocks.peek().is_none()));
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(text.as_bytes()).to_le_bytes());
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out
}

/// The checksum of RFC 1952.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_that_of_the_rfc() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn options_are_sorted_and_told_once() {
        for list in [SET, UNSET] {
            let names: Vec<&str> = list.split_ascii_whitespace().collect();
            assert!(names.is_sorted(), "{names:?}");
        }
        assert!(
            UNSET
                .split_ascii_whitespace()
                .all(|name| !SET.split_ascii_whitespace().any(|other| other == name))
        );
    }

    #[test]
    fn the_archive_holds_the_text() {
        let archive = archive();
        let text = text();
        assert_eq!(archive.get(15..15 + text.len()), Some(text.as_bytes()));
        assert_eq!(archive.len(), 15 + text.len() + 8);
    }
}
