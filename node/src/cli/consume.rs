//! `klamm consume`: prints records.

mod print;

use super::Failure;
use super::ask::{Bootstrap, run};
use super::produce::seed;
use super::time;
use clap::{Args, ValueEnum};
use klamm::client::Client;
use klamm::client::admin::Admin;
use klamm::clock::Clock;
use klamm_core::client::TopicPartition;
use klamm_core::client::assign::Assignor;
use klamm_core::client::consumer::{Command, Config, Consumer, Event, GroupConfig, Isolation, Reset, Target};
use klamm_core::client::io::Common;
use klamm_core::id::Offset;
use print::{Printer, Shape};
use std::collections::BTreeSet;
use tokio::signal::unix::{SignalKind, signal};

/// Records taken at once.
const RECORDS_AT_ONCE: usize = 2000;

/// Print the records of a topic
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  klamm consume words                               what comes from now on
  klamm consume words --from-beginning -e           everything there is, then end
  klamm consume words --group readers               go on where the group was; share the work with its other members
  klamm consume words --from 2026-11-23T08:00:00Z -f json
  klamm consume words --from-beginning -f '%p:%o %k=%v\\n'")]
pub(super) struct Consume {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// From the first record there is; with a group only where it has committed nothing
    #[arg(long)]
    from_beginning: bool,
    /// From this offset, or the first record of this time
    #[arg(long, value_name = "OFFSET|TIME", conflicts_with_all = ["from_beginning", "group"])]
    from: Option<String>,
    /// Only this partition
    #[arg(short = 'p', long, value_name = "NUMBER", conflicts_with = "group")]
    partition: Option<i32>,
    /// As a member of this group, which commits how far it has come
    #[arg(short = 'g', long, value_name = "NAME")]
    group: Option<String>,
    /// How the group shares the partitions out
    #[arg(long, default_value = "range", value_name = "HOW")]
    assignor: AssignorArg,
    /// Nothing of open or aborted transactions
    #[arg(long)]
    read_committed: bool,
    /// value, json, or a pattern of %t topic, %p partition, %o offset, %T time in ms, %k key, %v value
    #[arg(short = 'f', long, default_value = "value", value_name = "FORMAT")]
    format: String,
    /// End at the end of what there is
    #[arg(short = 'e', long)]
    exit_at_end: bool,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<u64>,
    /// The topic
    topic: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AssignorArg {
    Range,
    RoundRobin,
    Sticky,
    CooperativeSticky,
}

impl AssignorArg {
    fn assignor(self) -> Assignor {
        match self {
            Self::Range => Assignor::Range,
            Self::RoundRobin => Assignor::RoundRobin,
            Self::Sticky => Assignor::Sticky,
            Self::CooperativeSticky => Assignor::CooperativeSticky,
        }
    }
}

impl Consume {
    pub(super) fn run(self) -> Result<(), Failure> {
        let shape = Shape::parse(&self.format);
        let admin = self.bootstrap.admin()?;
        let mut common = Common::new(self.bootstrap.addresses()?);
        common.client_id = "klamm-consume".to_owned();
        let group =
            self.group.as_ref().map(|name| GroupConfig { assignors: vec![self.assignor.assignor()], ..GroupConfig::new(name.clone()) });
        let config = Config {
            group,
            reset: if self.from_beginning { Reset::Earliest } else { Reset::Latest },
            isolation: if self.read_committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted },
            ..Config::new(common)
        };
        run(self.consume(admin, config, Printer::new(shape)))
    }

    async fn consume(self, mut admin: Admin, config: Config, mut printer: Printer) -> Result<(), String> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| format!("cannot listen for signals: {e}"))?;
        let mut client = Client::new(Consumer::new(config, seed()), Clock::new(), "klamm-consume");
        self.begin(&mut admin, &mut client).await?;
        client.tell(Command::Poll { max_records: RECORDS_AT_ONCE });
        loop {
            // What was handed on counts as read: print it before asking whether the end is reached.
            while let Some(event) = client.take_event() {
                self.take(&mut client, &mut printer, event)?;
            }
            if self.is_done(&client, &printer) {
                break;
            }
            printer.flush()?;
            tokio::select! {
                biased;
                _ = interrupt.recv() => break,
                () = client.turn() => {}
            }
        }
        printer.flush()?;
        client.tell(Command::Close);
        while !matches!(client.event().await, Event::Closed) {}
        Ok(())
    }

    /// Says what to read.
    async fn begin(&self, admin: &mut Admin, client: &mut Client<Consumer>) -> Result<(), String> {
        if self.group.is_some() {
            client.tell(Command::Subscribe { topics: BTreeSet::from([self.topic.as_str().into()]) });
            return Ok(());
        }
        let metadata = admin.metadata(Some(std::slice::from_ref(&self.topic))).await?;
        let mut parts = BTreeSet::new();
        for topic in &metadata.topics {
            super::ask::accept(&format!("cannot consume `{}`", self.topic), topic.error_code, None)?;
            let wanted = topic.partitions.iter().map(|p| p.partition_index.0).filter(|p| self.partition.is_none_or(|only| only == *p));
            parts.extend(wanted.map(|p| TopicPartition::new(self.topic.as_str(), p)));
        }
        if parts.is_empty() {
            let (topic, partition) = (&self.topic, self.partition.unwrap_or(0));
            return Err(format!("`{topic}` has no partition {partition}; `klamm topic describe {topic}` shows which it has"));
        }
        client.tell(Command::Assign { parts: parts.clone() });
        if let Some(from) = &self.from {
            let to = match (from.parse::<i64>(), time::parse(from)) {
                (Ok(offset), _) => Target::Offset(Offset(offset)),
                (_, Some(time)) => Target::At(time),
                (_, None) => return Err(format!("`--from {from}`: want an offset, or a time like 2026-11-23T08:00:00Z")),
            };
            parts.into_iter().for_each(|part| client.tell(Command::Seek { part, to }));
        }
        Ok(())
    }

    fn take(&self, client: &mut Client<Consumer>, printer: &mut Printer, event: Event) -> Result<(), String> {
        match event {
            Event::Records { records } => {
                for (part, records) in &records {
                    for record in records {
                        if self.count.is_some_and(|count| printer.printed() == count) {
                            return Ok(());
                        }
                        printer.print(part, record)?;
                    }
                }
                client.tell(Command::Poll { max_records: RECORDS_AT_ONCE });
            }
            Event::Refused { error } => return Err(super::ask::refusal("the group refuses this member", error, None)),
            Event::Corrupt { part, at } => {
                return Err(format!("{part}: what stands at offset {at} cannot be read; go on behind it with `--from {}`", at.plus(1)));
            }
            Event::NoPosition { .. }
            | Event::Assigned { .. }
            | Event::Revoked { .. }
            | Event::Lost { .. }
            | Event::Committed { .. }
            | Event::Closed => {}
        }
        Ok(())
    }

    fn is_done(&self, client: &Client<Consumer>, printer: &Printer) -> bool {
        if self.count.is_some_and(|count| printer.printed() >= count) {
            return true;
        }
        let machine = client.machine();
        let mut parts = machine.positions().peekable();
        let at_end = |(part, position): (&TopicPartition, Option<Offset>)| {
            position.is_some_and(|at| machine.high(part).is_some_and(|high| at >= high))
        };
        self.exit_at_end && parts.peek().is_some() && parts.all(at_end)
    }
}
