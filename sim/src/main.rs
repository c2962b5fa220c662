//! `cargo sim`: run a seed, sweep many, and look for mutants.

mod cli;

/// Runs are bound by small allocations, on every core at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
