//! The real disk keeps what the `Fs` seam promises.

use bytes::Bytes;
use klamm::fs::{Disk, File, Fs, Open};
use std::io::ErrorKind;

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// A folder of its own for one test, removed with it.
pub(crate) struct TempDir(pub(crate) std::path::PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("klamm-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn pieces_are_written_in_order_and_reads_end_with_the_file() {
    let dir = TempDir::new("pieces");
    block_on(async {
        let disk = Disk::new(&dir.0).unwrap();
        let file = disk.open("a", Open::New).await.unwrap();
        let pieces: Vec<Bytes> = (0..3000u32).map(|i| if i % 7 == 0 { Bytes::new() } else { i.to_be_bytes().to_vec().into() }).collect();
        let whole: Vec<u8> = pieces.concat();
        file.write_at(3, &pieces).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 3 + whole.len() as u64);
        assert_eq!(file.read_at(3, whole.len() + 9).await.unwrap(), whole);
        assert_eq!(file.read_at(0, 4).await.unwrap().to_vec(), [0, 0, 0, whole[0]]);
        file.set_len(5).await.unwrap();
        assert_eq!(file.read_at(3, 100).await.unwrap(), whole[..2]);
        assert!(file.read_at(50, 1 << 20).await.unwrap().is_empty());
        file.sync().await.unwrap();
    });
}

#[test]
fn what_was_dropped_from_memory_is_cold_until_it_is_warmed() {
    let dir = TempDir::new("cold");
    block_on(async {
        let disk = Disk::new(&dir.0).unwrap();
        let file = disk.open("a", Open::New).await.unwrap();
        let len = 3 << 20;
        file.write_at(0, &[vec![7; len].into()]).await.unwrap();
        assert!(file.is_warm(0, len), "just written");
        assert!(file.is_warm(len as u64 - 1, 5), "the file ends in it");
        file.sync().await.unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        // A file system in memory has nothing to drop.
        if !file.is_warm(0, len) {
            file.warm(1 << 20, 1 << 20).await.unwrap();
            assert!(file.is_warm(1 << 20, 1 << 20) && !file.is_warm(0, len), "only what was asked for");
            file.warm(0, len + 100).await.unwrap();
        }
        assert!(file.is_warm(0, len));
    });
}

#[test]
fn opening_says_what_must_be_there() {
    let dir = TempDir::new("opening");
    block_on(async {
        let disk = Disk::new(&dir.0).unwrap();
        assert_eq!(disk.open("x", Open::Existing).await.unwrap_err().kind(), ErrorKind::NotFound);
        disk.open("x", Open::New).await.unwrap().write_at(0, &[Bytes::from_static(b"abc")]).await.unwrap();
        assert_eq!(disk.open("x", Open::New).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(disk.open("x", Open::Existing).await.unwrap().size().await.unwrap(), 3);
        assert_eq!(disk.open("x", Open::Empty).await.unwrap().size().await.unwrap(), 0);
    });
}

#[test]
fn names_are_listed_sorted_and_files_outlive_their_names() {
    let dir = TempDir::new("names");
    block_on(async {
        let disk = Disk::new(&dir.0).unwrap();
        disk.create_dir("t-0").await.unwrap();
        let file = disk.open("t-0/b", Open::New).await.unwrap();
        file.write_at(0, &[Bytes::from_static(b"late")]).await.unwrap();
        disk.open("t-0/a", Open::New).await.unwrap();
        disk.rename("t-0/b", "t-0/c").await.unwrap();
        disk.sync_dir("t-0").await.unwrap();
        let names: Vec<_> = disk.list("t-0").await.unwrap().into_iter().map(|e| (e.name, e.len)).collect();
        assert_eq!(names, [("a".to_owned(), 0), ("c".to_owned(), 4)]);
        disk.remove_file("t-0/c").await.unwrap();
        assert_eq!(file.read_at(0, 9).await.unwrap(), "late");
        disk.remove_file("t-0/a").await.unwrap();
        disk.remove_dir("t-0").await.unwrap();
        assert!(disk.list("").await.unwrap().is_empty());
        let space = disk.space().await.unwrap();
        assert!(0 < space.free && space.free <= space.total, "{space:?}");
    });
}

#[test]
fn a_lock_is_held_until_its_handle_is_dropped() {
    let dir = TempDir::new("lock");
    block_on(async {
        let disk = Disk::new(&dir.0).unwrap();
        let held = disk.lock(".lock").await.unwrap();
        assert_eq!(disk.lock(".lock").await.unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(held);
        disk.lock(".lock").await.unwrap();
    });
}

/// Tokio lets a task poll only so many of its own resources before it must return to the runtime; the store polls all of its work in one turn.
#[test]
fn a_long_turn_of_many_operations_gets_on() {
    use std::future::poll_fn;
    use std::task::Poll;
    let dir = TempDir::new("turn");
    block_on(async {
        let disk = Disk::new(&dir.0).unwrap();
        let (mut done, mut idle) = (0, 0);
        poll_fn(|cx| {
            while done < 300 && idle < 20_000 {
                let mut operation = Box::pin(disk.list(""));
                while operation.as_mut().poll(cx).is_pending() && idle < 20_000 {
                    idle += 1;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                done += 1;
            }
            Poll::Ready(())
        })
        .await;
        assert!(idle < 20_000, "after {done} operations none ended any more");
    });
}
