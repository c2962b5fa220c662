//! The error codes of Kafka's protocol, as one table. What a request is refused with; never our own bugs, nor a peer that breaks the wire.

/// A result code. 0 is success. Codes that this table does not name survive decoding and encoding.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i16);

struct Row {
    name: &'static str,
    retriable: bool,
    message: &'static str,
}

macro_rules! retriable {
    (retry) => {
        true
    };
    (fatal) => {
        false
    };
}

macro_rules! errors {
    ($($code:literal $name:ident $retry:ident $message:literal),* $(,)?) => {
        impl ErrorCode {
            $(#[doc = concat!("Code ", $code, ": ", $message, ".")]
            pub const $name: Self = Self($code);)*

            /// Every code that has a name, in order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            fn row(self) -> Option<Row> {
                match self.0 {
                    $($code => Some(Row { name: stringify!($name), retriable: retriable!($retry), message: $message }),)*
                    _ => None,
                }
            }
        }
    };
}

// Numbers, names and which are retriable: `org.apache.kafka.common.protocol.Errors` of Kafka 4.3 and the classes of its exceptions.
errors! {
    -1 UNKNOWN_SERVER_ERROR fatal "something failed that the broker did not expect",
    0 NONE fatal "no error",
    1 OFFSET_OUT_OF_RANGE fatal "the offset is outside the partition's log",
    2 CORRUPT_MESSAGE retry "a record failed its checksum, is too large, or is otherwise corrupt",
    3 UNKNOWN_TOPIC_OR_PARTITION retry "this broker does not host that topic or partition",
    4 INVALID_FETCH_SIZE fatal "the fetch size is not valid",
    5 LEADER_NOT_AVAILABLE retry "the partition has no leader for now",
    6 NOT_LEADER_OR_FOLLOWER retry "this broker is not the leader (or not a replica) of the partition",
    7 REQUEST_TIMED_OUT retry "the request timed out",
    8 BROKER_NOT_AVAILABLE fatal "the broker is not available",
    9 REPLICA_NOT_AVAILABLE retry "the replica is not available",
    10 MESSAGE_TOO_LARGE fatal "a batch is larger than the broker accepts",
    11 STALE_CONTROLLER_EPOCH fatal "the controller moved to another node",
    12 OFFSET_METADATA_TOO_LARGE fatal "the metadata string of an offset commit is too long",
    13 NETWORK_EXCEPTION retry "the connection was lost before an answer came",
    14 COORDINATOR_LOAD_IN_PROGRESS retry "the coordinator is still loading",
    15 COORDINATOR_NOT_AVAILABLE retry "the coordinator is not available",
    16 NOT_COORDINATOR retry "this broker is not the coordinator",
    17 INVALID_TOPIC_EXCEPTION fatal "the topic's name is not valid",
    18 RECORD_LIST_TOO_LARGE fatal "a batch is larger than a segment may be",
    19 NOT_ENOUGH_REPLICAS retry "fewer replicas are in sync than an append needs",
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND retry "the batch was appended, but to fewer in-sync replicas than asked for",
    21 INVALID_REQUIRED_ACKS fatal "acks must be -1, 0 or 1",
    22 ILLEGAL_GENERATION fatal "the generation is not the group's",
    23 INCONSISTENT_GROUP_PROTOCOL fatal "the member's protocols do not match those of the group",
    24 INVALID_GROUP_ID fatal "the group id is not valid",
    25 UNKNOWN_MEMBER_ID fatal "the coordinator does not know this member",
    26 INVALID_SESSION_TIMEOUT fatal "the session timeout is outside the broker's range",
    27 REBALANCE_IN_PROGRESS fatal "the group is rebalancing; rejoin",
    28 INVALID_COMMIT_OFFSET_SIZE fatal "the committed offset's data is too large",
    29 TOPIC_AUTHORIZATION_FAILED fatal "no permission for the topic",
    30 GROUP_AUTHORIZATION_FAILED fatal "no permission for the group",
    31 CLUSTER_AUTHORIZATION_FAILED fatal "no permission for the cluster",
    32 INVALID_TIMESTAMP fatal "the timestamp is outside the accepted range",
    33 UNSUPPORTED_SASL_MECHANISM fatal "the SASL mechanism is not supported",
    34 ILLEGAL_SASL_STATE fatal "the request does not fit the state of the SASL exchange",
    35 UNSUPPORTED_VERSION fatal "the version of the API is not supported",
    36 TOPIC_ALREADY_EXISTS fatal "a topic of that name exists",
    37 INVALID_PARTITIONS fatal "the number of partitions is not valid",
    38 INVALID_REPLICATION_FACTOR fatal "the replication factor is below 1 or above the number of brokers",
    39 INVALID_REPLICA_ASSIGNMENT fatal "the replica assignment is not valid",
    40 INVALID_CONFIG fatal "the configuration is not valid",
    41 NOT_CONTROLLER retry "this node is not the active controller",
    42 INVALID_REQUEST fatal "the request is not valid",
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT fatal "the message format does not support the request",
    44 POLICY_VIOLATION fatal "a policy refuses the request",
    45 OUT_OF_ORDER_SEQUENCE_NUMBER fatal "the sequence number is out of order",
    46 DUPLICATE_SEQUENCE_NUMBER fatal "the sequence number was seen before",
    47 INVALID_PRODUCER_EPOCH fatal "the producer's epoch is old",
    48 INVALID_TXN_STATE fatal "the transaction's state does not allow this",
    49 INVALID_PRODUCER_ID_MAPPING fatal "the producer id does not belong to the transactional id",
    50 INVALID_TRANSACTION_TIMEOUT fatal "the transaction timeout is larger than the broker allows",
    51 CONCURRENT_TRANSACTIONS retry "another operation on the transaction is under way",
    52 TRANSACTION_COORDINATOR_FENCED fatal "the transaction coordinator is no longer the current one",
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED fatal "no permission for the transactional id",
    54 SECURITY_DISABLED fatal "security features are off",
    55 OPERATION_NOT_ATTEMPTED fatal "not attempted, because another part of the request failed",
    56 KAFKA_STORAGE_ERROR retry "the disk failed",
    57 LOG_DIR_NOT_FOUND fatal "the broker has no such log directory",
    58 SASL_AUTHENTICATION_FAILED fatal "SASL authentication failed",
    59 UNKNOWN_PRODUCER_ID fatal "the broker remembers nothing of this producer",
    60 REASSIGNMENT_IN_PROGRESS fatal "a reassignment of the partition is under way",
    61 DELEGATION_TOKEN_AUTH_DISABLED fatal "delegation tokens are off",
    62 DELEGATION_TOKEN_NOT_FOUND fatal "the delegation token does not exist",
    63 DELEGATION_TOKEN_OWNER_MISMATCH fatal "the principal neither owns nor may renew the token",
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED fatal "delegation tokens cannot be asked for on this connection",
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED fatal "no permission for the delegation token",
    66 DELEGATION_TOKEN_EXPIRED fatal "the delegation token has expired",
    67 INVALID_PRINCIPAL_TYPE fatal "the principal type is not supported",
    68 NON_EMPTY_GROUP fatal "the group still has members",
    69 GROUP_ID_NOT_FOUND fatal "the group does not exist",
    70 FETCH_SESSION_ID_NOT_FOUND retry "the fetch session does not exist",
    71 INVALID_FETCH_SESSION_EPOCH retry "the fetch session's epoch is not valid",
    72 LISTENER_NOT_FOUND retry "the leader has no listener of the name that was asked on",
    73 TOPIC_DELETION_DISABLED fatal "deleting topics is off",
    74 FENCED_LEADER_EPOCH retry "the leader epoch is older than the broker's",
    75 UNKNOWN_LEADER_EPOCH retry "the leader epoch is newer than the broker's",
    76 UNSUPPORTED_COMPRESSION_TYPE fatal "the client does not support the partition's compression",
    77 STALE_BROKER_EPOCH fatal "the broker's epoch has changed",
    78 OFFSET_NOT_AVAILABLE retry "the new leader's high watermark has not caught up",
    79 MEMBER_ID_REQUIRED fatal "the member needs an id before it joins",
    80 PREFERRED_LEADER_NOT_AVAILABLE retry "the preferred leader is not available",
    81 GROUP_MAX_SIZE_REACHED fatal "the group is full",
    82 FENCED_INSTANCE_ID fatal "another member took over the static instance id",
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE retry "no eligible leader is available",
    84 ELECTION_NOT_NEEDED retry "no election is needed",
    85 NO_REASSIGNMENT_IN_PROGRESS fatal "no reassignment is under way",
    86 GROUP_SUBSCRIBED_TO_TOPIC fatal "the group is subscribed to the topic",
    87 INVALID_RECORD fatal "a record failed the broker's validation",
    88 UNSTABLE_OFFSET_COMMIT retry "offsets of an open transaction are pending",
    89 THROTTLING_QUOTA_EXCEEDED retry "a quota is exceeded",
    90 PRODUCER_FENCED fatal "a newer producer with the same transactional id took over",
    91 RESOURCE_NOT_FOUND fatal "the resource does not exist",
    92 DUPLICATE_RESOURCE fatal "the request names a resource twice",
    93 UNACCEPTABLE_CREDENTIAL fatal "the credential is not acceptable",
    94 INCONSISTENT_VOTER_SET fatal "sender or receiver is not one of the expected voters",
    95 INVALID_UPDATE_VERSION fatal "the update's version is not valid",
    96 FEATURE_UPDATE_FAILED fatal "the features could not be updated",
    97 PRINCIPAL_DESERIALIZATION_FAILURE fatal "the forwarded principal could not be read",
    98 SNAPSHOT_NOT_FOUND fatal "the snapshot does not exist",
    99 POSITION_OUT_OF_RANGE fatal "the position is outside the snapshot",
    100 UNKNOWN_TOPIC_ID retry "this broker does not host that topic id",
    101 DUPLICATE_BROKER_REGISTRATION fatal "the broker id is in use",
    102 BROKER_ID_NOT_REGISTERED fatal "the broker id is not registered",
    103 INCONSISTENT_TOPIC_ID retry "the topic id does not match the log's",
    104 INCONSISTENT_CLUSTER_ID fatal "the cluster id does not match",
    105 TRANSACTIONAL_ID_NOT_FOUND fatal "the transactional id does not exist",
    106 FETCH_SESSION_TOPIC_ID_ERROR retry "the fetch session mixes topic names and ids",
    107 INELIGIBLE_REPLICA fatal "the new ISR holds an ineligible replica",
    108 NEW_LEADER_ELECTED fatal "the partition was changed, and its leader with it",
    109 OFFSET_MOVED_TO_TIERED_STORAGE fatal "the offset has moved to tiered storage",
    110 FENCED_MEMBER_EPOCH fatal "the member epoch is fenced; give up all partitions and rejoin",
    111 UNRELEASED_INSTANCE_ID fatal "another member still holds the static instance id",
    112 UNSUPPORTED_ASSIGNOR fatal "the assignor is not supported by the group",
    113 STALE_MEMBER_EPOCH fatal "the member epoch is old; retry with the new one",
    114 MISMATCHED_ENDPOINT_TYPE fatal "the request came to an endpoint of the wrong kind",
    115 UNSUPPORTED_ENDPOINT_TYPE fatal "the kind of endpoint is not supported",
    116 UNKNOWN_CONTROLLER_ID fatal "the controller id is not known",
    117 UNKNOWN_SUBSCRIPTION_ID fatal "the telemetry subscription is unknown or outdated",
    118 TELEMETRY_TOO_LARGE fatal "the telemetry data are too large",
    119 INVALID_REGISTRATION fatal "the controller found the registration invalid",
    120 TRANSACTION_ABORTABLE fatal "the transaction failed and can be aborted",
    121 INVALID_RECORD_STATE fatal "the record's state does not allow this acknowledgement",
    122 SHARE_SESSION_NOT_FOUND retry "the share session does not exist",
    123 INVALID_SHARE_SESSION_EPOCH retry "the share session's epoch is not valid",
    124 FENCED_STATE_EPOCH fatal "the share group's state epoch does not match",
    125 INVALID_VOTER_KEY fatal "the voter's key does not match",
    126 DUPLICATE_VOTER fatal "the voter is in the set already",
    127 VOTER_NOT_FOUND fatal "the voter is not in the set",
    128 INVALID_REGULAR_EXPRESSION fatal "the regular expression is not valid",
    129 REBOOTSTRAP_REQUIRED fatal "the client's metadata is too old; bootstrap again",
    130 STREAMS_INVALID_TOPOLOGY fatal "the topology is not valid",
    131 STREAMS_INVALID_TOPOLOGY_EPOCH fatal "the topology epoch is not valid",
    132 STREAMS_TOPOLOGY_FENCED fatal "the topology epoch is old",
    133 SHARE_SESSION_LIMIT_REACHED retry "there are too many share sessions",
}

