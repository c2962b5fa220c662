//! The seam to files: what the store asks of a disk, and the real one. The simulator brings its own, faulty `Fs`.
//!
//! Paths are relative to the root of one log directory, with `/` between folder and file, and never contain `..`.
//! Nothing is durable until it was synced: a file's bytes and length by `File::sync`, the names in a folder (created, renamed, removed) by `Fs::sync_dir`.
//! Decides nothing: it neither retries nor remembers errors.

use bytes::Bytes;
use std::future::Future;
use std::io;

/// How a file is opened; always for reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Open {
    /// Must be there (`NotFound` otherwise).
    Existing,
    /// Must not be there (`AlreadyExists` otherwise).
    New,
    /// Made if it is not there, emptied if it is.
    Empty,
}

/// A file system's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of them.
    pub total: u64,
    /// Those that can still be written.
    pub free: u64,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Its last path component.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Bytes of a file; 0 for a folder.
    pub len: u64,
}

/// The files below one log directory.
///
/// A full disk is `ErrorKind::StorageFull` or `QuotaExceeded`. All futures may be dropped before their end only together with the whole store.
pub trait Fs: Clone + Send + Sync + 'static {
    /// An open file.
    type File: File;

    /// Does `work` at one go: where each of its steps would cost a hand-over to another thread, all of it costs one. It is given these files to work on,
    /// must wait for nothing but them, and must not give any of them away.
    fn together<T, W>(&self, work: impl FnOnce(Self) -> W + Send + 'static) -> impl Future<Output = io::Result<T>> + Send
    where
        T: Send + 'static,
        W: Future<Output = io::Result<T>> + Send,
    {
        work(self.clone())
    }

    /// Opens a file. Making one changes its folder, which wants `sync_dir`.
    fn open(&self, path: &str, how: Open) -> impl Future<Output = io::Result<Self::File>> + Send;
    /// Gives a file or folder another name, atomically; a file of that name is replaced.
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + Send;
    /// Removes a file. Who has it open goes on reading it.
    fn remove_file(&self, path: &str) -> impl Future<Output = io::Result<()>> + Send;
    /// Makes a folder (`AlreadyExists` if it is there).
    fn create_dir(&self, path: &str) -> impl Future<Output = io::Result<()>> + Send;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &str) -> impl Future<Output = io::Result<()>> + Send;
    /// The names in a folder, sorted; the root is `""`.
    fn list(&self, path: &str) -> impl Future<Output = io::Result<Vec<Entry>>> + Send;
    /// Makes the names in a folder durable; the root is `""`.
    fn sync_dir(&self, path: &str) -> impl Future<Output = io::Result<()>> + Send;
    /// How large the file system is.
    fn space(&self) -> impl Future<Output = io::Result<Space>> + Send;
    /// Makes the file `path` if need be and locks it against other processes, until the last handle of it is dropped. `WouldBlock` if another holds it.
    fn lock(&self, path: &str) -> impl Future<Output = io::Result<Self::File>> + Send;
}

/// A handle of an open file; the file is closed with its last clone.
pub trait File: Clone + Send + Sync + 'static {
    /// Writes the pieces one behind the other from byte `at`. After an error any part of them may be there.
    fn write_at(&self, at: u64, pieces: &[Bytes]) -> impl Future<Output = io::Result<()>> + Send;
    /// Reads `len` bytes from byte `at`; fewer only where the file ends.
    fn read_at(&self, at: u64, len: usize) -> impl Future<Output = io::Result<Bytes>> + Send;
    /// Cuts the file, or lengthens it by zeros.
    fn set_len(&self, len: u64) -> impl Future<Output = io::Result<()>> + Send;
    /// Makes bytes and length durable (`fdatasync`).
    fn sync(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Whether `len` bytes from byte `at` can be read without waiting for the disk, as far as can be told at once. What takes memory only says yes.
    fn is_warm(&self, _at: u64, _len: usize) -> bool {
        true
    }
    /// Has those bytes in memory when it ends, as far as the file reaches, so that who sends them need not wait for the disk.
    fn warm(&self, _at: u64, _len: usize) -> impl Future<Output = io::Result<()>> + Send {
        async { Ok(()) }
    }
    /// Its length in bytes.
    fn size(&self) -> impl Future<Output = io::Result<u64>> + Send;
}

/// Whether the error says that the disk is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(not(madsim))]
pub use real::{Disk, DiskFile};

