"""What the kill tests share: idempotent producers that count, reading back, and the verdict over what was acknowledged."""

import threading
import time
from collections import defaultdict

from confluent_kafka import Consumer, Producer, TopicPartition


class Load(threading.Thread):
    """One idempotent producer: counts up in each partition; what is acknowledged is kept as a list of numbers."""

    def __init__(self, word, bootstrap, topics, pause=0.0005, **config):
        super().__init__(daemon=True)
        self.word, self.stop, self.sent, self.pause = word, threading.Event(), defaultdict(int), pause
        self.acked, self.failed, self.last, self.gaps = defaultdict(list), [], None, []
        self.parts = [(t, p) for t, count in topics.items() for p in range(count)]
        base = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 2, "compression.type": "lz4"}
        base |= {"message.timeout.ms": 300000, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20, "log_level": 0}
        self.producer = Producer(base | config, logger=None)

    def report(self, error, message):
        if error is not None:
            self.failed.append(str(error))
            return
        self.acked[message.topic(), message.partition()].append(int(message.value().split()[1]))
        now = time.monotonic()
        if self.last is not None and now - self.last > 0.1:
            self.gaps.append((self.last, now))
        self.last = now

    def run(self):
        while not self.stop.is_set():
            for topic, partition in self.parts:
                n = self.sent[topic, partition]
                try:
                    self.producer.produce(topic, b"%s %d %s" % (self.word.encode(), n, b"x" * (n % 200)), partition=partition, on_delivery=self.report)
                    self.sent[topic, partition] = n + 1
                except BufferError:
                    self.producer.poll(0.05)
            self.producer.poll(0)
            time.sleep(self.pause)

    def finish(self):
        self.stop.set()
        self.join()
        left = self.producer.flush(120)
        if left or self.failed:
            raise SystemExit(f"{left} undelivered, {len(self.failed)} failed: {self.failed[:3]}")

    def count(self):
        return sum(len(a) for a in self.acked.values())


def read_back(bootstrap, topics):
    """Every message of every partition, up to the end at this moment, as {(topic, partition): [value]}."""
    config = {"bootstrap.servers": bootstrap, "group.id": "read-back", "auto.offset.reset": "error", "enable.auto.commit": False, "fetch.wait.max.ms": 50, "log_level": 0}
    consumer = Consumer(config)
    parts = [(t, p) for t, count in topics.items() for p in range(count)]
    ends = {tp: consumer.get_watermark_offsets(TopicPartition(*tp), timeout=30)[1] for tp in parts}
    consumer.assign([TopicPartition(t, p, 0) for t, p in parts])
    found, reached, limit = {tp: [] for tp in parts}, dict.fromkeys(parts, 0), time.monotonic() + 120
    while any(reached[tp] < ends[tp] for tp in parts):
        for m in consumer.consume(10000, 1.0):
            if m.error():
                raise SystemExit(f"reading back: {m.error()}")
            tp = m.topic(), m.partition()
            if m.offset() != reached[tp]:
                raise SystemExit(f"{tp}: offset {m.offset()} came where {reached[tp]} was due")
            reached[tp] = m.offset() + 1
            found[tp].append(m.value())
        if time.monotonic() > limit:
            raise SystemExit("reading back takes more than 120 s")
    consumer.close()
    return found


def faults_of(tp, word, acked, seen):
    """Acknowledged ⊆ seen, nothing twice, and in rising order."""
    lost = set(acked) - set(seen)
    if lost:
        yield f"{tp} {word}: {len(lost)} acknowledged messages lost, first {min(lost)}"
    if len(set(seen)) != len(seen):
        yield f"{tp} {word}: {len(seen) - len(set(seen))} messages twice"
    if any(b <= a for a, b in zip(seen, seen[1:])):
        yield f"{tp} {word}: out of order"


def judge(loads, found):
    """The faults, and how many messages of these loads were found."""
    faults, total = [], 0
    for tp, values in found.items():
        by_word = defaultdict(list)
        for v in values:
            word, n = v.split()[:2]
            by_word[word.decode()].append(int(n))
        for load in loads:
            total += len(by_word[load.word])
            faults += faults_of(tp, load.word, load.acked[tp], by_word[load.word])
    return faults, total
