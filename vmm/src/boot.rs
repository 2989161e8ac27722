//! `chitin-vmm boot`: boots a guest kernel without a shim and prints its log; a development aid.

use crate::fileserver::shares::Shares;
use crate::jail::{self, seccomp};
use crate::machine::image::Image;
use crate::sandbox::poll::{Poll, Source};
use crate::sandbox::{Happening, NewCard, Sandbox};
use crate::virtio::net::tap::Tap;
use chitin_proto::vmm::{Access, Block, CachePolicy, Card, EndReason, MachineConfig, RateLimit, Share};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to boot.
#[derive(Clone, Debug)]
pub struct Options {
    /// Virtual CPUs.
    pub cpus: u32,
    /// RAM in MiB.
    pub mem_mib: u64,
    /// Kernel to boot instead of the embedded one.
    pub guest: Option<PathBuf>,
    /// Directories to share: name, path, writable with a trailing `:rw`.
    pub shares: Vec<String>,
    /// TAP devices of the host that become network cards.
    pub taps: Vec<String>,
    /// Raw images that become block devices: path, read-only with a trailing `:ro`.
    pub blocks: Vec<String>,
    /// What happens at a forbidden system call.
    pub seccomp: seccomp::Mode,
    /// Time limit.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cpus: 1,
            mem_mib: 256,
            guest: None,
            shares: Vec::new(),
            taps: Vec::new(),
            blocks: Vec::new(),
            seccomp: seccomp::Mode::default(),
            timeout: Duration::from_secs(60),
        }
    }
}

/// Boots and waits for the end. The status is 0 after an orderly power-off.
///
/// # Errors
/// A message for the user.
pub fn run(options: &Options) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let image = options.guest.as_deref().map_or_else(Image::embedded, Image::from_file)?;
    let config = MachineConfig {
        version: chitin_proto::VERSION,
        cpus: options.cpus,
        ram_bytes: options.mem_mib << 20,
        log_bytes_per_second: 16 << 20,
    };
    let cards = options.taps.iter().zip(1..).map(|(name, last)| open_card(name, last));
    let cards = cards.collect::<Result<Vec<_>, _>>()?;
    let blocks = (0..).zip(&options.blocks).map(|(slot, option)| open_block(slot, option));
    let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
    jail::enter()?;
    let poll = Arc::new(Poll::new()?);
    let shares = Arc::new(Shares::default());
    for share in &options.shares {
        attach(&shares, share)?;
    }
    let begin = Instant::now();
    let mut sandbox = Sandbox::new(&config, &image, shares, cards, &poll, options.seccomp)?;
    for (block, file) in blocks {
        sandbox.attach_block(&block, file)?;
    }
    sandbox.start()?;
    eprintln!("chitin-vmm: started after {:?}", begin.elapsed());
    let mut end = None;
    while end.is_none() {
        let Some(left) = options.timeout.checked_sub(begin.elapsed()) else {
            end = Some(EndReason::Stopped);
            break;
        };
        for ready in poll.wait(Some(left))? {
            debug_assert_ne!(ready.source, Source::Control);
            sandbox.react(ready, &mut |happening| match happening {
                Happening::Log(line) => eprintln!("{line}"),
                Happening::StreamClosed(port) => eprintln!("chitin-vmm: stream {port} closed"),
                Happening::Ended(reason) => end = Some(reason),
            });
        }
    }
    let stats = sandbox.stats();
    eprintln!("chitin-vmm: ended after {:?}", begin.elapsed());
    eprintln!("chitin-vmm: exits {:?}, requests {:?}", stats.exits, stats.requests);
    for (index, card) in stats.cards.iter().enumerate() {
        eprintln!("chitin-vmm: card {index}: received {:?}, sent {:?}", card.received, card.sent);
    }
    for (slot, block) in &stats.blocks {
        eprintln!("chitin-vmm: block device {slot}: {block:?}");
    }
    eprintln!("chitin-vmm: first user instruction {} ns, vCPUs {} ns", stats.first_user_ns, stats.vcpu_ns);
    let (code, text) = match end {
        Some(EndReason::Orderly) => (0, "orderly power-off".to_owned()),
        Some(EndReason::Panic(text)) => (3, format!("guest panic:\n{text}")),
        Some(EndReason::Crash(text)) => (4, format!("crash: {text}")),
        Some(EndReason::Violation(text)) => (5, format!("violation: {text}")),
        Some(EndReason::Stopped) | None => (124, "time limit".to_owned()),
    };
    eprintln!("chitin-vmm: {text}");
    Ok(ExitCode::from(code))
}

/// A card with the MTU and the last byte of the hardware address given.
fn open_card(name: &str, last: u8) -> Result<NewCard, Box<dyn std::error::Error>> {
    let mtu = std::fs::read_to_string(format!("/sys/class/net/{name}/mtu"));
    let mtu = mtu.ok().and_then(|mtu| mtu.trim().parse().ok()).unwrap_or(1500);
    let card = Card { mac: [2, 0, 0, 0, 0, last], mtu, limit: RateLimit::default() };
    Ok((card, Tap::open(name).map_err(|error| format!("--tap {name}: {error}"))?))
}

/// Opens `FILE` or `FILE:ro`.
fn open_block(slot: u32, option: &str) -> Result<(Block, OwnedFd), Box<dyn std::error::Error>> {
    let (path, access, flags) = match option.strip_suffix(":ro") {
        Some(path) => (path, Access::ReadOnly, OFlags::RDONLY),
        None => (option, Access::ReadWrite, OFlags::RDWR),
    };
    let file = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| format!("--block {option}: {errno}"))?;
    let bytes = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
    let serial = format!("boot{slot}");
    Ok((Block { slot, access, bytes, block_size: 512, physical_block_size: 4096, serial }, file))
}

/// Attaches `NAME=DIR` or `NAME=DIR:rw`.
fn attach(shares: &Shares, option: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (name, path) = option.split_once('=').ok_or_else(|| format!("--share {option}: no '='"))?;
    let (path, access, policy) = match path.strip_suffix(":rw") {
        Some(path) => (path, Access::ReadWrite, CachePolicy::Exclusive),
        None => (path, Access::ReadOnly, CachePolicy::Immutable),
    };
    let root = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| format!("--share {option}: {errno}"))?;
    Ok(shares.attach(&Share { name: name.to_owned(), access, policy }, root)?)
}