#[cfg(not(madsim))]
mod real {
    use super::{Entry, File, Fs, Open, Space};
    use bytes::Bytes;
    use rustix::buffer::spare_capacity;
    use rustix::io::{ReadWriteFlags, pread, preadv2, pwritev};
    use std::fs::{self, OpenOptions};
    use std::io::{self, IoSlice, IoSliceMut};
    use std::num::NonZeroU64;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::path::PathBuf;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    /// Reads up to this size are tried in place, if the page cache has them; larger ones go to a thread at once.
    const READ_IN_PLACE_BYTES: usize = 64 << 10;
    /// A range is taken for cached by a look at one byte in so many: the kernel reads ahead, and drops, in about such steps.
    const PROBE_BYTES: usize = 128 << 10;
    /// No page is smaller.
    const PAGE_BYTES: usize = 4 << 10;
    /// How many pieces one `pwritev` takes (`IOV_MAX`).
    const PIECES_PER_WRITE: usize = 1024;

    /// A folder of the real file system. Its futures must be polled within a tokio runtime: what may wait for the disk runs on its blocking threads.
    /// Writes into the page cache run in place, since the store has a thread of its own.
    #[derive(Clone, Debug)]
    pub struct Disk {
        root: PathBuf,
        from: Thread,
    }

    /// A file of the real file system.
    #[derive(Clone, Debug)]
    pub struct DiskFile {
        file: Arc<fs::File>,
        from: Thread,
    }

