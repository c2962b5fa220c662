"""kafka-python: its own codec and its own reading of the protocol."""

import threading
import time

import kafka
from common import BOOTSTRAP, COMBOS, T0, check, lines, ok, parts, rest, same, topic, until
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions, NewTopic
from kafka.errors import InvalidPartitionsError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

LINES = lines()
admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def create(name, partitions):
    admin.create_topics([NewTopic(name, partitions, 1)])


def refused(error, call):
    try:
        call()
    except error:
        return
    raise SystemExit(f"{error.__name__} wanted")


def produce(name, values, at=None, **how):
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, linger_ms=5, **how)
    sent = [producer.send(name, v, key=v[:8], timestamp_ms=at + n if at else None) for n, v in enumerate(values)]
    producer.flush(40)
    for future in sent:
        future.get(10)
    producer.close()


def consumer(group=None, **how):
    return KafkaConsumer(bootstrap_servers=BOOTSTRAP, group_id=group, auto_offset_reset="earliest", session_timeout_ms=10000, **how)


def take(c, ms=200):
    return [r.value for part in c.poll(ms, max_records=5000).values() for r in part]


def read(c, want):
    seen = []
    until(f"{want} messages", 30, lambda: seen.extend(take(c)) or len(seen) >= want)
    return seen + take(c, 500)


def every_codec_and_acks():
    for codec, acks in COMBOS:
        name = topic(f"{codec}-{acks}")
        create(name, parts(acks))
        if acks == "0":
            produce(name, LINES[:1], acks=1)
        how = {"compression_type": None if codec == "none" else codec, "acks": acks if acks == "all" else int(acks), "enable_idempotence": acks == "all"}
        produce(name, rest(acks, LINES), **how)
        c = consumer()
        c.assign([TopicPartition(name, p) for p in range(parts(acks))])
        same(f"{codec} acks={acks}", LINES, read(c, len(LINES)))
        c.close()


class Member(threading.Thread):
    """One consumer in a thread of its own: a join waits for the others inside poll."""

    def __init__(self, name, group):
        super().__init__(daemon=True)
        self.seen, self.owns, self.stop = [], 0, threading.Event()
        self.consumer = consumer(group)
        # A leader that first hears of the topic after it has assigned can wait for ever in this client (3.0.12): it forgets its
        # join if poll's time is up between the answers to its JoinGroup and its SyncGroup.
        self.consumer.partitions_for_topic(name)
        self.consumer.subscribe([name])

    def run(self):
        while not self.stop.is_set():
            self.seen += take(self.consumer, 100)
            self.owns = len(self.consumer.assignment())
        self.consumer.commit()
        self.consumer.close()


def group_of_three():
    name, group = topic("group"), topic("g")
    create(name, 6)
    members = [Member(name, group) for _ in range(3)]
    for m in members:
        m.start()
    until("two partitions each", 40, lambda: time.sleep(0.05) or [m.owns for m in members] == [2, 2, 2])
    produce(name, LINES)
    until("all lines in the group", 30, lambda: time.sleep(0.05) or sum(len(m.seen) for m in members) >= len(LINES))
    for m in members:
        m.stop.set()
    for m in members:
        m.join(20)
    same("group of three", LINES, [v for m in members for v in m.seen])
    check("each member had a share", all(m.seen for m in members))


def by_time():
    name = topic("time")
    create(name, 1)
    produce(name, LINES, at=T0)
    c, part, middle = consumer(), TopicPartition(name, 0), len(LINES) // 2
    found = c.offsets_for_times({part: T0 + middle})[part]
    check("offset of the middle", (found.offset, found.timestamp) == (middle, T0 + middle))
    check("past the end there is none", c.offsets_for_times({part: T0 + 10 * len(LINES)})[part] is None)
    c.assign([part])
    c.seek(part, found.offset)
    same("from a time on", LINES[middle:], read(c, len(LINES) - middle))
    check("ends", (c.beginning_offsets([part])[part], c.end_offsets([part])[part]) == (0, len(LINES)))
    c.close()


def administration():
    name = topic("admin")
    create(name, 2)
    refused(TopicAlreadyExistsError, lambda: create(name, 2))
    admin.create_partitions({name: NewPartitions(4)})
    refused(InvalidPartitionsError, lambda: admin.create_partitions({name: NewPartitions(3)}))
    check("the topic is listed", name in admin.list_topics())
    admin.delete_topics([name])
    refused(UnknownTopicOrPartitionError, lambda: admin.delete_topics([name]))


every_codec_and_acks()
group_of_three()
by_time()
administration()
ok(kafka.__version__)
