//! Who this node is: what `klamm format` may write into `meta.properties` of each log directory, and whether they agree.
//!
//! The file itself is the store's. Source: Kafka's `MetaPropertiesEnsemble` and `Formatter`.

use crate::fs::Fs;
use crate::store::{self, Identity, MetaProperties, OpenError};
use bytes::Bytes;
use klamm_core::client::io::Address;
use klamm_core::config::quorum;
use klamm_core::id::{BrokerId, DirId, Uuid};
use std::path::{Path, PathBuf};

/// One of the first controllers: `id@host:port:directory-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub node: BrokerId,
    /// Where it listens for the quorum.
    pub address: Address,
    /// The id of its metadata log directory.
    pub dir: Uuid,
}

/// Reads the list of first controllers.
///
/// # Errors
/// One line, which names the part that is wrong.
pub fn voters(list: &str) -> Result<Vec<Voter>, String> {
    let mut voters = Vec::<Voter>::new();
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let voter =
            voter(part).ok_or_else(|| format!("`{part}` is not ID@HOST:PORT:DIRECTORY-ID, like `1@localhost:9093:{}`", new_uuid()))?;
        if voters.iter().any(|v| v.node == voter.node || v.dir == voter.dir) {
            return Err(format!("`{part}`: its node id or its directory id is in the list twice"));
        }
        voters.push(voter);
    }
    if voters.is_empty() { Err("the list of initial controllers is empty".to_owned()) } else { Ok(voters) }
}

fn voter(text: &str) -> Option<Voter> {
    let (node, rest) = text.split_once('@')?;
    let (address, dir) = rest.rsplit_once(':')?;
    let address = quorum::address(address)?;
    let node = node.parse().ok().filter(|id| *id >= 0)?;
    Some(Voter { node: BrokerId(node), address, dir: Uuid::parse(dir)? })
}

