//! The small text files of a log directory, in Kafka's formats, and how a small file is replaced: whole or not at all.

use crate::fs::{File, Fs, Open};
use bytes::Bytes;
use klamm_core::id::{BrokerId, Uuid};
use klamm_core::{mutant, probe};
use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// A larger file is none of the small ones.
pub(crate) const SMALL_BYTES: u64 = 16 << 20;

/// Who log directories belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `cluster.id`
    pub cluster: String,
    /// `node.id`
    pub node: BrokerId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {}", self.node, self.cluster)
    }
}

/// What a log directory says of itself (`meta.properties`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// Whose it is.
    pub owner: Identity,
    /// `directory.id`: a new one at each format.
    pub directory: Uuid,
}

impl MetaProperties {
    /// The file's name.
    pub const FILE: &str = "meta.properties";

    /// The file's text.
    #[must_use]
    pub fn encode(&self) -> String {
        let Identity { cluster, node } = &self.owner;
        format!("#\nversion=1\ncluster.id={cluster}\nnode.id={node}\ndirectory.id={}\n", self.directory)
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// Which key is missing or has no sense.
    pub fn decode(text: &str) -> Result<Self, String> {
        let pairs: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let get = |key: &str| pairs.get(key).copied().ok_or_else(|| format!("{} has no {key}", Self::FILE));
        if get("version")? != "1" {
            return Err(format!("{} has version {}, only 1 is known", Self::FILE, get("version")?));
        }
        let node = get("node.id")?.parse().map_err(|_| format!("{}: node.id is no number", Self::FILE))?;
        let directory = Uuid::parse(get("directory.id")?).ok_or_else(|| format!("{}: directory.id is no id", Self::FILE))?;
        Ok(Self { owner: Identity { cluster: get("cluster.id")?.to_owned(), node: BrokerId(node) }, directory })
    }
}

/// The text of `partition.metadata`.
pub(crate) fn encode_topic(topic: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic}\n")
}

/// The topic id in `partition.metadata`.
pub(crate) fn decode_topic(text: &str) -> Option<Uuid> {
    Uuid::parse(text.lines().find_map(|line| line.strip_prefix("topic_id:"))?.trim())
}

/// Whether a folder's name is `topic-partition`.
pub(crate) fn is_log_folder(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(topic, partition)| {
        !topic.is_empty() && !partition.is_empty() && partition.len() <= 10 && partition.bytes().all(|c| c.is_ascii_digit())
    })
}

/// The folder of a path; `""` for the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Makes a folder's names durable.
pub(crate) async fn sync_dir<F: Fs>(fs: &F, folder: &str) -> io::Result<()> {
    if mutant!(RenameNoDirsync) {
        return Ok(());
    }
    fs.sync_dir(folder).await
}

/// Makes a file durable. A failure is final: the kernel may have dropped the dirty pages, so that another try would lie.
pub(crate) async fn sync_file<F: File>(file: &F) -> io::Result<()> {
    match file.sync().await {
        Err(_) if mutant!(FsyncErrorIgnored) => Ok(()),
        // Its kind is hidden: a sync that finds the disk full has lost data, which a write that finds it full has not.
        outcome => outcome.map_err(|error| io::Error::other(format!("sync: {error}"))),
    }
}

/// Replaces a small file, atomically and durably. What a failure leaves behind is a `.tmp`, which the next recovery removes.
pub(crate) async fn replace<F: Fs>(fs: &F, path: &str, bytes: Bytes) -> io::Result<()> {
    let path = path.to_owned();
    fs.together(|fs| async move { put(&fs, &path, bytes).await }).await
}

async fn put<F: Fs>(fs: &F, path: &str, bytes: Bytes) -> io::Result<()> {
    let temporary = format!("{path}.tmp");
    let file = fs.open(&temporary, Open::Empty).await?;
    if let Err(error) = file.write_at(0, &[bytes]).await {
        probe!("a small file did not fit");
        // The room it took is wanted back; if it cannot be removed, the next recovery will.
        let _ = fs.remove_file(&temporary).await;
        return Err(error);
    }
    if !mutant!(RenameNoSync) {
        sync_file(&file).await?;
    }
    drop(file);
    fs.rename(&temporary, path).await?;
    sync_dir(fs, parent(path)).await
}

/// A small file's content; `None` if it is not there.
pub(crate) async fn read_small<F: Fs>(fs: &F, path: &str) -> io::Result<Option<Bytes>> {
    read_at_most(fs, path, SMALL_BYTES).await
}

/// The content of a file of at most so many bytes; `None` if it is not there.
pub(crate) async fn read_at_most<F: Fs>(fs: &F, path: &str, most: u64) -> io::Result<Option<Bytes>> {
    let file = match fs.open(path, Open::Existing).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = file.size().await?;
    if size > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path} has {size} bytes")));
    }
    Ok(Some(file.read_at(0, usize::try_from(size).expect("judged above")).await?))
}

/// A small text file; `None` if it is not there or is no text.
pub(crate) async fn read_text<F: Fs>(fs: &F, path: &str) -> io::Result<Option<String>> {
    Ok(read_small(fs, path).await?.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()))
}

/// Removes a file; fine if it is not there.
pub(crate) async fn remove_if_there<F: Fs>(fs: &F, path: &str) -> io::Result<()> {
    match fs.remove_file(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_read_back_and_name_what_is_missing() {
        let meta = MetaProperties { owner: Identity { cluster: "abc".into(), node: BrokerId(3) }, directory: Uuid([9; 16]) };
        assert_eq!(MetaProperties::decode(&meta.encode()), Ok(meta.clone()));
        let cut = meta.encode().replace("node.id=3\n", "");
        assert_eq!(MetaProperties::decode(&cut), Err("meta.properties has no node.id".to_owned()));
        assert_eq!(decode_topic(&encode_topic(Uuid([5; 16]))), Some(Uuid([5; 16])));
    }

    #[test]
    fn only_topic_partition_is_a_log() {
        for (name, is) in [("t-0", true), ("a-b-12", true), ("t-0.1f-delete", false), ("-0", false), ("t-", false), ("lost+found", false)] {
            assert_eq!(is_log_folder(name), is, "{name}");
        }
    }
}
