//! The `chitin` command; see [`chitin_shim::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    chitin_shim::cli::main()
}
