//! The report of one run, for whoever wants to see what went wrong: one HTML file that needs nothing else, or the same as text.
//!
//! While a run goes, a [`Recorder`] keeps what happens; it never decides anything, and a run with it is the same as one without. What it kept becomes a
//! [`Sheet`], thinned to what a page can hold, and that is written down.

mod deeds;
mod finding;
mod messages;
mod page;
mod recording;
mod sheet;
mod story;
mod text;
mod thin;

pub use finding::Witness;
pub use page::page;
pub use sheet::{Sheet, Told};
pub use text::text;

pub(crate) use messages::End;
pub(crate) use recording::{Recording, State};

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

/// Keeps what happens in a run, or does nothing: then it costs nothing. Clones keep it together.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Rc<RefCell<Recording>>>);

impl Recorder {
    /// One that keeps what happens.
    #[must_use]
    pub fn on() -> Self {
        Self(Some(Rc::default()))
    }

    /// Lets `keep` write something down, if anybody wants it.
    pub(crate) fn keep(&self, keep: impl FnOnce(&mut Recording)) {
        if let Some(recording) = &self.0 {
            keep(&mut recording.borrow_mut());
        }
    }

    /// What became of the run, in the form of a page: all there is, even if it ended in a panic.
    #[must_use]
    pub fn sheet(&self, told: Told) -> Sheet {
        let mut recording = self.0.as_ref().map(|recording| std::mem::take(&mut *recording.borrow_mut())).unwrap_or_default();
        recording.keep_histories();
        Sheet::of(recording, told)
    }
}

/// Writes a report: as text where the file's name ends in `.txt`, and else as a page.
///
/// # Errors
/// Those of the file.
pub fn write(sheet: &Sheet, path: &Path) -> std::io::Result<()> {
    let is_text = path.extension().is_some_and(|extension| extension == "txt");
    std::fs::write(path, if is_text { text(sheet) } else { page(sheet) })
}
