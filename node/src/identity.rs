//! Who this node is: `meta.properties` of each log directory, written by `format` and read at every start.
//!
//! Touches the disk directly: it runs before there is a store, and never in a simulation. Source: Kafka's `MetaPropertiesEnsemble` and `Formatter`.

use crate::config::properties;
use klamm_core::id::{BrokerId, Uuid};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file that names a log directory.
const META: &str = "meta.properties";

/// What the log directories say of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id, as it was given.
    pub cluster: String,
    /// The node's id.
    pub node: BrokerId,
    /// Each log directory's own id, in the order of `log.dirs`.
    pub dirs: Vec<Uuid>,
}

/// What one `meta.properties` says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meta {
    cluster: String,
    node: BrokerId,
    dir: Uuid,
}

/// One of the first controllers: `id@host:port:directory-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub node: BrokerId,
    /// Where it listens for the quorum.
    pub address: String,
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
    let (_, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let node = node.parse().ok().filter(|id| *id >= 0)?;
    Some(Voter { node: BrokerId(node), address: address.to_owned(), dir: Uuid::parse(dir)? })
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

/// Reads `meta.properties` of each of `dirs`.
///
/// # Errors
/// One line: some are formatted and some are not, they belong to different nodes, or one cannot be read.
pub fn read(dirs: &[PathBuf]) -> Result<Found, String> {
    let metas = dirs.iter().map(|dir| read_one(dir)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = metas.iter().flatten().next().cloned() else { return Ok(Found::Empty) };
    let mut ids = Vec::new();
    for (dir, meta) in dirs.iter().zip(metas) {
        let Some(meta) = meta else {
            return Err(format!(
                "{} is not formatted, but other directories of `log.dirs` are: format it with `klamm format --ignore-formatted`",
                dir.display()
            ));
        };
        if meta.cluster != first.cluster || meta.node != first.node {
            return Err(format!(
                "{} belongs to node {} of cluster {}, but {} to node {} of cluster {}",
                dir.display(),
                meta.node,
                meta.cluster,
                dirs[0].display(),
                first.node,
                first.cluster
            ));
        }
        if ids.contains(&meta.dir) {
            return Err(format!("{}: another directory has the same id {}; one of them is a copy", dir.display(), meta.dir));
        }
        ids.push(meta.dir);
    }
    Ok(Found::Formatted(Identity { cluster: first.cluster, node: first.node, dirs: ids }))
}

fn read_one(dir: &Path) -> Result<Option<Meta>, String> {
    let path = dir.join(META);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    };
    let bad = |what: &str| format!("{}: {what}", path.display());
    let entries = properties::parse(&text).map_err(|line| bad(&format!("line {line} is malformed")))?;
    let values = entries.into_iter().map(|e| (e.key, e.value)).collect::<BTreeMap<_, _>>();
    let get = |key: &str| values.get(key).ok_or_else(|| bad(&format!("no `{key}`")));
    if get("version")? != "1" {
        return Err(bad("version is not 1: it was written by another generation of Kafka"));
    }
    let node = get("node.id")?.parse().map_err(|_| bad("`node.id` is no number"))?;
    let dir = Uuid::parse(get("directory.id")?).ok_or_else(|| bad("`directory.id` is no id"))?;
    Ok(Some(Meta { cluster: get("cluster.id")?.clone(), node: BrokerId(node), dir }))
}

/// What a format should write.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The cluster.
    pub cluster: String,
    /// The node.
    pub node: BrokerId,
    /// All log directories; the first one holds the metadata log.
    pub dirs: &'a [PathBuf],
    /// The id that the first directory must get; a new one otherwise.
    pub first_dir: Option<Uuid>,
    /// Leave directories alone that are formatted for this node already.
    pub ignore_formatted: bool,
}

