//! `cargo sim`: run a seed, sweep many, and look for mutants.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
