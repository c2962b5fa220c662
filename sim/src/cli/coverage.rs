//! Which probes a sweep passes. A cold one is a rare branch that nothing tests: a missing workload.

use super::How;
use super::sweep::run_through;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

/// Probes that no seed can pass yet, each with its reason.
const COLD: &str = include_str!("cold.txt");

pub(super) fn coverage(seeds: Range<u64>, how: How, jobs: Option<usize>) -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace");
    let mut known = BTreeSet::new();
    for folder in ["core/src", "node/src"] {
        if let Err(error) = collect(&root.join(folder), &mut known) {
            eprintln!("cannot read the sources in {folder}: {error}");
            return ExitCode::from(2);
        }
    }
    let summary = run_through(seeds, how, jobs, true);
    let excused: BTreeMap<&str, &str> =
        COLD.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" | ")).collect();
    let mut cold = 0;
    for name in &known {
        let hits = summary.probes.get(name.as_str()).copied().unwrap_or(0);
        let remark = match excused.get(name.as_str()) {
            Some(reason) if hits == 0 => format!("  cold: {reason}"),
            Some(_) => "  not cold any more".to_owned(),
            None if hits == 0 => "  COLD".to_owned(),
            None => String::new(),
        };
        cold += u32::from(hits == 0 && !excused.contains_key(name.as_str()));
        println!("probe {hits:7} {name}{remark}");
    }
    println!("{} seeds, {} failed, {} probes, {cold} of them cold without a reason", summary.seeds, summary.failed.len(), known.len());
    ExitCode::from(u8::from(cold > 0 || !summary.failed.is_empty()))
}

/// The names of all probes in the sources below `folder`.
fn collect(folder: &Path, names: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, names)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            names.extend(code.filter_map(|line| line.split_once("probe!(\"")?.1.split_once('"')).map(|(name, _)| name.to_owned()));
        }
    }
    Ok(())
}
