//! Compiles the vDSO image, and hands the linker script to the linker.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for watched in ["link.ld", "vdso", "src/vdso/data.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    println!("cargo::rustc-env=CHITIN_VDSO={}", build_vdso(&folder, &out).display());
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        for argument in [
            &format!("-T{}", folder.join("link.ld").display()),
            "--no-pie",
            "-zmax-page-size=4096",
            "-znognustack",
            "--build-id=none",
            "--gc-sections",
        ] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}

/// A shared object of position-independent code: compiled by rustc, linked by the linker that comes with it, because
/// rustc itself makes no shared objects for a target without an operating system.
fn build_vdso(folder: &Path, out: &Path) -> PathBuf {
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let (object, image) = (out.join("vdso.o"), out.join("vdso.so"));
    let source = folder.join("vdso");
    run(Command::new(&rustc)
        .arg(source.join("main.rs"))
        .args(["--crate-name", "vdso", "--crate-type", "bin", "--edition", "2024"])
        .args(["--target", "x86_64-unknown-none", "--emit", "obj", "-O", "-C", "panic=abort"])
        .args(["-C", "relocation-model=pic", "-C", "code-model=small", "-C", "force-unwind-tables=yes"])
        .args(["-C", "codegen-units=1"])
        .arg("-o")
        .arg(&object));
    let sysroot = Command::new(&rustc).args(["--print", "sysroot"]).output().expect("rustc runs");
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    let linker =
        sysroot.join("lib/rustlib").join(env::var("HOST").expect("cargo sets it")).join("bin/rust-lld");
    run(Command::new(linker)
        .args(["-flavor", "gnu", "-shared", "-soname", "linux-vdso.so.1", "--hash-style=both"])
        .args(["--eh-frame-hdr", "--build-id=none", "-zmax-page-size=4096", "-znognustack", "-zdefs"])
        .args(["-Bsymbolic", "--gc-sections", "--strip-all"])
        .arg(format!("-T{}", source.join("link.ld").display()))
        .arg(format!("--version-script={}", source.join("version.map").display()))
        .arg(&object)
        .arg("-o")
        .arg(&image));
    image
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(status.success(), "{command:?} failed");
}
