//! Plans DeleteTopics, by name or by id. Source: Kafka's `ControllerApis.deleteTopics`; messages confirmed on 4.3.1.

use super::plan::{Plan, Planner, Refusal};
use super::record::Record;
use crate::error::ErrorCode;
use crate::id::Uuid;
use crate::wire::api::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::records::metadata::RemoveTopicRecord;
use std::collections::BTreeSet;

/// A topic as the request names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Name(String),
    Id(Uuid),
    Neither,
    Both(String, Uuid),
}

impl Planner<'_> {
    /// Plans the topics that exist; the others are refused one by one. `version` decides what a broker that may not delete says.
    pub fn delete_topics(&mut self, version: i16, request: &DeleteTopicsRequest) -> Plan<DeleteTopicsResponse> {
        let asked = all_asked(request);
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<&Asked> = asked.iter().filter(|one| !seen.insert(*one)).collect();
        let found: Vec<_> = seen.iter().map(|one| (*one, self.find_deletable(version, one, twice.contains(one)))).collect();
        let by_id: BTreeSet<Uuid> =
            found.iter().filter(|(one, _)| matches!(one, Asked::Id(_))).filter_map(|(_, f)| Some(f.as_ref().ok()?.1)).collect();
        let by_name: BTreeSet<Uuid> =
            found.iter().filter(|(one, _)| matches!(one, Asked::Name(_))).filter_map(|(_, f)| Some(f.as_ref().ok()?.1)).collect();
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for (one, found) in found {
            let id = found.as_ref().map_or(Uuid::ZERO, |(_, id)| *id);
            let is_both = by_id.contains(&id) && by_name.contains(&id);
            match one {
                // A topic that is asked for both ways stays, and is answered once.
                Asked::Id(_) if is_both => {}
                Asked::Name(name) if is_both => responses.push(named_twice(name, id)),
                Asked::Name(_) | Asked::Id(_) | Asked::Neither | Asked::Both(..) => {
                    records.extend(found.as_ref().ok().map(|(_, id)| Record::RemoveTopic(RemoveTopicRecord { topic_id: *id })));
                    responses.push(result(one, found));
                }
            }
        }
        Plan { records, response: DeleteTopicsResponse { responses, ..Default::default() } }
    }

    fn find_deletable(&self, version: i16, asked: &Asked, is_twice: bool) -> Result<(String, Uuid), Refusal> {
        if !self.config.delete_topics {
            return Err(match version {
                ..3 => Refusal::new(ErrorCode::INVALID_REQUEST, "Topic deletion is disabled."),
                _ => Refusal::new(ErrorCode::TOPIC_DELETION_DISABLED, "Topic deletion is disabled."),
            });
        }
        let no = |words: &str| Err(Refusal::new(ErrorCode::INVALID_REQUEST, words));
        let (topic, unknown) = match asked {
            Asked::Neither => return no("Neither topic name nor id were specified."),
            Asked::Both(..) => return no("You may not specify both topic name and topic id."),
            Asked::Name(_) if is_twice => return no("Duplicate topic name."),
            Asked::Id(_) if is_twice => return no("Duplicate topic id."),
            Asked::Name(name) => (self.image.topic(name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Asked::Id(id) => (self.image.topic_by_id(*id), ErrorCode::UNKNOWN_TOPIC_ID),
        };
        match topic {
            Some(topic) => Ok((topic.name.to_string(), topic.id)),
            None if unknown == ErrorCode::UNKNOWN_TOPIC_ID => Err(Refusal::new(unknown, "This server does not host this topic ID.")),
            None => Err(Refusal::new(unknown, "This server does not host this topic-partition.")),
        }
    }
}

fn all_asked(request: &DeleteTopicsRequest) -> Vec<Asked> {
    let by_name = request.topic_names.iter().cloned().map(Asked::Name);
    let by_either = request.topics.iter().map(|topic| match (&topic.name, topic.topic_id) {
        (Some(name), Uuid::ZERO) => Asked::Name(name.clone()),
        (Some(name), id) => Asked::Both(name.clone(), id),
        (None, Uuid::ZERO) => Asked::Neither,
        (None, id) => Asked::Id(id),
    });
    by_name.chain(by_either).collect()
}

fn named_twice(name: &str, topic_id: Uuid) -> DeletableTopicResult {
    let words = "The provided topic name maps to an ID that was already supplied.";
    let (error_code, error_message) = (ErrorCode::INVALID_REQUEST, Some(words.to_owned()));
    DeletableTopicResult { name: Some(name.to_owned()), topic_id, error_code, error_message }
}

fn result(asked: &Asked, found: Result<(String, Uuid), Refusal>) -> DeletableTopicResult {
    let (name, topic_id) = match asked {
        Asked::Name(name) => (Some(name.clone()), Uuid::ZERO),
        Asked::Id(id) => (None, *id),
        Asked::Neither => (None, Uuid::ZERO),
        Asked::Both(name, id) => (Some(name.clone()), *id),
    };
    match found {
        Ok((name, id)) => DeletableTopicResult { name: Some(name), topic_id: id, error_code: ErrorCode::NONE, error_message: None },
        Err(refusal) => DeletableTopicResult { name, topic_id, error_code: refusal.code, error_message: refusal.message },
    }
}
