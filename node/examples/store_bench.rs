//! Measures the store on the real disk: `cargo run --release -p klamm --example store_bench -- FOLDER [GIGABYTES]`.
//!
//! Prints one line per figure. The folder is emptied first, and left with what was written, so that Kafka's tools can look at it.

use bytes::Bytes;
use klamm::fs::Disk;
use klamm::store::{Identity, MetaProperties, Options, Outcome, Store, contract, format, open};
use klamm_core::id::{BrokerId, DirId, LeaderEpoch, LogId, Offset, Ticket, Uuid};
use klamm_core::store::{StoreOp, Stored};
use klamm_core::wire::batch::Batch;
use std::path::Path;
use std::time::{Duration, Instant};

const DIR: DirId = DirId(0);
/// So many operations are outstanding at most, as from many connections.
const DEPTH: usize = 64;

struct Bench {
    store: Store<Disk>,
    tickets: u64,
    logs: u64,
    /// Submitted, and its outcome not yet taken.
    flying: usize,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

impl Bench {
    fn submit(&mut self, op: StoreOp) {
        self.tickets += 1;
        self.flying += 1;
        self.store.submit(Ticket(self.tickets), op);
    }

    async fn ask(&mut self, op: StoreOp) -> Outcome {
        self.submit(op);
        self.take().await
    }

    async fn take(&mut self) -> Outcome {
        self.flying -= 1;
        self.store.done().await.1
    }

    async fn create(&mut self, name: &str) -> LogId {
        self.logs += 1;
        let log = LogId(1_000_000 + self.logs);
        self.ask(StoreOp::Create { log, dir: DIR, name: name.into(), topic: Uuid([1; 16]) }).await.expect("a new log");
        log
    }

    /// Keeps `DEPTH` appends under way until `bytes` were written, rolling a little above 1 GiB; with a sync behind each if asked. The time, and how many appends.
    async fn append(&mut self, log: LogId, batch: &Batch, bytes: u64, sync: bool) -> (Duration, u64) {
        let size = u64::from(batch.header().bytes);
        let records = batch.header().next_offset().since(batch.header().base_offset);
        let (mut at, mut written, mut segment, mut appends) = (0, 0, 0, 0);
        let begun = now();
        while written < bytes {
            if segment + size > (1 << 30) + (64 << 20) {
                self.submit(StoreOp::Roll { log, at: Offset(at) });
                segment = 0;
            }
            self.submit(StoreOp::Append { log, at: Offset(at), batches: vec![batch.stamp(Offset(at), LeaderEpoch(1))] });
            if sync {
                self.submit(StoreOp::Sync { log });
            }
            (at, written, segment, appends) = (at + records, written + size, segment + size, appends + 1);
            while self.flying > DEPTH {
                self.take().await.expect("written");
            }
        }
        while self.flying > 0 {
            self.take().await.expect("written");
        }
        (begun.elapsed(), appends)
    }
}

fn owner() -> Identity {
    Identity { cluster: "a-cluster".to_owned(), node: BrokerId(1) }
}

async fn start(folder: &Path) -> (Bench, u64) {
    let disk = Disk::new(folder).expect("a folder");
    let opened = open(vec![(DIR, disk)], &owner(), Options::default()).await;
    let found = opened.dirs.into_iter().next().expect("one folder").1.expect("it opens");
    let ends = found.logs.iter().map(|log| u64::try_from(log.state.as_ref().expect("whole").end.0).expect("not negative")).sum();
    (Bench { store: opened.store, tickets: 0, logs: 0, flying: 0 }, ends)
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

async fn writes(bench: &mut Bench, gigabytes: u64) {
    let small = contract::batch(0, 0, 1, 1_700_000_000_000, 32);
    let large = contract::batch(0, 0, 1000, 1_700_000_000_000, 1038);
    let log = bench.create("small-0").await;
    let (time, appends) = bench.append(log, &small, 100 << 20, false).await;
    println!(
        "append {} B batches, page cache: {:.0}/s, {:.0} MB/s",
        small.header().bytes,
        per_second(appends, time),
        per_second(100, time)
    );
    let log = bench.create("synced-0").await;
    let (time, appends) = bench.append(log, &small, 1 << 20, true).await;
    println!("append {} B batches, each synced, {DEPTH} outstanding: {:.0}/s", small.header().bytes, per_second(appends, time));
    for partition in 0..gigabytes {
        let log = bench.create(&format!("large-{partition}")).await;
        let (time, _) = bench.append(log, &large, 1 << 30, false).await;
        println!("append {} B batches, page cache: {:.0} MB/s", large.header().bytes, per_second(1024, time));
    }
}

async fn reads(bench: &mut Bench, log: LogId, what: &str) {
    let Ok(Stored::Located(Some(last))) =
        bench.ask(StoreOp::Locate { log, from: Offset(0), until: Offset(i64::MAX), max_bytes: u32::MAX }).await
    else {
        panic!("nothing there")
    };
    for max_bytes in [1 << 10, 1 << 20] {
        let begun = now();
        let count = 20_000;
        for n in 0..count {
            let from = Offset((n * 7_919_i64 * 104_729) % last.next.0);
            bench.ask(StoreOp::Locate { log, from, until: Offset(i64::MAX), max_bytes }).await.expect("located");
        }
        println!("locate {max_bytes} B at random in {what}: {:.1} us", begun.elapsed().as_secs_f64() * 1e6 / count as f64);
    }
}

async fn run(folder: &Path, gigabytes: u64) {
    let disk = Disk::new(folder).expect("a folder");
    let properties = MetaProperties { owner: owner(), directory: Uuid([2; 16]) };
    format(&disk, &properties).await.expect("formatted");
    let (mut bench, _) = start(folder).await;
    writes(&mut bench, gigabytes).await;
    reads(&mut bench, LogId(1_000_001), "an active segment").await;
    let Ok(Stored::Located(Some(all))) =
        bench.ask(StoreOp::Locate { log: LogId(1_000_001), from: Offset(0), until: Offset(i64::MAX), max_bytes: u32::MAX }).await
    else {
        panic!("nothing there")
    };
    bench.ask(StoreOp::Roll { log: LogId(1_000_001), at: all.next }).await.expect("rolled");
    reads(&mut bench, LogId(1_000_001), "a sealed segment").await;
    drop(bench);
    let begun = now();
    let (bench, ends) = start(folder).await;
    println!("start after a kill, {gigabytes} GiB in active segments: {:.2} s, {ends} records", begun.elapsed().as_secs_f64());
    let begun = now();
    bench.store.close(Bytes::from_static(b"{\"version\":0,\"brokerEpoch\":-1}")).await;
    println!("clean close: {:.2} s", begun.elapsed().as_secs_f64());
    let begun = now();
    let (bench, _) = start(folder).await;
    println!("start after a clean end: {:.3} s", begun.elapsed().as_secs_f64());
    bench.store.close(Bytes::from_static(b"{\"version\":0,\"brokerEpoch\":-1}")).await;
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("usage: store_bench FOLDER [GIGABYTES]");
    let gigabytes = arguments.next().map_or(4, |text| text.parse().expect("a number of gigabytes"));
    let folder = Path::new(&folder);
    let _ = std::fs::remove_dir_all(folder);
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(run(folder, gigabytes));
}
