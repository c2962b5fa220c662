//! `klamm-jepsen`: judges histories. Decides only what to print and how to exit; the judgement is the library's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use klamm_jepsen::check::{Kind, Options, Verdict, check};
use klamm_jepsen::edn::EdnOps;
use klamm_jepsen::history::{History, JsonLines, Op};

/// Consistency checks for Kafka-like logs, after Jepsen's kafka workload.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judges a history. Exits with 0 if it is valid, 1 if invalid, 2 if that cannot be decided.
    Check(Check),
}

#[derive(clap::Args)]
struct Check {
    /// The history: JSON lines, or EDN as Jepsen writes it. `-` reads standard input.
    file: PathBuf,
    /// How consumers got their partitions. Without it, the history tells.
    #[arg(long, value_enum)]
    sub_via: Option<SubVia>,
    /// Seek cycles with write dependencies too.
    #[arg(long)]
    ww_deps: bool,
    /// Tell cycles by process order apart from those by real time.
    #[arg(long)]
    process_edges: bool,
    /// Each change of assignment stands in the history, so that subscribed consumers can be followed from poll to poll.
    #[arg(long)]
    rebalances_logged: bool,
    /// Judge by Jepsen's own anomalies alone.
    #[arg(long)]
    only_jepsens: bool,
    /// An anomaly in spite of which the history is valid; may be given several times.
    #[arg(long, value_name = "ANOMALY", value_parser = anomaly)]
    allow: Vec<Kind>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SubVia {
    /// By themselves.
    Assign,
    /// Through a group; polls may then skip and go back at a rebalance.
    Subscribe,
}

/// What a caller that only wants the exit code must be able to tell from "invalid".
const UNDECIDED: u8 = 2;

fn main() -> ExitCode {
    let Arguments { command: Command::Check(arguments) } = Arguments::parse();
    match run(&arguments) {
        Ok(Verdict::Valid) => ExitCode::SUCCESS,
        Ok(Verdict::Invalid) => ExitCode::FAILURE,
        Ok(Verdict::Undecided) => ExitCode::from(UNDECIDED),
        Err(why) => {
            eprintln!("{}: {why}", arguments.file.display());
            ExitCode::from(UNDECIDED)
        }
    }
}

fn run(arguments: &Check) -> Result<Verdict, String> {
    let text = read(&arguments.file).map_err(|e| e.to_string())?;
    let history = history(&text)?;
    let report = check(&history, &options(arguments));
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report).expect("a report is plain data"));
    } else {
        println!("{report}");
    }
    Ok(report.verdict)
}

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) }
}

/// A JSON line begins with `{` and a quoted name; no EDN operation does.
fn history(text: &str) -> Result<History, String> {
    let json = text.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'));
    let ops: Result<Vec<Op>, _> = if json { JsonLines::new(text.as_bytes()).collect() } else { EdnOps::new(text).collect() };
    History::new(ops.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}

fn options(arguments: &Check) -> Options {
    Options {
        subscribes: arguments.sub_via.map(|via| matches!(via, SubVia::Subscribe)),
        ww_deps: arguments.ww_deps,
        process_edges: arguments.process_edges,
        rebalances_logged: arguments.rebalances_logged,
        only_jepsens: arguments.only_jepsens,
        allow: arguments.allow.iter().copied().collect::<BTreeSet<_>>(),
    }
}

fn anomaly(name: &str) -> Result<Kind, String> {
    Kind::parse(name).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("no such anomaly; there are {}", names.join(", "))
    })
}
