//! `/etc/chitin/config.toml`, and the same keys as annotations `dev.chitin.KEY` of a pod.
//!
//! The file is optional and flat; a key is one of
//!
//! | key | value | default |
//! |---|---|---|
//! | `vmm` | path of `chitin-vmm` | beside the shim, then `PATH` |
//! | `memory_mib` | MiB of guest memory | half of the host's, at most 2048 |
//! | `cpus` | virtual CPUs | the host's, at most 8 |
//! | `log_bytes_per_second` | guest log that is passed on | 65536 |
//! | `network_bytes_per_second`, `network_frames_per_second` | most that goes through each network card, in each direction; an annotation can only lessen what the file says | no limit |
//! | `strace` | `true`: print every system call to the log | `false` |

use chitin_proto::layout::MAX_CPUS;
use chitin_proto::vmm::RateLimit;
use std::path::{Path, PathBuf};

/// Where the file is.
pub const PATH: &str = "/etc/chitin/config.toml";
/// Prefix of the annotations.
pub const ANNOTATION: &str = "dev.chitin.";

/// Guest memory that the sentry itself may need beside a container's limit.
const OVERHEAD_BYTES: u64 = 96 << 20;
const MIB: u64 = 1 << 20;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file exists and cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Operating system error.
        source: std::io::Error,
    },
    /// A line, or an annotation, that is not understood.
    #[error("{place}: {problem}")]
    Bad {
        /// File and line, or the annotation's name.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Path of the VMM's program.
    pub vmm: Option<PathBuf>,
    /// Bytes of guest memory.
    pub memory_bytes: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Log rate limit.
    pub log_bytes_per_second: u32,
    /// Limit of every network card.
    pub network_limit: RateLimit,
    /// Print every system call.
    pub strace: bool,
}

/// The lesser of two limits, of which 0 is none.
fn tighter(one: u64, other: u64) -> u64 {
    if one == 0 || other == 0 { one.max(other) } else { one.min(other) }
}

impl Default for Config {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        Self {
            vmm: None,
            memory_bytes: (host_memory_bytes() / 2).clamp(128 * MIB, 2048 * MIB),
            cpus: u32::try_from(cpus).unwrap_or(1),
            log_bytes_per_second: 64 * 1024,
            network_limit: RateLimit::default(),
            strace: false,
        }
    }
}

impl Config {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load() -> Result<Self, ConfigError> {
        let path = Path::new(PATH);
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, PATH),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// Changes what a pod's annotations say.
    ///
    /// # Errors
    /// [`ConfigError::Bad`] naming the annotation.
    pub fn annotate<'a>(
        &mut self,
        annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<(), ConfigError> {
        let given = self.network_limit;
        for (name, value) in annotations {
            // Where the VMM is must not be chosen by whoever writes the pod.
            if let Some(key) = name.strip_prefix(ANNOTATION).filter(|key| *key != "vmm") {
                self.set(key, value).map_err(|problem| ConfigError::Bad { place: name.clone(), problem })?;
            }
        }
        let limit = &mut self.network_limit;
        limit.bytes_per_second = tighter(given.bytes_per_second, limit.bytes_per_second);
        limit.frames_per_second = tighter(given.frames_per_second, limit.frames_per_second);
        Ok(())
    }

    /// Makes room for a container with this memory limit.
    pub fn fit(&mut self, limit_bytes: Option<u64>) {
        if let Some(limit) = limit_bytes {
            let wanted = limit.saturating_add(OVERHEAD_BYTES).min(host_memory_bytes());
            self.memory_bytes = self.memory_bytes.max(wanted);
        }
    }

    fn parse(text: &str, place: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |problem| ConfigError::Bad { place: format!("{place}:{}", number + 1), problem };
            let (key, value) = line.split_once('=').ok_or_else(|| bad("expected KEY = VALUE".to_owned()))?;
            let value = value.split_once(" #").map_or(value, |(value, _comment)| value).trim();
            config.set(key.trim(), value.trim_matches('"')).map_err(bad)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = |low: u64, high: u64| match value.parse::<u64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(number),
            _ => Err(format!("{key} = {value}: expected a number from {low} to {high}")),
        };
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        match key {
            "vmm" => self.vmm = Some(value.into()),
            "memory_mib" => self.memory_bytes = number(16, u64::MAX / MIB)? * MIB,
            "cpus" => self.cpus = narrow(number(1, MAX_CPUS as u64)?),
            "log_bytes_per_second" => {
                self.log_bytes_per_second = narrow(number(0, u64::from(u32::MAX))?);
            }
            "network_bytes_per_second" => self.network_limit.bytes_per_second = number(0, u64::MAX)?,
            "network_frames_per_second" => self.network_limit.frames_per_second = number(0, u64::MAX)?,
            "strace" => {
                self.strace =
                    value.parse().map_err(|_| format!("strace = {value}: expected true or false"))?;
            }
            _ => return Err(format!("unknown key {key}")),
        }
        Ok(())
    }
}

fn host_memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_checked() {
        let text =
            "# a comment\nvmm = \"/opt/chitin-vmm\"\n\nmemory_mib = 256 # small\ncpus = 2\nstrace = true\n";
        let config = Config::parse(text, "file").unwrap();
        assert_eq!(config.vmm, Some("/opt/chitin-vmm".into()));
        assert_eq!((config.memory_bytes, config.cpus, config.strace), (256 << 20, 2, true));
        for bad in ["cpus = 0", "cpus", "color = \"red\"", "strace = maybe"] {
            let error = Config::parse(bad, "file").unwrap_err().to_string();
            assert!(error.starts_with("file:1: "), "{error}");
        }
    }

    #[test]
    fn annotations_cannot_choose_the_program() {
        let mut config = Config::default();
        let pairs =
            [("dev.chitin.vmm".to_owned(), "/evil".to_owned()), ("dev.chitin.cpus".into(), "3".into())];
        config.annotate(pairs.iter().map(|(key, value)| (key, value))).unwrap();
        assert_eq!((config.vmm, config.cpus), (None, 3));
    }

    #[test]
    fn annotations_only_lessen_network_limits() {
        for (file, annotation, both) in [(0, 5, 5), (5, 0, 5), (5, 9, 5), (9, 5, 5)] {
            let mut config = Config::parse(&format!("network_frames_per_second = {file}"), "file").unwrap();
            let pairs = [("dev.chitin.network_frames_per_second".to_owned(), annotation.to_string())];
            config.annotate(pairs.iter().map(|(key, value)| (key, value))).unwrap();
            assert_eq!(config.network_limit.frames_per_second, both);
        }
    }
}
