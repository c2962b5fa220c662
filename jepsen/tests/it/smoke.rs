//! The shortest histories.

use klamm_jepsen::check::{Options, Verdict, check};
use klamm_jepsen::history::{Action, Completion, History, JsonLines, Key, Offset, Process, Record, Recorder, Value, write_json_line};

fn one_send_one_poll() -> History {
    let (a, b) = (Process::Client(0), Process::Client(1));
    let mut recorder = Recorder::default();
    recorder.invoke(0, a, Action::send(Key(0), Value(1)));
    recorder.complete(1, a, Completion::ok(Action::sent(Key(0), Offset(0), Value(1))));
    recorder.invoke(2, b, Action::poll());
    recorder.complete(3, b, Completion::ok(Action::polled([(Key(0), vec![Record::at(Offset(0), Value(1))])].into())));
    recorder.finish()
}

#[test]
fn one_send_and_one_poll_are_valid() {
    let report = check(&one_send_one_poll(), &Options::default());
    assert_eq!(report.verdict, Verdict::Valid, "{report}");
    assert_eq!(report.ended.ok, 2);
}

#[test]
fn json_lines_read_back() {
    let history = one_send_one_poll();
    let mut text = Vec::new();
    for op in history.ops() {
        write_json_line(op, &mut text).expect("a vector takes all");
    }
    let ops: Vec<_> = JsonLines::new(text.as_slice()).map(|op| op.expect("reads back")).collect();
    assert_eq!(ops, history.ops());
}
