//! What `cargo sim` runs: built by a nested cargo, exactly as `cargo sim` does it and in the same folder, then run for a few seeds of the tier that needs
//! `--cfg madsim`, and for the kept ones of both.

use crate::seeds::kept;
use klamm_sim::outcome::rule_of;
use klamm_sim::tape::Tape;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many seeds of a sweep are run here; `cargo sim sweep --tier madsim` is for more.
const SEEDS: u64 = 6;
/// And on a cluster of three.
const CLUSTER_SEEDS: u64 = 3;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace")
}

/// The words of `cargo sim`, out of the file that defines it.
fn alias() -> Vec<String> {
    let config = std::fs::read_to_string(root().join(".cargo/config.toml")).expect("the workspace has aliases");
    let line = config.lines().find(|line| line.starts_with("sim = ")).expect("`cargo sim` is an alias");
    line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Builds the simulator, showing how it goes, and says where it is.
fn build() -> PathBuf {
    let alias = alias();
    let after = |word: &str| alias.iter().skip_while(|w| *w != word).nth(1).expect("the alias says so").clone();
    let words = alias.iter().map(String::as_str).filter(|word| !["--quiet", "--"].contains(word));
    let words = words.map(|word| if word == "run" { "build" } else { word });
    eprintln!("building the simulator in {}; the first time takes some minutes", after("--target-dir"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Whatever flags the outer build has, they would take the place of the alias's.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    let status = cargo.current_dir(root()).args(words).status().expect("cargo starts");
    assert!(status.success(), "the simulator does not build");
    root().join(after("--target-dir")).join(after("--profile")).join(after("--bin"))
}

/// Runs the simulator; its output, and whether it ended well.
fn sim(binary: &Path, words: &[&str]) -> (String, bool) {
    let output = Command::new(binary).args(words).output().expect("it was built");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (text, output.status.success())
}

/// The last line without the wall time, which alone may differ.
fn line(output: &str) -> &str {
    let line = output.lines().rfind(|line| line.starts_with("seed ")).unwrap_or_else(|| panic!("no line of a run in:\n{output}"));
    line.split_once(" wall ").expect("it ends with the wall time").0
}

/// Runs a seed in two processes; the line on which they agree.
fn twice(binary: &Path, seed: u64, nodes: &str, why: &str) -> String {
    let words = ["run", "--tier", "madsim", "--nodes", nodes, "--seed", &seed.to_string()];
    let (one, clean) = sim(binary, &words);
    assert!(clean, "seed {seed} ({why}):\n{one}");
    let (other, _) = sim(binary, &words);
    assert_eq!(line(&one), line(&other), "seed {seed} ({why})");
    line(&one).to_owned()
}

#[test]
fn whole_nodes_are_clean_and_the_same_in_another_process() {
    let binary = build();
    let (output, clean) = sim(&binary, &["sweep", "--tier", "madsim", "--seeds", &format!("0..{SEEDS}"), "--all"]);
    assert!(clean, "{output}");
    let mut seeds = kept("madsim", 1);
    seeds.push((8, "a second one, that must differ"));
    let mut lines: Vec<String> = seeds.into_iter().map(|(seed, why)| twice(&binary, seed, "1", why)).collect();
    let all = lines.len();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), all, "different seeds give different runs");
}

/// Some are of full size many times over, which takes an optimised build.
#[test]
fn kept_seeds_of_the_mesh_are_clean() {
    let binary = build();
    for nodes in [1, 3] {
        for (seed, why) in kept("mesh", nodes) {
            let (output, clean) = sim(&binary, &["run", "--nodes", &nodes.to_string(), "--seed", &seed.to_string()]);
            assert!(clean, "seed {seed} ({why}):\n{output}");
        }
    }
}

/// A tape is kept for a bug that was found once: it must still show it, and nothing where the guard is in its place.
#[test]
fn kept_tapes_show_their_bugs_and_nothing_else() {
    let binary = build();
    let files = std::fs::read_dir(root().join("sim/tests/tapes")).expect("tapes are kept").map(|file| file.expect("readable").path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let file = file.to_str().expect("a name of ours");
        let (output, clean) = sim(&binary, &["replay", "--clean", file]);
        assert!(clean, "{file}:\n{output}");
        let (output, _) = sim(&binary, &["replay", file]);
        let broken = output.lines().find_map(|line| line.strip_prefix("violation: ")).map(rule_of);
        let tape = Tape::decode(&std::fs::read_to_string(file).expect("readable")).expect("a tape");
        assert_eq!(broken, tape.breaks, "{file}:\n{output}");
    }
}

/// A run that fails, as a person would look at it.
#[test]
fn a_missing_guard_is_shown_in_a_report() {
    let binary = build();
    let folder = std::env::temp_dir().join(format!("klamm-report-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the reports");
    let words = ["run", "--nodes", "3", "--seed", "1", "--mutant", "ack-before-hw"];
    let (plain, _) = sim(&binary, &words);
    let (mut verdicts, mut texts) = (vec![line(&plain).to_owned()], Vec::new());
    for name in ["report.html", "report.txt"] {
        let path = folder.join(name);
        let (output, clean) = sim(&binary, &[&words[..], &["--report", path.to_str().expect("a path of ours")]].concat());
        assert!(!clean, "{output}");
        verdicts.push(line(&output).to_owned());
        texts.push(std::fs::read_to_string(&path).expect("a report"));
    }
    std::fs::remove_dir_all(&folder).expect("it was made above");
    verdicts.dedup();
    assert_eq!(verdicts.len(), 1, "with a report the run is the same: {verdicts:?}");
    let violation = plain.lines().find_map(|line| line.strip_prefix("violation: ")).expect("one was found");
    let replay = "cargo sim run --seed 1 --tier mesh --nodes 3 --mutant ack-before-hw";
    for text in texts {
        // Quotes stand otherwise in JSON.
        let first = violation.split('"').next().expect("it has words");
        assert!(text.contains(first) && text.contains(replay), "the report tells what was found, and how to see it again");
    }
}

#[test]
fn clusters_of_whole_nodes_are_clean_and_the_same_in_another_process() {
    let binary = build();
    let (output, clean) = sim(&binary, &["sweep", "--tier", "madsim", "--nodes", "3", "--seeds", &format!("0..{CLUSTER_SEEDS}"), "--all"]);
    assert!(clean, "{output}");
    twice(&binary, 7, "3", "a cluster");
}
