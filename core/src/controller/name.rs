//! Which names a topic may have. Source: Kafka's `Topic`.

/// Holds offsets and groups.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Holds transactions.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// Holds share groups.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";
/// The metadata log; no topic that a client sees.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";
/// Characters that a topic's name may have.
const LENGTH_MAX: usize = 249;

/// Whether Kafka calls it internal: tools leave it alone.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Judges a topic's name.
///
/// # Errors
/// What is wrong with it, in Kafka's words; answered as INVALID_TOPIC_EXCEPTION.
pub fn validate(name: &str) -> Result<(), String> {
    let why = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > LENGTH_MAX {
        format!("the length of '{name}' is longer than the max allowed length {LENGTH_MAX}")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {why}"))
}

/// The name with which `name` must not collide: metrics cannot tell `.` from `_`.
#[must_use]
pub fn unified(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_in_kafkas_words() {
        assert_eq!(validate("a.B_c-9"), Ok(()));
        assert_eq!(validate(&"x".repeat(249)), Ok(()));
        assert!(validate(&"x".repeat(250)).expect_err("too long").ends_with("is longer than the max allowed length 249"));
        assert_eq!(validate("").expect_err("empty"), "Topic name is invalid: the empty string is not allowed");
        assert_eq!(validate("..").expect_err("dots"), "Topic name is invalid: '..' is not allowed");
        assert_eq!(
            validate("a b").expect_err("a space"),
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        );
    }
}
