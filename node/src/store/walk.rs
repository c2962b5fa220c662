//! A walk through one segment file, batch by batch: how far it is whole, and its indexes.

use super::index::Tail;
use super::replay::Replay;
use super::window::{Unreadable, Window};
use crate::fs::File;
use klamm_core::id::Offset;
use klamm_core::log::segments::Segment;
use klamm_core::wire::batch::BatchHeader;

/// A walk through one segment.
pub(crate) struct Walk {
    /// What it has seen of the segment.
    pub(crate) segment: Segment,
    /// The indexes of that.
    pub(crate) tail: Tail,
    /// The offset behind the last batch.
    pub(crate) next: Offset,
    /// Why the walk ended before the file did.
    pub(crate) stopped: Option<Stop>,
}

/// Why a walk ended early.
pub(crate) struct Stop {
    /// Whether the disk could not read, which says nothing of what is there: such a tail is never cut.
    pub(crate) unreadable: bool,
    /// What is wrong, and where.
    pub(crate) why: String,
}

/// What a walk does, and what it takes for whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Bytes between two index entries.
    pub(crate) interval: u64,
    /// Whether checksums are compared.
    pub(crate) check: bool,
    /// Whether compaction may have taken batches away.
    pub(crate) gaps: bool,
}

/// Walks a segment from its noted end on, taking each batch into its indexes.
pub(crate) async fn walk<F: File>(
    segment: Segment,
    tail: Tail,
    next: Offset,
    mut window: Window<F>,
    bytes: u64,
    rules: Rules,
    mut replay: Option<&mut Replay>,
) -> Walk {
    let mut walk = Walk { segment, tail, next, stopped: None };
    while walk.segment.bytes < bytes {
        let position = walk.segment.bytes;
        let header = if rules.check { window.checked(position).await } else { window.header(position).await };
        let unreadable = matches!(header, Err(Unreadable::Io(_)));
        match header.map_err(|why| why.to_string()).and_then(|header| sane(&walk, header, rules.gaps)) {
            Ok(header) => {
                walk.tail.note(&mut walk.segment, &header, position, rules.interval);
                walk.next = header.next_offset();
                if let Some(replay) = &mut replay {
                    replay.visit(&header);
                }
            }
            Err(why) => {
                walk.stopped = Some(Stop { unreadable, why: format!("byte {position} of segment {}: {why}", walk.segment.base) });
                break;
            }
        }
    }
    walk
}

/// The header, if its batch can stand where the walk is.
fn sane(walk: &Walk, header: BatchHeader, gaps: bool) -> Result<BatchHeader, String> {
    // No checksum covers the base offset. What is left of a log that was being emptied may end with one that rotted.
    if header.base_offset < walk.next || (header.base_offset > walk.next && !gaps) {
        return Err(format!("a batch that says to begin at {} stands at {}", header.base_offset, walk.next));
    }
    if header.last_offset().since(walk.segment.base) > i64::from(i32::MAX) || walk.segment.bytes > u64::from(u32::MAX) {
        return Err(format!("offset {} does not fit the segment", header.last_offset()));
    }
    Ok(header)
}
