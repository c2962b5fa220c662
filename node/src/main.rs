//! The `klamm` binary: a node, and the tools to work with one.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
