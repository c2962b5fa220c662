//! What goes to the disk and to the log.

use super::help::{election, replica, voters};
use super::world::address;
use crate::id::{BrokerId, Uuid};
use crate::quorum::{Election, Voter, Voters};

#[test]
fn an_election_reads_back_what_it_writes() {
    for state in [election(0, None, None), election(7, Some(2), None), election(i32::MAX, None, Some(3)), election(8, Some(3), Some(3))] {
        assert_eq!(Election::decode(&state.encode()), Ok(state));
    }
    assert_eq!(
        election(5, None, Some(1)).encode(),
        r#"{"leaderId":-1,"leaderEpoch":5,"votedId":1,"votedDirectoryId":"AQEBAQEBAQEBAQEBAQEBAQ","data_version":1}"#
    );
}

#[test]
fn kafkas_files_are_read_whatever_their_order_and_spaces() {
    let version_0 = r#" { "clusterId":"","leaderId" : 1 ,"leaderEpoch": 4,"votedId":-1,"appliedOffset":0,
        "currentVoters":[{"voterId":1},{"voterId":2}],"data_version":0 } "#;
    assert_eq!(Election::decode(version_0), Ok(election(4, Some(1), None)));
    let version_1 = r#"{"data_version":1,"votedDirectoryId":"AgICAgICAgICAgICAgICAg","votedId":2,"leaderEpoch":9,"leaderId":-1}"#;
    assert_eq!(Election::decode(version_1), Ok(election(9, None, Some(2))));
}

#[test]
fn what_is_no_such_file_is_refused() {
    let good = election(5, None, Some(1)).encode();
    for end in 0..good.len() {
        assert!(Election::decode(&good[..end]).is_err(), "{}", &good[..end]);
    }
    let bad = [
        "{}",
        "[]",
        r#"{"leaderEpoch":-2}"#,
        r#"{"leaderEpoch":"x"}"#,
        r#"{"leaderEpoch":1} x"#,
        r#"{"leaderEpoch":1,}"#,
        r#"{"leaderEpoch":}"#,
    ];
    for text in bad {
        assert!(Election::decode(text).is_err(), "{text}");
    }
}

#[test]
fn voters_become_a_record_and_back() {
    let all = voters(&[3, 1, 2]);
    assert_eq!(all.iter().map(|voter| voter.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(Voters::from_record(&all.to_record("CONTROLLER"), "CONTROLLER"), Some(all.clone()));
    assert_eq!(Voters::from_record(&all.to_record("OTHER"), "CONTROLLER"), Some(all.clone()));
    let mut record = all.to_record("CONTROLLER");
    record.voters[0].endpoints.clear();
    assert_eq!(Voters::from_record(&record, "CONTROLLER"), None);
}

#[test]
fn a_voter_is_a_node_and_a_disk() {
    let all = voters(&[1, 2]);
    assert!(all.contains(replica(1)) && all.contains((BrokerId(1), Uuid::ZERO)));
    assert!(!all.contains((BrokerId(1), Uuid([9; 16]))) && !all.contains(replica(3)));
    let of_the_file: Voters = [Voter { id: BrokerId(1), directory: Uuid::ZERO, address: address(BrokerId(1)) }].into_iter().collect();
    assert!(of_the_file.contains(replica(1)));
    assert_eq!([1, 2, 3, 4, 5].map(|n| voters(&(1..=n).collect::<Vec<_>>()).majority()), [1, 2, 2, 3, 3]);
}
