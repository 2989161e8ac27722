//! Builds the guest kernel for `x86_64-unknown-none` and hands its ELF file to the crate, which embeds it; also a tiny
//! test guest for the tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const GUEST_TARGET: &str = "x86_64-unknown-none";
/// Profile of the workspace's manifest.
const GUEST_PROFILE: &str = "guest";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let root = manifest.parent().expect("the crate lies in a workspace").to_path_buf();
    for watched in ["guest", "sentry", "Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo:rerun-if-changed={}", manifest.join("testguest").display());
    println!("cargo:rerun-if-env-changed=CHITIN_GUEST_ELF");

    let test_guest = build_test_guest(&manifest, &out);
    println!("cargo:rustc-env=CHITIN_TEST_GUEST_ELF={}", test_guest.display());
    let guest = match env::var_os("CHITIN_GUEST_ELF") {
        Some(path) => PathBuf::from(path),
        None if root.join("guest/link.ld").exists() => build_guest(&root, &out),
        None => {
            println!("cargo:warning=no guest kernel in guest/: the test guest is embedded");
            test_guest
        }
    };
    println!("cargo:rustc-env=CHITIN_GUEST_ELF={}", guest.display());
}

/// The guest kernel, always optimised: its kernel stacks are small.
fn build_guest(root: &Path, out: &Path) -> PathBuf {
    // OUT_DIR is TARGET/PROFILE/build/PACKAGE/out: all profiles share TARGET/guest.
    let target_dir = out.ancestors().nth(4).expect("OUT_DIR has four parents").join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let kept = ["CARGO_HOME", "CARGO_NET_OFFLINE"].contains(&name.as_str());
        let ours = name.starts_with("CARGO") || name.starts_with("RUSTC") || name.contains("RUSTFLAGS");
        if ours && !kept {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(root)
        .args([
            "build",
            "--profile",
            GUEST_PROFILE,
            "--package",
            "chitin-guest",
            "--target",
            GUEST_TARGET,
            "--target-dir",
        ])
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C relocation-model=static -C code-model=kernel -C force-frame-pointers=yes");
    let status = cargo.status().unwrap_or_else(|error| panic!("cannot run cargo for the guest: {error}"));
    assert!(status.success(), "the guest kernel does not build (cargo build -p chitin-guest)");
    target_dir.join(GUEST_TARGET).join(GUEST_PROFILE).join("chitin-guest")
}

/// The test guest: one source file, no dependencies.
fn build_test_guest(manifest: &Path, out: &Path) -> PathBuf {
    let elf = out.join("test-guest");
    let script = manifest.join("testguest/link.ld");
    let mut rustc = Command::new(env::var_os("RUSTC").expect("cargo sets it"));
    rustc
        .arg(manifest.join("testguest/main.rs"))
        .args(["--crate-name", "test_guest", "--edition", "2024", "--target", GUEST_TARGET])
        .args(["-O", "-C", "panic=abort", "-C", "relocation-model=static", "-C", "code-model=kernel"])
        .arg(format!("-Clink-arg=-T{}", script.display()))
        .arg("-o")
        .arg(&elf);
    let status =
        rustc.status().unwrap_or_else(|error| panic!("cannot run rustc for the test guest: {error}"));
    assert!(status.success(), "the test guest does not build");
    elf
}
