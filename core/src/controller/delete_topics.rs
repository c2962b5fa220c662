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
        let mut records = Vec::new();
        let mut gone = BTreeSet::new();
        let mut responses = Vec::new();
        for one in seen {
            let found = self.find_deletable(version, one, twice.contains(one));
            // The same topic by its name and by its id is deleted once.
            if let Ok((_, id)) = &found
                && gone.insert(*id)
            {
                records.push(Record::RemoveTopic(RemoveTopicRecord { topic_id: *id }));
            }
            responses.push(result(one, found));
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
            None => Err(Refusal::plain(unknown)),
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
