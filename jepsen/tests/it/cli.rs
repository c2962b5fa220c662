//! The binary, as a script uses it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn check(arguments: &[&str], history: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klamm-jepsen"));
    command.arg("check").args(arguments).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    // It may refuse its arguments and end before it reads.
    let _ = child.stdin.take().expect("piped").write_all(history.as_bytes());
    child.wait_with_output().expect("it ends")
}

const SEEN: &str = "{:index 0, :time 0, :process 0, :type :invoke, :f :send, :value [[:send 1 5]]}
{:index 1, :time 1, :process 0, :type :ok, :f :send, :value [[:send 1 [0 5]]]}
{:index 2, :time 2, :process 1, :type :invoke, :f :poll, :value [[:poll]]}
{:index 3, :time 3, :process 1, :type :ok, :f :poll, :value [[:poll {1 [[0 5]]}]]}";

const UNSEEN: &str = r#"{"index":0,"time":0,"process":0,"type":"invoke","f":"send","value":[["send",1,5]]}
{"index":1,"time":1,"process":0,"type":"ok","f":"send","value":[["send",1,[0,5]]]}

{"index":2,"time":2,"process":"nemesis","type":"info","f":"kill","value":"n1"}
{"index":3,"time":2,"process":0,"type":"invoke","f":"poll","value":[["poll"]]}
{"index":4,"time":3,"process":0,"type":"ok","f":"poll","value":[["poll",{}]]}"#;

#[test]
fn valid_is_0_invalid_is_1_undecided_is_2() {
    for (history, code, first) in
        [(SEEN, 0, "valid: 2 operations ok"), (UNSEEN, 1, "invalid: 2 operations ok"), ("", 2, "undecided: 0 operations ok")]
    {
        let output = check(&[], history);
        assert_eq!(output.status.code(), Some(code));
        assert!(output.stdout.starts_with(first.as_bytes()), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn an_allowed_anomaly_is_no_fault() {
    assert_eq!(check(&["--allow", "unseen"], UNSEEN).status.code(), Some(0));
    let output = check(&["--allow", "bad-luck"], UNSEEN);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are duplicate, inconsistent-offsets"));
}

#[test]
fn a_report_as_json_names_what_was_found() {
    let output = check(&["--json"], UNSEEN);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verdict"], "invalid");
    assert_eq!(report["found"]["unseen"]["count"], 1);
    assert_eq!(report["found"]["unseen"]["cases"][0]["values"][0], 5);
}

#[test]
fn what_is_no_history_is_undecided_with_its_line() {
    for (text, why) in [
        ("{:index 0}", "-: line 1: an operation has no :f"),
        ("[{:process 0, :type :invoke, :f :poll, :value [[:poll]]}\n", "-: line 2: the list of operations does not end"),
        ("{:process 0, :type :ok, :f :poll, :value [[:poll]]}", "-: process 0 ends at index 0 what it never began"),
        ("{\"index\":0}", "-: line 1: missing field `time` at line 1 column 11"),
        ("\u{0}", "-: line 1: an operation is a map, not \u{0}"),
    ] {
        let output = check(&[], text);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), why);
        assert!(output.stdout.is_empty());
    }
}
