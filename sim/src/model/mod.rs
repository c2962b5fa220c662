//! Small worlds, explored to the end: whatever may happen within a bound happens, in every order, by the state machines that the node runs.
//!
//! A seed draws one way through a large world; here all ways through a small one are walked, and states that are the same are walked on from once.

pub mod canon;
pub mod explore;
pub mod partition;
pub mod quorum;

/// What a panic says.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
