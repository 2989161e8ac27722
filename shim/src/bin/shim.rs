//! The program that containerd starts for the runtime `io.containerd.chitin.v2`; see [`chitin_shim::shim_main`].

use std::process::ExitCode;

fn main() -> ExitCode {
    chitin_shim::shim_main::main()
}
