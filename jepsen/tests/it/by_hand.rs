//! Hand-made histories, each anomaly present and absent: `histories/*.txt`.

use std::collections::BTreeSet;
use std::path::Path;

use klamm_jepsen::check::{Kind, Report, check};
use klamm_jepsen::edn::{EdnOps, write_edn_line};
use klamm_jepsen::history::{History, JsonLines, write_json_line};

use crate::dsl::{Case, cases};

fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/histories");
    let mut files: Vec<_> = folder.read_dir().expect("the folder of histories").map(|file| file.expect("readable").path()).collect();
    files.sort();
    files.iter().flat_map(|file| cases(&std::fs::read_to_string(file).expect("readable"))).collect()
}

fn wrong(case: &Case, report: &Report) -> Option<String> {
    let bad: Vec<Kind> = report.bad().collect();
    let allowed: Vec<Kind> = report.found.iter().filter(|(_, found)| found.allowed).map(|(kind, _)| *kind).collect();
    let right = report.verdict == case.verdict && bad == case.bad && allowed == case.allowed;
    (!right).then(|| format!("## {}\n{report}\nbut expected {}: {:?}, allowed {:?}\n", case.name, case.verdict, case.bad, case.allowed))
}

#[test]
fn each_history_is_judged_as_it_says() {
    let cases = all();
    assert!(cases.len() >= 60, "only {} histories", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| wrong(case, &check(&case.history, &case.options))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_anomaly_is_shown_and_each_that_can_be_allowed_is() {
    let cases = all();
    let bad: BTreeSet<Kind> = cases.iter().flat_map(|case| case.bad.iter().copied()).collect();
    let allowed: BTreeSet<Kind> = cases.iter().flat_map(|case| case.allowed.iter().copied()).collect();
    let always_allowed = [Kind::IntSendSkip, Kind::G0, Kind::G0Process, Kind::G0Realtime];
    for kind in Kind::ALL {
        assert!(bad.contains(kind) || always_allowed.contains(kind), "no history is invalid by {kind}");
    }
    for kind in always_allowed.into_iter().chain([Kind::PollSkip, Kind::NonmonotonicPoll, Kind::G1c, Kind::G1cProcess, Kind::G1cRealtime]) {
        assert!(allowed.contains(&kind), "no history is valid in spite of {kind}");
    }
}

#[test]
fn names_are_unique() {
    let cases = all();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
}

#[test]
fn both_text_forms_hold_the_whole_history() {
    for case in all() {
        let (mut json, mut edn) = (Vec::new(), Vec::new());
        for op in case.history.ops() {
            write_json_line(op, &mut json).expect("a vector takes all");
            write_edn_line(op, &mut edn).expect("a vector takes all");
        }
        let edn = String::from_utf8(edn).expect("EDN is text");
        let from_json: Result<Vec<_>, _> = JsonLines::new(json.as_slice()).collect();
        assert_eq!(from_json.map(History::new), Ok(Ok(case.history.clone())), "{}", case.name);
        for text in [edn.clone(), format!("; a foreign list\n[{edn}]")] {
            let from_edn: Result<Vec<_>, _> = EdnOps::new(&text).collect();
            assert_eq!(from_edn.map(History::new), Ok(Ok(case.history.clone())), "{}", case.name);
        }
    }
}
