//! The command line: one file per command. Teaches by examples; an error says what to do next.

mod ask;
mod bench;
mod consume;
mod dev;
mod format;
mod group;
mod lag;
mod logging;
mod produce;
mod serve;
mod time;
mod topic;

use clap::{CommandFactory as _, Parser, Subcommand};
use std::process::ExitCode;

/// A Kafka-compatible log: run a node, or work with one.
#[derive(Debug, Parser)]
#[command(
    name = "klamm",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  klamm serve                            a one-node cluster with its data in ./klamm-data
  klamm dev --brokers 3                  a cluster of three nodes in one process
  klamm topic create words -P 6          a topic of six partitions
  seq 5 | klamm produce words            one record for each line
  klamm consume words --from-beginning   read them back

Each command explains itself: klamm COMMAND --help"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Format(format::Format),
    Dev(dev::Dev),
    Topic(topic::Topic),
    Produce(produce::Produce),
    Consume(consume::Consume),
    Group(group::Group),
    Lag(lag::Lag),
    Bench(bench::Bench),
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  klamm completions bash > ~/.local/share/bash-completion/completions/klamm")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// An error that the operator can do something about: one or more lines.
type Failure = Vec<String>;

pub(crate) fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Format(format) => format.run(),
        Command::Dev(dev) => dev.run(),
        Command::Topic(topic) => topic.run(),
        Command::Produce(produce) => produce.run(),
        Command::Consume(consume) => consume.run(),
        Command::Group(group) => group.run(),
        Command::Lag(lag) => lag.run(),
        Command::Bench(bench) => bench.run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "klamm", &mut std::io::stdout());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(lines) => {
            lines.iter().for_each(|line| eprintln!("klamm: {line}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
