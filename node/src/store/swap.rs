//! The last part of a cleaning: a new segment takes the place of old ones, so that a crash leaves the ones or the other, whole.
//!
//! ```text
//!   X.log.cleaned, X.index.cleaned, X.timeindex.cleaned, durable ─► X.log.cleaned becomes X.END.swap: decided
//!   ─► the old segments from X up to END go, but for X.log ─► X.END.swap becomes X.log, and so do the indexes
//! ```
//!
//! Each arrow is a sync of the folder. A recovery that finds X.END.swap does what is missing; without one it removes what is `.cleaned`. The name says which
//! segments are replaced, since the new one may end earlier than they did, or hold nothing. Kafka's `.swap` has no end, and leaves such segments.
//!
//! What compaction has done to a log stands in a file of its own in the log's folder, which is durable before the first gap is: without it a gap is the work of
//! a crash, or of rot. It also says up to where the log was cleaned (what Kafka has in `cleaner-offset-checkpoint`): a cut lowers that before it cuts.

use super::files::Kind;
use super::meta::{read_text, remove_if_there, replace, sync_dir};
use crate::fs::Fs;
use klamm_core::id::Offset;
use klamm_core::mutant;
use std::io;

/// What the name of a decided swap ends with.
pub(crate) const SWAP: &str = ".swap";
/// What the names of a cleaning's files end with, before it is decided.
pub(crate) const CLEANED: &str = ".cleaned";
/// That file.
pub(crate) const COMPACTED_FILE: &str = "compaction-checkpoint";

/// Where a file of a segment is before it gets its name.
pub(crate) fn cleaned_path(kind: Kind, folder: &str, base: Offset) -> String {
    format!("{}{CLEANED}", kind.path(folder, base))
}

fn swap_path(folder: &str, base: Offset, end: Offset) -> String {
    format!("{folder}/{:020}.{:020}{SWAP}", base.0, end.0)
}

/// Decides that the cleaned segment at `base`, whose files are durable, takes the place of all up to `end`.
pub(crate) async fn decide<F: Fs>(fs: &F, folder: &str, base: Offset, end: Offset) -> io::Result<()> {
    if mutant!(SwapUnsure) {
        return Ok(());
    }
    fs.rename(&cleaned_path(Kind::Log, folder, base), &swap_path(folder, base, end)).await?;
    // Its kind is hidden: it is not known whether this is decided, full disk or not.
    sync_dir(fs, folder).await.map_err(|error| io::Error::other(format!("sync: {error}")))
}

/// Carries out what was decided, or what is left of it. `sources` are the segments from `base` up to `end`, as far as they are there.
pub(crate) async fn carry_out<F: Fs>(fs: &F, folder: &str, base: Offset, end: Offset, sources: &[Offset]) -> io::Result<()> {
    for source in sources.iter().rev() {
        for kind in Kind::ALL {
            // Until the new one has its name, the swap stands for it.
            if *source != base || kind != Kind::Log {
                remove_if_there(fs, &kind.path(folder, *source)).await?;
            }
        }
    }
    sync_dir(fs, folder).await?;
    for kind in [Kind::Offsets, Kind::Times] {
        match fs.rename(&cleaned_path(kind, folder, base), &kind.path(folder, base)).await {
            // Recovery has removed it, and makes it anew.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
    }
    let swap = if mutant!(SwapUnsure) { cleaned_path(Kind::Log, folder, base) } else { swap_path(folder, base, end) };
    fs.rename(&swap, &Kind::Log.path(folder, base)).await?;
    sync_dir(fs, folder).await
}

/// What a log's folder says of its gaps; `None` where it has none.
///
/// # Errors
/// As the disk says; `InvalidData` where the file is no good.
pub(crate) async fn read_compacted<F: Fs>(fs: &F, folder: &str) -> io::Result<Option<Compacted>> {
    let text = read_text(fs, &format!("{folder}/{COMPACTED_FILE}")).await?;
    text.map(|text| Compacted::decode(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())).transpose()
}

/// Says that durably.
pub(crate) async fn save_compacted<F: Fs>(fs: &F, folder: &str, compacted: Compacted) -> io::Result<()> {
    replace(fs, &format!("{folder}/{COMPACTED_FILE}"), compacted.encode().into()).await
}

/// What compaction has done to a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// Segments that end at or below may end before the next one begins. (Within a segment there may be gaps anywhere: a follower's log has its leader's.)
    pub(crate) gaps_below: Offset,
    /// Below here it was cleaned.
    pub(crate) clean_below: Offset,
}

impl Compacted {
    /// Of what is left when the log is cut so that the segment that begins at `base` is the last one.
    pub(crate) fn cut(self, base: Offset) -> Self {
        Self { gaps_below: self.gaps_below.min(base), clean_below: self.clean_below.min(base) }
    }

    fn encode(self) -> String {
        format!("0\n{} {}\n", self.gaps_below, self.clean_below)
    }

    fn decode(text: &str) -> Option<Self> {
        let (gaps, clean) = text.strip_prefix("0\n")?.strip_suffix('\n')?.split_once(' ')?;
        Some(Self { gaps_below: Offset(gaps.parse().ok()?), clean_below: Offset(clean.parse().ok()?) })
    }
}