/// A random id that Kafka's tools take on a command line: it begins with no `-`, and is none of the reserved ones.
///
/// # Panics
/// If the system has no randomness.
#[must_use]
pub fn new_uuid() -> Uuid {
    loop {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system gives random bytes");
        // Version 4, variant 2, as Java's `UUID.randomUUID`: so none of Kafka's reserved ids (below 100) can come out.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let id = Uuid(bytes);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

/// This machine's name, for others to dial; `localhost` where it has none.
#[must_use]
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// What reading the log directories found.
#[derive(Debug)]
pub enum Found {
    /// Every directory is formatted, and for the same node of the same cluster.
    Formatted(Identity),
    /// None is.
    Empty,
}

/// A log directory by its path, for messages.
pub type NamedDisk<F> = (PathBuf, F);

/// Reads `meta.properties` of each directory. One whose disk fails says nothing, unless it is the first, which holds the metadata log.
///
/// # Errors
/// One line: some are formatted and some are not, they belong to different nodes, or one cannot be read.
pub async fn read<F: Fs>(disks: &[NamedDisk<F>]) -> Result<Found, String> {
    let mut metas = Vec::new();
    for (path, fs) in disks {
        match store::properties(fs).await {
            Ok(meta) => metas.push((path, meta)),
            Err(OpenError::Disk(_)) if !metas.is_empty() => {}
            Err(why) => return Err(format!("cannot use {}: {why}", path.display())),
        }
    }
    let Some((first_path, first)) = metas.iter().find_map(|(path, meta)| Some((path, meta.clone()?))) else { return Ok(Found::Empty) };
    let mut ids = Vec::new();
    for (path, meta) in &metas {
        let path = path.display();
        let Some(meta) = meta else {
            return Err(format!(
                "{path} is not formatted, but other folders of `log.dirs` are: format it with `klamm format --ignore-formatted`"
            ));
        };
        if meta.owner != first.owner {
            let first_path = first_path.display();
            return Err(format!(
                "{path} belongs to {}, but {first_path} to {}: name only one node's folders in `log.dirs`",
                meta.owner, first.owner
            ));
        }
        if ids.contains(&meta.directory) {
            return Err(format!(
                "{path}: another folder of `log.dirs` has the same id {}; one is a copy of the other: take it out",
                meta.directory
            ));
        }
        ids.push(meta.directory);
    }
    Ok(Found::Formatted(first.owner))
}

/// The id of one directory; `None` if it is not formatted.
///
/// # Errors
/// One line: it cannot be read.
pub async fn directory_id<F: Fs>((path, fs): &NamedDisk<F>) -> Result<Option<Uuid>, String> {
    Ok(meta(path, fs).await?.map(|meta| meta.directory))
}

async fn meta<F: Fs>(path: &Path, fs: &F) -> Result<Option<MetaProperties>, String> {
    store::properties(fs).await.map_err(|e| format!("{}: {e}", path.display()))
}

/// What a format should write.
#[derive(Debug)]
pub struct Plan {
    /// Whose the directories will be.
    pub owner: Identity,
    /// Which directory has the metadata log.
    pub metadata_dir: DirId,
    /// The id that this one must get; a new one otherwise.
    pub metadata_id: Option<Uuid>,
    /// What goes there as the first snapshot of the metadata log: who votes at first.
    pub checkpoint: Option<Bytes>,
    /// Leave directories alone that are formatted for this node already.
    pub ignore_formatted: bool,
}

/// Formats every directory. One always gets a new id, unless the list of first controllers names one: a wiped disk must not vote twice. Returns
/// what was formatted.
///
/// # Errors
/// One line: a directory is formatted already, or cannot be written.
pub async fn format<F: Fs>(plan: &Plan, disks: &[NamedDisk<F>]) -> Result<Vec<(PathBuf, Uuid)>, String> {
    let mut todo = Vec::new();
    for (index, (path, fs)) in disks.iter().enumerate() {
        let is_metadata = index == usize::from(plan.metadata_dir.0);
        let id = plan.metadata_id.filter(|_| is_metadata);
        match meta(path, fs).await? {
            None => todo.push((path, fs, id.unwrap_or_else(new_uuid), plan.checkpoint.clone().filter(|_| is_metadata))),
            Some(_) if !plan.ignore_formatted => {
                return Err(format!(
                    "{} is already formatted; `--ignore-formatted` leaves it as it is and formats only those that are not",
                    path.display()
                ));
            }
            Some(meta) if meta.owner != plan.owner => {
                return Err(format!(
                    "{} is formatted for {}, not for {}: name another folder, or empty this one if nothing in it counts",
                    path.display(),
                    meta.owner,
                    plan.owner
                ));
            }
            Some(meta) if id.is_some_and(|id| id != meta.directory) => {
                return Err(format!(
                    "{} is formatted with directory id {}, not with the one that is listed",
                    path.display(),
                    meta.directory
                ));
            }
            Some(_) => {}
        }
    }
    let mut done = Vec::new();
    for (path, fs, id, checkpoint) in todo {
        // Before the identity: what is formatted knows its voters.
        if let Some(checkpoint) = checkpoint {
            store::put_checkpoint(fs, checkpoint).await.map_err(|e| format!("cannot format {}: {e}", path.display()))?;
        }
        let meta = MetaProperties { owner: plan.owner.clone(), directory: id };
        store::format(fs, &meta).await.map_err(|e| format!("cannot format {}: {e}", path.display()))?;
        done.push((path.clone(), id));
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Disk;

    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("klamm-identity-{name}-{}", std::process::id())))
        }

        fn disks(&self, names: &[&str]) -> Vec<NamedDisk<Disk>> {
            names.iter().map(|name| (self.0.join(name), Disk::new(self.0.join(name)).expect("a temporary folder"))).collect()
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn plan(node: i32, ignore_formatted: bool) -> Plan {
        Plan {
            owner: Identity { cluster: "some-cluster".to_owned(), node: BrokerId(node) },
            metadata_dir: DirId(0),
            metadata_id: Uuid::parse("AAAAAAAAAAAAAAAAAAABAA"),
            checkpoint: None,
            ignore_formatted,
        }
    }

    #[tokio::test]
    async fn what_is_formatted_reads_back_and_is_not_formatted_again() {
        let temp = Temp::new("twice");
        let disks = temp.disks(&["a", "b"]);
        assert!(matches!(read(&disks).await, Ok(Found::Empty)));
        let made = format(&plan(3, false), &disks).await.expect("empty folders");
        let Ok(Found::Formatted(identity)) = read(&disks).await else { panic!("just formatted") };
        assert_eq!(identity, Identity { cluster: "some-cluster".to_owned(), node: BrokerId(3) });
        assert_eq!(Some(made[0].1), plan(3, false).metadata_id);
        assert_ne!(made[0].1, made[1].1);
        assert!(format(&plan(3, false), &disks).await.expect_err("formatted").contains("already formatted"));
        assert_eq!(format(&plan(3, true), &disks).await.expect("nothing to do"), []);
    }

    #[tokio::test]
    async fn a_lost_directory_is_noticed_and_comes_back_with_a_new_id() {
        let temp = Temp::new("lost");
        let disks = temp.disks(&["a", "b"]);
        let first = format(&plan(3, false), &disks).await.expect("empty folders");
        disks[1].1.remove_file(MetaProperties::FILE).await.expect("just made");
        assert!(read(&disks).await.expect_err("one is missing").contains("--ignore-formatted"));
        let again = format(&plan(3, true), &disks).await.expect("one is missing");
        assert_eq!(again.len(), 1);
        assert_ne!(again[0].1, first[1].1, "a wiped disk must not vote twice");
    }

    #[tokio::test]
    async fn the_first_snapshot_goes_where_the_metadata_log_will_be_and_nowhere_over_another() {
        let temp = Temp::new("snapshot");
        let disks = temp.disks(&["a", "b"]);
        let plan = || Plan { metadata_dir: DirId(1), checkpoint: Some(Bytes::from_static(b"voters")), ..plan(3, true) };
        let made = format(&plan(), &disks).await.expect("empty folders");
        assert_eq!(Some(made[1].1), plan().metadata_id);
        let path = temp.0.join("b/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint");
        assert_eq!(std::fs::read(&path).expect("written"), b"voters");
        assert!(!temp.0.join("a/__cluster_metadata-0").exists());
        let other = Plan { metadata_id: Some(new_uuid()), ..plan() };
        assert!(format(&other, &disks).await.expect_err("another id").contains("not with the one that is listed"));
        disks[1].1.remove_file(MetaProperties::FILE).await.expect("just made");
        assert_eq!(format(&plan(), &disks).await.expect("as after a crash within a format").len(), 1);
        disks[1].1.remove_file(MetaProperties::FILE).await.expect("just made");
        std::fs::write(path.with_file_name("00000000000000000000.log"), b"").expect("a folder");
        assert!(format(&plan(), &disks).await.expect_err("an old log").contains("left of another cluster"));
    }

    #[tokio::test]
    async fn directories_of_two_nodes_do_not_mix() {
        let temp = Temp::new("mixed");
        let disks = temp.disks(&["a", "b"]);
        format(&plan(3, false), &disks[..1]).await.expect("an empty folder");
        format(&Plan { metadata_id: None, ..plan(4, false) }, &disks[1..]).await.expect("an empty folder");
        assert!(read(&disks).await.expect_err("two nodes").contains("belongs to node 4"));
    }

    #[test]
    fn the_list_of_first_controllers() {
        let list = "1@127.0.0.1:9093:AAAAAAAAAAAAAAAAAAABAA, 2@host-b:9094:AAAAAAAAAAAAAAAAAAACAA";
        let got = voters(list).expect("well-formed");
        assert_eq!(got.iter().map(|v| format!("{} {}", v.node, v.address)).collect::<Vec<_>>(), ["1 127.0.0.1:9093", "2 host-b:9094"]);
        for bad in [
            "",
            "1@h:AAAAAAAAAAAAAAAAAAABAA",
            "x@h:1:AAAAAAAAAAAAAAAAAAABAA",
            "1@h:1:short",
            "1@h:1:AAAAAAAAAAAAAAAAAAABAA,1@h:2:AAAAAAAAAAAAAAAAAAACAA",
        ] {
            assert!(voters(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn new_ids_differ_and_suit_a_command_line() {
        let ids = (0..200).map(|_| new_uuid().to_string()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(ids.len(), 200);
        assert!(ids.iter().all(|id| !id.starts_with('-')));
    }
}
