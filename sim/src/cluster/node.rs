//! One node of the mesh: a broker and a store over a faulty disk, with the lives it has had.
//!
//! Holds no broker logic: it hands effects to the store and to the connections, and outcomes back.

use super::pace::DiskPace;
use crate::disk::{Bites, Disk};
use bytes::{Bytes, BytesMut};
use klamm::fs::File as _;
use klamm::store::{self, Identity, Opened, Options, Store};
use klamm_core::broker::io::{Effect, Input};
use klamm_core::broker::{Broker, Config, RecoveredNode, View};
use klamm_core::id::{DirId, Ticket};
use klamm_core::store::{Region, StoreOp};
use klamm_core::time::Now;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

type Opening = Pin<Box<dyn Future<Output = Opened<Disk>> + Send>>;
type Closing = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Reading = Pin<Box<dyn Future<Output = std::io::Result<Bytes>> + Send>>;

/// What a node is made of, and keeps over its lives.
pub struct Spec {
    /// The broker's configuration.
    pub config: Config,
    /// Who it is, as its directory was formatted.
    pub identity: Identity,
    /// How its store works.
    pub options: Options,
    /// Its broker's seed; each life draws from another stream of it.
    pub seed: u64,
}

enum Life {
    Down,
    Recovering(Opening),
    Up(Box<Up>),
    Closing(Closing),
}

struct Up {
    broker: Broker,
    store: Store<Disk>,
    reads: BTreeMap<u64, Reading>,
}

/// What a node did that the mesh must see to.
#[derive(Debug)]
pub enum Done {
    /// It recovered and takes connections.
    Opened,
    /// It could not: words for the report.
    Failed(String),
    /// The store is closed, and the process has ended.
    Closed,
    /// The store has done something, and the broker was told.
    Stored {
        /// What it was asked for.
        ticket: Ticket,
        /// Whether it could.
        is_ok: bool,
    },
    /// A region was read (`None`: it is gone or too short, the connection is to be closed).
    Read {
        /// The number that `read` gave.
        read: u64,
        /// Its bytes.
        bytes: Option<Bytes>,
    },
}

/// A node.
pub struct Node {
    spec: Spec,
    /// One for each log directory.
    disks: Vec<Disk>,
    pace: DiskPace,
    life: Life,
    lives: u64,
    next_read: u64,
}

impl Node {
    /// A node over formatted disks, not started.
    #[must_use]
    pub fn new(spec: Spec, disks: Vec<Disk>, pace: DiskPace) -> Self {
        Self { spec, disks, pace, life: Life::Down, lives: 0, next_read: 0 }
    }

    /// The same in the place of one that had so many lives.
    #[must_use]
    pub fn after(self, lives: u64) -> Self {
        Self { lives, ..self }
    }

