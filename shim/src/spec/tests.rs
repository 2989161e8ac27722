//! A `config.json` as `ctr run` writes it, and broken ones.

use super::*;
use chitin_proto::control::MountSource;

const CONFIG: &str = r#"{
 "ociVersion": "1.0.2-dev",
 "process": {
  "terminal": false,
  "user": {"uid": 5, "gid": 6, "umask": 18, "additionalGids": [10]},
  "args": ["sh", "-c", "exit 7"], "env": ["PATH=/bin"], "cwd": "/work",
  "capabilities": {"bounding": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"], "effective": ["CAP_KILL"]},
  "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
  "noNewPrivileges": true, "oomScoreAdj": -3
 },
 "root": {"path": "rootfs", "readonly": true},
 "hostname": "box",
 "mounts": [
  {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
  {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
  {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "rprivate", "ro", "noexec"]},
  {"destination": "/etc/hosts", "type": "none", "source": "/tmp/hosts", "options": ["bind"]}
 ],
 "linux": {
  "sysctl": {"net.core.somaxconn": "1024"},
  "resources": {"memory": {"limit": 1048576}, "pids": {"limit": 9}, "cpu": {"shares": 1024}},
  "cgroupsPath": "/default/x",
  "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]
 }
}"#;

fn planned(config: &str) -> Result<Plan, SpecError> {
    plan("x", &serde_json::from_str(config).unwrap(), Path::new("/bundle/rootfs"))
}

#[test]
fn everything_arrives() {
    let Plan { container, shares, .. } = planned(CONFIG).unwrap();
    let process = &container.process;
    assert_eq!(process.args, ["sh", "-c", "exit 7"]);
    assert_eq!((process.uid, process.gid, process.umask), (5, 6, Some(18)));
    assert_eq!(process.additional_gids, [10]);
    assert_eq!(process.rlimits, [(7, 512, 1024)]);
    assert_eq!(process.capabilities.bounding, 1 | 1 << 40);
    assert_eq!(process.capabilities.effective, 1 << 5);
    assert!(process.no_new_privileges);
    assert_eq!((process.oom_score_adj, process.cwd.as_str()), (-3, "/work"));
    assert_eq!(container.hostname, "box");
    assert_eq!(container.root.writes, RootWrites::ReadOnly);
    assert_eq!(container.limits.memory_bytes, Some(1 << 20));
    assert_eq!((container.limits.pids, container.limits.cpu_weight), (Some(9), Some(39)));
    assert_eq!(container.sysctl, [("net.core.somaxconn".to_owned(), "1024".to_owned())]);
    assert_eq!(container.mounts.len(), 4);
    assert_eq!(container.mounts[1].source, MountSource::Tmpfs);
    assert_eq!(container.mounts[2].options, ["ro", "noexec"]);
    assert_eq!(shares.len(), 3);
    assert_eq!((shares[0].target, shares[0].policy), (ShareTarget::Root, CachePolicy::Immutable));
    assert_eq!((shares[1].target, shares[1].access), (ShareTarget::Mount(2), Access::ReadOnly));
    assert!(shares[1].recursive && !shares[2].recursive);
    assert_eq!((shares[2].target, shares[2].access), (ShareTarget::Mount(3), Access::ReadWrite));
}

#[test]
fn errors_name_the_thing() {
    let unknown = CONFIG.replace(r#""type": "tmpfs""#, r#""type": "nfs4""#);
    let text = planned(&unknown).unwrap_err().to_string();
    assert!(text.contains("/dev") && text.contains("nfs4"), "{text}");
    let relative = CONFIG.replace(r#""cwd": "/work""#, r#""cwd": "work""#);
    assert!(planned(&relative).unwrap_err().to_string().contains("work"));
    let missing = load(Path::new("/nonexistent/bundle")).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/bundle/config.json"), "{missing}");
}

#[test]
fn a_process_with_no_user_is_roots() {
    let text = r#"{"ociVersion": "1.0.2", "root": {"path": "r"}, "process": {"args": ["true"], "cwd": "/"}}"#;
    let spec = parse(text.as_bytes()).unwrap();
    assert_eq!(plan("x", &spec, Path::new("/r")).unwrap().container.process.uid, 0);
    assert!(parse(br#"{"process": {"args": 1}}"#).is_err());
}
