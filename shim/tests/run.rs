//! `chitin run` with a stand-in for the VMM: streams, exit statuses, and every way to fail.

mod support;

use std::io::Write;
use std::process::Stdio;
use support::{Bundle, chitin, program, text};

#[test]
fn output_and_status_pass_through() {
    let output = chitin("", &["run", "/", "--", "sh", "-c", "echo a; echo b >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("a\n", "b\n"));
}

#[test]
fn a_signal_is_told_as_the_shell_tells_it() {
    let output = chitin("", &["run", "/", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(output.status.code(), Some(137));
}

#[test]
fn a_megabyte_passes_through_unharmed() {
    let mut command = program(env!("CARGO_BIN_EXE_chitin"), "");
    command.args(["run", "/", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let data: Vec<u8> = (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut stdin, sent) = (child.stdin.take().unwrap(), data.clone());
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success() && output.stdout == data);
}

#[test]
fn a_bundle_runs_its_own_command() {
    let bundle = Bundle::new("echo from the bundle", "");
    let output = chitin("", &["run", &bundle.path()]);
    assert_eq!(text(&output.stdout), "from the bundle\n");
    let output = chitin("", &["run", &bundle.path(), "--", "echo", "another"]);
    assert_eq!(text(&output.stdout), "another\n");
}

/// Runs something that must fail, and returns what it said.
fn refusal(fault: &str, status: i32, arguments: &[&str]) -> String {
    let output = chitin(fault, arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    said
}

#[test]
fn every_failure_names_its_thing() {
    let run = ["run", "/", "--", "true"];
    let cases = [
        ("no-kvm", 125, &run[..], "/dev/kvm"),
        ("die-in-create", 125, &run, "exited with status 3"),
        ("old-guest", 125, &run, "version"),
        ("panic-in-start", 125, &run, "index out of range at mm.rs:7"),
        ("", 127, &["run", "/", "--", "missing-program"], "missing-program"),
        ("", 125, &["run", "/nonexistent", "--", "true"], "/nonexistent"),
        ("", 125, &["run", "/"], "command"),
        ("", 125, &["run", "/etc/passwd", "--", "true"], "/etc/passwd"),
        ("", 125, &["run", "--mount", "relative", "/", "--", "true"], "relative"),
        ("", 125, &["run", "--mount", "/nowhere:/mnt", "/", "--", "true"], "/nowhere"),
        ("", 125, &["run", "--mount", "/dev/null:/mnt", "/", "--", "true"], "/dev/null"),
        ("", 125, &["run", "--user", "nobody-such", "/", "--", "true"], "nobody-such"),
    ];
    for (fault, status, arguments, named) in cases {
        let said = refusal(fault, status, arguments);
        assert!(said.contains(named), "{arguments:?} ({fault}): {said}");
    }
}

#[test]
fn a_broken_bundle_is_told_with_its_path() {
    let bundle = Bundle::new("true", r#", "mounts": [{"destination": "/m", "type": "nfs4", "source": "x"}]"#);
    let said = refusal("", 125, &["run", &bundle.path()]);
    assert!(said.contains("/m") && said.contains("nfs4"), "{said}");
    std::fs::write(bundle.0.join("config.json"), "{ broken").unwrap();
    let said = refusal("", 125, &["run", &bundle.path()]);
    assert!(said.contains(&bundle.path()), "{said}");
}

#[test]
fn a_vmm_that_is_no_vmm_is_told() {
    let run = |vmm: &str| {
        let mut command = program(env!("CARGO_BIN_EXE_chitin"), "");
        let output = command.env("CHITIN_VMM", vmm).args(["run", "/", "--", "true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        text(&output.stderr)
    };
    assert!(run("/nonexistent/vmm").contains("/nonexistent/vmm"));
    assert!(run("/bin/false").contains("exited with status 1"));
}
