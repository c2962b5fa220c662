//! The report of a run: it changes nothing of the run, and holds what was found and how to run it again. How it looks, `.ci/browser` sees.

use klamm_sim::chance::Chance;
use klamm_sim::outcome::Outcome;
use klamm_sim::plan::Plan;
use klamm_sim::report::{self, Recorder, Sheet, Told};
use klamm_sim::run;
use serde_json::Value;

/// Where a cluster's partition is concerned that every run has.
const FOUND: &str = "invariant: node 2: t0-0: the high watermark goes back from 7 to 3 </script><b>";

fn told(outcome: &Outcome, violations: Vec<String>) -> Told {
    Told {
        seed: outcome.seed,
        tier: "mesh",
        nodes: 3,
        replay: format!("cargo sim run --seed {} --nodes 3", outcome.seed),
        commit: "0123456789ab".to_owned(),
        violations,
        trace: (outcome.trace, outcome.events),
        virtual_ns: outcome.virtual_ns,
        ..Told::default()
    }
}

/// Runs a seed on three nodes in a thread of its own, as every run wants it, once as ever and once recorded; and what the report says if that was found.
fn recorded(seed: u64, violations: &[&str]) -> (Outcome, Outcome, Sheet) {
    let violations = violations.iter().map(|&violation| violation.to_owned()).collect();
    let plain = std::thread::spawn(move || run::run(Plan::general(seed).on(3)));
    let recorded = std::thread::spawn(move || {
        let recorder = Recorder::on();
        let outcome = run::run_by(Plan::general(seed).on(3), &Chance::of_seed(seed), &recorder);
        let sheet = recorder.sheet(told(&outcome, violations));
        (outcome, sheet)
    });
    let plain = plain.join().expect("a clean seed");
    let (outcome, sheet) = recorded.join().expect("the same seed");
    (plain, outcome, sheet)
}

/// The data of a page, out of the one element that holds it.
fn data(page: &str) -> Value {
    let (_, data) = page.split_once("<script type=\"application/json\" id=\"data\">").expect("a page holds data");
    let (data, _) = data.split_once("</script>").expect("the element ends");
    serde_json::from_str(data).expect("the data are JSON")
}

#[test]
fn a_report_changes_nothing_and_shows_what_was_found() {
    let (plain, recorded, sheet) = recorded(1, &[FOUND]);
    assert_eq!((plain.trace, plain.events), (recorded.trace, recorded.events), "who keeps what happens changes nothing");

    let page = report::page(&sheet);
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (2, 2), "no text of a run ends an element");
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("src="), "nothing comes from outside");
    assert!(page.len() < 8_000_000, "{} bytes", page.len());

    let data = data(&page);
    assert_eq!(data["violations"][0], FOUND);
    assert_eq!(data["replay"], "cargo sim run --seed 1 --nodes 3");
    assert_eq!(data["commit"], "0123456789ab");
    let concerned = data["found"]["partition"].as_u64().expect("the violation names one") as usize;
    assert_eq!(data["partitions"][concerned]["name"], "t0-0");
    assert_eq!(data["found"]["node"], 2);
    for part in ["turns", "bands", "notes", "lanes", "deeds", "messages", "story"] {
        assert!(data[part].as_array().is_some_and(|all| !all.is_empty()), "there are {part}");
    }
    let partition = &data["partitions"][concerned];
    assert!(!partition["decided"].as_array().expect("a list").is_empty(), "its leaders are known");
    assert!(partition["replicas"].as_object().expect("by node").values().any(|points| points.as_array().is_some_and(|all| all.len() > 2)));
    let names: Vec<&str> =
        data["partitions"].as_array().expect("a list").iter().filter_map(|partition| partition["name"].as_str()).collect();
    assert!(names.contains(&"__cluster_metadata-0"), "{names:?}");
    let came = data["messages"].as_array().expect("a list").iter().filter(|message| message[1].as_i64() > message[0].as_i64()).count();
    assert!(came > 100, "{came} messages were taken in after they were sent");

    let text = report::text(&sheet);
    let of_violation = format!("violation: {FOUND}");
    assert!(text.contains(&of_violation) && text.contains("replay: cargo sim run --seed 1 --nodes 3   (commit 0123456789ab)"));
    assert!(text.contains("partition concerned: t0-0") && text.lines().count() > 50);
}
