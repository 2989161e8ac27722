//! A pod: a network namespace with one interface, and a container with the servers in it.

use crate::container::{Runtime, remove, run, run_for, start};
use crate::error::BenchError;
use std::time::{Duration, Instant};

const NAMESPACE: &str = "chitin-bench";
const HOST_LINK: &str = "chbench0";
const HOST_ADDRESS: &str = "10.199.0.1/24";
const POD_ADDRESS: &str = "10.199.0.2/24";
const IMAGE: &str = "chitin.local/net:latest";
/// A load that takes longer has failed.
const CLIENT_SECONDS: u32 = 90;
/// The image has no devices; its programs want some.
const ENTER: &str = r#"mount --bind /dev "$0/dev" && exec chroot "$0" "$@""#;
const START_LIMIT: Duration = Duration::from_secs(60);

/// Ends with its container and its namespace.
pub(crate) struct Pod {
    id: Option<String>,
}

impl Pod {
    /// Makes the namespace and starts the servers.
    ///
    /// # Errors
    /// When either fails, or when the servers do not answer in time.
    pub(crate) fn start(runtime: Runtime) -> Result<Self, BenchError> {
        let mut pod = Self { id: None };
        ip("netns add NS")?;
        ip("link add HOST type veth peer name eth0 netns NS")?;
        ip(&format!("address add {HOST_ADDRESS} dev HOST"))?;
        ip("link set HOST up")?;
        ip("-n NS link set lo up")?;
        ip(&format!("-n NS address add {POD_ADDRESS} dev eth0"))?;
        ip("-n NS link set eth0 up")?;
        let network = format!("network:/run/netns/{NAMESPACE}");
        pod.id = Some(start(runtime, IMAGE, &["--with-ns", &network], &["/bench/serve"])?);
        pod.wait()?;
        Ok(pod)
    }

    /// Runs a program inside.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub(crate) fn exec(&self, command: &[&str]) -> Result<String, BenchError> {
        let id = self.id.as_deref().unwrap_or_default();
        let output = run_for(
            CLIENT_SECONDS,
            "ctr",
            &[&["task", "exec", "--exec-id", "client", id], command].concat(),
        )?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Until redis, which is started after the files are there, answers.
    fn wait(&self) -> Result<(), BenchError> {
        let start = Instant::now();
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let answer =
                client_for(5, &["redis-benchmark", "-h", "10.199.0.2", "-n", "1", "-t", "ping", "-q"]);
            if answer.is_ok() || start.elapsed() > START_LIMIT {
                return answer.map(drop);
            }
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            remove(id);
        }
        // The pair goes with either end.
        let _ = ip("link delete HOST");
        let _ = ip("netns delete NS");
    }
}

/// Runs a client of the image's on the machine itself, and returns what it prints.
///
/// # Errors
/// When it does not exit with 0 in time.
pub(crate) fn client(command: &[&str]) -> Result<String, BenchError> {
    client_for(CLIENT_SECONDS, command)
}

fn client_for(seconds: u32, command: &[&str]) -> Result<String, BenchError> {
    let root = std::env::var("NET_ROOTFS").unwrap_or_else(|_| "/".into());
    let output = run_for(seconds, "unshare", &[&["-m", "sh", "-c", ENTER, &root], command].concat())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ip(words: &str) -> Result<(), BenchError> {
    let words = words.split(' ').map(|word| match word {
        "NS" => NAMESPACE,
        "HOST" => HOST_LINK,
        other => other,
    });
    run("ip", &words.collect::<Vec<_>>()).map(drop)
}
