//! Hands the linker script to the linker.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    println!("cargo::rerun-if-changed=link.ld");
    if target == "none" {
        for argument in [
            &format!("-T{folder}/link.ld"),
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