    /// The disk of its metadata in this life.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disks[0]
    }

    /// All of its disks in this life.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// How often faults bit on its disks.
    #[must_use]
    pub fn bites(&self) -> Bites {
        self.disks.iter().map(Disk::bites).fold(Bites::default(), Bites::and)
    }

    /// Its disk's pace.
    #[must_use]
    pub fn pace(&self) -> &DiskPace {
        &self.pace
    }

    /// Its broker, while it is up.
    #[must_use]
    pub fn broker(&self) -> Option<&Broker> {
        match &self.life {
            Life::Up(up) => Some(&up.broker),
            Life::Down | Life::Recovering(_) | Life::Closing(_) => None,
        }
    }

    /// What its broker shows: of what may have changed since the last look, or with `all` of everything.
    pub fn look(&mut self, all: bool, mut with: impl FnMut(View<'_>)) {
        if let Life::Up(up) = &mut self.life {
            if all {
                up.broker.touch_all();
                up.broker.check();
            }
            with(up.broker.view());
            up.broker.forget_touched();
        }
    }

    /// Whether it is neither up nor on its way up.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.life, Life::Down)
    }

    /// What it is doing, for a report.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.life {
            Life::Down => "the node is down".to_owned(),
            Life::Recovering(_) => "the node recovers".to_owned(),
            Life::Closing(_) => "the node closes".to_owned(),
            Life::Up(up) => format!("the node is up, {:?} outstanding in its store", up.store.outstanding()),
        }
    }

    /// How many lives it has had.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.lives
    }

    /// Begins a life: recovery first.
    pub fn start(&mut self) {
        assert!(self.is_down(), "a node is started once a life");
        self.lives += 1;
        let disks = (0..).map(DirId).zip(self.disks.iter().cloned()).collect();
        let (identity, options) = (self.spec.identity.clone(), self.spec.options);
        self.life = Life::Recovering(Box::pin(async move { store::open(disks, &identity, options).await }));
    }

    /// The process dies; with `power`, so does the machine.
    pub fn crash(&mut self, power: bool) {
        self.life = Life::Down;
        self.disks = self.disks.iter().map(|disk| disk.crash(power)).collect();
    }

    /// Closes the store after a clean stop, and marks it as clean; the process then ends.
    pub fn close(&mut self) {
        let Life::Up(up) = std::mem::replace(&mut self.life, Life::Down) else { return };
        self.life = Life::Closing(Box::pin(async move {
            let outcomes = up.store.close(Bytes::new()).await;
            // Another directory may have gone offline.
            outcomes
                .into_iter()
                .filter(|(dir, _)| *dir == DirId(0))
                .find_map(|(_, outcome)| outcome.err())
                .map_or(Ok(()), |fault| Err(format!("{fault:?}")))
        }));
    }

    /// Tells the broker what happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        if let Life::Up(up) = &mut self.life {
            up.broker.handle(now, input);
        }
    }

    /// The broker's next effect.
    pub fn effect(&mut self) -> Option<Effect> {
        match &mut self.life {
            Life::Up(up) => up.broker.poll(),
            Life::Down | Life::Recovering(_) | Life::Closing(_) => None,
        }
    }

    /// Gives the store something to do.
    pub fn store(&mut self, ticket: Ticket, op: StoreOp) {
        if let Life::Up(up) = &mut self.life {
            up.store.submit(ticket, op);
        }
    }

    /// Begins to read the bytes of regions, late and piece by piece, as `sendfile` would.
    pub fn read(&mut self, regions: Vec<Region>) -> u64 {
        let number = self.next_read;
        self.next_read += 1;
        if let Life::Up(up) = &mut self.life {
            let files = up.store.files();
            up.reads.insert(
                number,
                Box::pin(async move {
                    let mut all = BytesMut::new();
                    for region in regions {
                        let file = files.resolve(&region).await?;
                        let mut at = region.position;
                        let end = at + u64::from(region.len);
                        while at < end {
                            let piece = file.read_at(at, (end - at).min(16 << 10) as usize).await?;
                            if piece.is_empty() {
                                return Err(std::io::ErrorKind::UnexpectedEof.into());
                            }
                            at += piece.len() as u64;
                            all.extend_from_slice(&piece);
                        }
                    }
                    Ok(all.freeze())
                }),
            );
        }
        number
    }

    /// Lets recovery, store and reads go on, as far as they can without time passing; one thing done at a time.
    pub fn turn(&mut self, now: Now) -> Option<Done> {
        let mut cx = Context::from_waker(Waker::noop());
        match &mut self.life {
            Life::Down => None,
            Life::Recovering(opening) => match opening.as_mut().poll(&mut cx) {
                Poll::Pending => None,
                Poll::Ready(opened) => {
                    let mut recovered = RecoveredNode::default();
                    for (dir, found) in opened.dirs {
                        match found {
                            Ok(found) => recovered.dirs.push(found),
                            Err(error) if dir == DirId(0) => {
                                self.life = Life::Down;
                                return Some(Done::Failed(format!("{error:?}")));
                            }
                            Err(error) => recovered.offline.push((dir, format!("{error:?}"))),
                        }
                    }
                    let broker = Broker::new(self.spec.config.clone(), self.spec.seed.wrapping_add(self.lives), recovered);
                    self.life = Life::Up(Box::new(Up { broker, store: opened.store, reads: BTreeMap::new() }));
                    Some(Done::Opened)
                }
            },
            Life::Up(up) => up.turn(now, &mut cx),
            Life::Closing(closing) => match closing.as_mut().poll(&mut cx) {
                Poll::Pending => None,
                Poll::Ready(outcome) => {
                    self.crash(false);
                    Some(outcome.map_or_else(Done::Failed, |()| Done::Closed))
                }
            },
        }
    }

    /// When the broker wants a tick, in its own time.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.broker().and_then(Broker::deadline).map(|(at, _)| at.0)
    }
}

impl Up {
    fn turn(&mut self, now: Now, cx: &mut Context<'_>) -> Option<Done> {
        if let Poll::Ready((ticket, outcome)) = self.store.poll(cx) {
            let is_ok = outcome.is_ok();
            self.broker.handle(now, Input::Stored { ticket, outcome });
            return Some(Done::Stored { ticket, is_ok });
        }
        let numbers: Vec<u64> = self.reads.keys().copied().collect();
        for read in numbers {
            let reading = self.reads.get_mut(&read).expect("listed above");
            if let Poll::Ready(outcome) = reading.as_mut().poll(cx) {
                self.reads.remove(&read);
                return Some(Done::Read { read, bytes: outcome.ok() });
            }
        }
        None
    }
}