/// Formats every directory. A directory always gets a new id, unless the list of first controllers names one: a wiped disk must not vote twice.
/// Returns what was formatted.
///
/// # Errors
/// One line: a directory is formatted already, or cannot be written.
pub fn format(plan: &Plan<'_>) -> Result<Vec<(PathBuf, Uuid)>, String> {
    let mut todo = Vec::new();
    for (index, dir) in plan.dirs.iter().enumerate() {
        match read_one(dir)? {
            None => todo.push((dir.clone(), plan.first_dir.filter(|_| index == 0).unwrap_or_else(new_uuid))),
            Some(_) if !plan.ignore_formatted => {
                return Err(format!(
                    "{} is already formatted; `--ignore-formatted` leaves it as it is and formats only those that are not",
                    dir.display()
                ));
            }
            Some(meta) if meta.cluster != plan.cluster || meta.node != plan.node => {
                return Err(format!("{} is formatted for node {} of cluster {}", dir.display(), meta.node, meta.cluster));
            }
            Some(_) => {}
        }
    }
    for (dir, id) in &todo {
        write(dir, &Meta { cluster: plan.cluster.clone(), node: plan.node, dir: *id })
            .map_err(|e| format!("cannot format {}: {e}", dir.display()))?;
    }
    Ok(todo)
}

fn write(dir: &Path, meta: &Meta) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut text = String::from("#\n");
    for (key, value) in [
        ("cluster.id", &meta.cluster),
        ("directory.id", &meta.dir.to_string()),
        ("node.id", &meta.node.to_string()),
        ("version", &"1".to_owned()),
    ] {
        text.push_str(&properties::line(key, value));
    }
    let tmp = dir.join(format!("{META}.tmp"));
    let mut file = fs::File::create(&tmp)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&tmp, dir.join(META))?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("klamm-identity-{name}-{}", std::process::id()));
            drop(fs::remove_dir_all(&path));
            Self(path)
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn plan<'a>(dirs: &'a [PathBuf], ignore_formatted: bool) -> Plan<'a> {
        Plan { cluster: "c=1".to_owned(), node: BrokerId(3), dirs, first_dir: Uuid::parse("AAAAAAAAAAAAAAAAAAABAA"), ignore_formatted }
    }

    #[test]
    fn what_is_formatted_reads_back_and_is_not_formatted_again() {
        let temp = Temp::new("twice");
        let dirs = [temp.0.join("a"), temp.0.join("b")];
        assert!(matches!(read(&dirs), Ok(Found::Empty)));
        let made = format(&plan(&dirs, false)).expect("empty folders");
        let Ok(Found::Formatted(identity)) = read(&dirs) else { panic!("just formatted") };
        assert_eq!(identity.cluster, "c=1");
        assert_eq!(identity.node, BrokerId(3));
        assert_eq!(Some(identity.dirs[0]), plan(&dirs, false).first_dir);
        assert_eq!(identity.dirs[1], made[1].1);
        assert!(format(&plan(&dirs, false)).expect_err("formatted").contains("already formatted"));
        assert_eq!(format(&plan(&dirs, true)).expect("nothing to do"), []);
    }

    #[test]
    fn a_lost_directory_is_noticed_and_comes_back_with_a_new_id() {
        let temp = Temp::new("lost");
        let dirs = [temp.0.join("a"), temp.0.join("b")];
        let first = format(&plan(&dirs, false)).expect("empty folders");
        fs::remove_dir_all(&dirs[1]).expect("just made");
        assert!(read(&dirs).expect_err("one is missing").contains("--ignore-formatted"));
        let again = format(&plan(&dirs, true)).expect("one is missing");
        assert_eq!(again.len(), 1);
        assert_ne!(again[0].1, first[1].1, "a wiped disk must not vote twice");
    }

    #[test]
    fn directories_of_two_nodes_do_not_mix() {
        let temp = Temp::new("mixed");
        let dirs = [temp.0.join("a"), temp.0.join("b")];
        format(&plan(&dirs[..1], false)).expect("an empty folder");
        format(&Plan { node: BrokerId(4), first_dir: None, ..plan(&dirs[1..], false) }).expect("an empty folder");
        assert!(read(&dirs).expect_err("two nodes").contains("belongs to node 4"));
    }

    #[test]
    fn the_list_of_first_controllers() {
        let list = "1@127.0.0.1:9093:AAAAAAAAAAAAAAAAAAABAA, 2@host-b:9094:AAAAAAAAAAAAAAAAAAACAA";
        let got = voters(list).expect("well-formed");
        assert_eq!(got.iter().map(|v| (v.node.0, v.address.as_str())).collect::<Vec<_>>(), [(1, "127.0.0.1:9093"), (2, "host-b:9094")]);
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