    /// What kind of thread asks.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Thread {
        /// Others wait for it: what may wait for the disk goes to another.
        Shared,
        /// It may wait itself.
        Waiting,
    }

    impl Disk {
        /// The folder `root`, which is made (with its parents) if it is not there.
        ///
        /// # Errors
        /// As the file system says.
        pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
            let root = root.into();
            fs::create_dir_all(&root)?;
            Ok(Self::as_is(root))
        }

        /// The folder `root` as it is, which may be nothing: then every use of it fails.
        #[must_use]
        pub fn as_is(root: impl Into<PathBuf>) -> Self {
            Self { root: root.into(), from: Thread::Shared }
        }

        fn path(&self, path: &str) -> PathBuf {
            assert!(!path.split('/').any(|part| part == ".."), "{path:?} leaves its log directory");
            self.root.join(path)
        }
    }

    impl AsFd for DiskFile {
        /// For `sendfile`.
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.file.as_fd()
        }
    }

    impl Thread {
        /// Runs `work` on a thread that may wait.
        ///
        /// Exempt from tokio's budget: the store polls many such futures in one turn, and a future that is pending only because the budget of that
        /// turn is spent wakes itself at once, so that the turn would never end.
        async fn wait<T: Send + 'static>(self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
            if self == Self::Waiting {
                return work();
            }
            tokio::task::unconstrained(tokio::task::spawn_blocking(work)).await.unwrap_or_else(|lost| Err(io::Error::other(lost)))
        }
    }

    /// The outcome of what never waits for another thread.
    fn at_once<T>(work: impl Future<Output = T>) -> T {
        match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => unreachable!("work on files alone, on a thread that may wait, is never pending"),
        }
    }

    impl Fs for Disk {
        type File = DiskFile;

        async fn together<T, W>(&self, work: impl FnOnce(Self) -> W + Send + 'static) -> io::Result<T>
        where
            T: Send + 'static,
            W: Future<Output = io::Result<T>> + Send,
        {
            let here = Self { root: self.root.clone(), from: Thread::Waiting };
            self.from.wait(move || at_once(work(here))).await
        }

        async fn open(&self, path: &str, how: Open) -> io::Result<DiskFile> {
            let (path, from) = (self.path(path), self.from);
            from.wait(move || {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create_new(how == Open::New).create(how == Open::Empty).truncate(how == Open::Empty);
                Ok(DiskFile { file: Arc::new(options.open(path)?), from })
            })
            .await
        }

        async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            let (from, to) = (self.path(from), self.path(to));
            self.from.wait(move || fs::rename(from, to)).await
        }

        async fn remove_file(&self, path: &str) -> io::Result<()> {
            let path = self.path(path);
            self.from.wait(move || fs::remove_file(path)).await
        }

        async fn create_dir(&self, path: &str) -> io::Result<()> {
            let path = self.path(path);
            self.from.wait(move || fs::create_dir(path)).await
        }

        async fn remove_dir(&self, path: &str) -> io::Result<()> {
            let path = self.path(path);
            self.from.wait(move || fs::remove_dir(path)).await
        }

        async fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
            let path = self.path(path);
            self.from
                .wait(move || {
                    let mut entries = Vec::new();
                    for entry in fs::read_dir(path)? {
                        let entry = entry?;
                        // A name that is not UTF-8 is none of ours.
                        let Ok(name) = entry.file_name().into_string() else { continue };
                        let meta = entry.metadata()?;
                        entries.push(Entry { name, is_dir: meta.is_dir(), len: if meta.is_dir() { 0 } else { meta.len() } });
                    }
                    entries.sort();
                    Ok(entries)
                })
                .await
        }

        async fn sync_dir(&self, path: &str) -> io::Result<()> {
            let path = self.path(path);
            self.from.wait(move || fs::File::open(path)?.sync_all()).await
        }

        async fn space(&self) -> io::Result<Space> {
            let root = self.root.clone();
            self.from
                .wait(move || {
                    let stat = rustix::fs::statvfs(&root)?;
                    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
                    Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
                })
                .await
        }

        async fn lock(&self, path: &str) -> io::Result<DiskFile> {
            let (path, from) = (self.path(path), self.from);
            from.wait(move || {
                let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
                file.try_lock()?;
                Ok(DiskFile { file: Arc::new(file), from })
            })
            .await
        }
    }

    impl File for DiskFile {
        async fn write_at(&self, at: u64, pieces: &[Bytes]) -> io::Result<()> {
            write_all(&self.file, at, pieces)
        }

        async fn read_at(&self, at: u64, len: usize) -> io::Result<Bytes> {
            if len <= READ_IN_PLACE_BYTES
                && let Some(bytes) = read_cached(&self.file, at, len)
            {
                return Ok(bytes);
            }
            let file = Arc::clone(&self.file);
            self.from.wait(move || read_full(&file, at, len)).await
        }

        fn is_warm(&self, at: u64, len: usize) -> bool {
            let end = at + len as u64;
            (at..end).step_by(PROBE_BYTES).chain([end.saturating_sub(1)]).all(|at| is_cached(&self.file, at))
        }

        async fn warm(&self, at: u64, len: usize) -> io::Result<()> {
            let file = Arc::clone(&self.file);
            self.from.wait(move || read_through(&file, at, len)).await
        }

        async fn set_len(&self, len: u64) -> io::Result<()> {
            let file = Arc::clone(&self.file);
            self.from.wait(move || file.set_len(len)).await
        }

        async fn sync(&self) -> io::Result<()> {
            let file = Arc::clone(&self.file);
            self.from.wait(move || file.sync_data()).await
        }

        async fn size(&self) -> io::Result<u64> {
            Ok(self.file.metadata()?.len())
        }
    }

    fn write_all(file: &fs::File, mut at: u64, pieces: &[Bytes]) -> io::Result<()> {
        for group in pieces.chunks(PIECES_PER_WRITE) {
            let mut slices: Vec<IoSlice<'_>> = group.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let written = match pwritev(file, rest, at) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => written,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                };
                at += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
        }
        Ok(())
    }

    /// The bytes, if all of them are in the page cache, or the file ends among them.
    fn read_cached(file: &fs::File, at: u64, len: usize) -> Option<Bytes> {
        let mut buffer = vec![0; len];
        let got = preadv2(file, &mut [IoSliceMut::new(&mut buffer)], at, ReadWriteFlags::NOWAIT).ok()?;
        if got < len && at + (got as u64) < file.metadata().ok()?.len() {
            return None;
        }
        buffer.truncate(got);
        Some(buffer.into())
    }

    /// Whether the page cache holds the byte at `at`, or the file ends before it. Where the file system cannot tell, it is taken to.
    fn is_cached(file: &fs::File, at: u64) -> bool {
        let outcome = preadv2(file, &mut [IoSliceMut::new(&mut [0])], at, ReadWriteFlags::NOWAIT);
        !matches!(outcome, Err(rustix::io::Errno::AGAIN))
    }

    /// Brings bytes into the page cache, by one large request to the disk where it takes one, and waits for each page without copying it.
    fn read_through(file: &fs::File, at: u64, len: usize) -> io::Result<()> {
        // Only a hint; what it does not do the reads do.
        let _ = rustix::fs::fadvise(file, at, NonZeroU64::new(len as u64), rustix::fs::Advice::WillNeed);
        let end = at + len as u64;
        for place in (at..end).step_by(PAGE_BYTES).chain([end.saturating_sub(1)]) {
            loop {
                match pread(file, &mut [0], place) {
                    Ok(0) => return Ok(()),
                    Ok(_) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn read_full(file: &fs::File, at: u64, len: usize) -> io::Result<Bytes> {
        let mut buffer = Vec::with_capacity(len);
        while buffer.len() < len {
            let position = at + buffer.len() as u64;
            match pread(file, spare_capacity(&mut buffer), position) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The allocator may have given more room than was asked for.
        buffer.truncate(len);
        Ok(buffer.into())
    }
}