impl ErrorCode {
    /// Kafka's name in capitals; `UNKNOWN_ERROR_CODE` for a number without one.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("UNKNOWN_ERROR_CODE", |row| row.name)
    }

    /// A few words for people.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.row().map_or("an error that this version does not know", |row| row.message)
    }

    /// Whether a client may expect the same request to succeed later.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        self.row().is_some_and(|row| row.retriable)
    }

    /// Whether this is success.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.row() {
            Some(row) => f.write_str(row.name),
            None => write!(f, "ERROR_CODE_{}", self.0),
        }
    }
}

impl std::fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_from_minus_one_on_has_one_name() {
        let numbers: Vec<i16> = ErrorCode::ALL.iter().map(|e| e.0).collect();
        assert_eq!(numbers, (-1..=133).collect::<Vec<_>>());
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|e| e.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn known_and_unknown_codes_speak() {
        assert_eq!(ErrorCode::NOT_LEADER_OR_FOLLOWER.0, 6);
        assert!(ErrorCode(3).is_retriable());
        assert!(!ErrorCode::INVALID_TOPIC_EXCEPTION.is_retriable());
        assert_eq!(ErrorCode(6).to_string(), "NOT_LEADER_OR_FOLLOWER");
        assert_eq!((ErrorCode(999).to_string().as_str(), ErrorCode(999).name()), ("ERROR_CODE_999", "UNKNOWN_ERROR_CODE"));
        assert!(!ErrorCode(999).is_retriable());
    }
}
