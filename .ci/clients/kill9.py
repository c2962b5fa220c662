"""Kills a node in the middle of an acks=all load, again and again, and compares what was acknowledged with what is read."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP, WORKDIR, ROUNDS, COMMAND = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
HOST, PORT = BOOTSTRAP.rsplit(":", 1)
TOPICS = {f"kill-{os.getpid()}-{n}": partitions for n, partitions in enumerate((1, 3, 6))}
DICE = random.Random(int(os.environ.get("CI_KILL9_SEED", "1")))


class Node:
    def start(self):
        log = open(os.path.join(WORKDIR, "node.log"), "ab")
        self.process = subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        begun = time.monotonic()
        while True:
            try:
                socket.create_connection((HOST, int(PORT)), 1).close()
                return time.monotonic() - begun
            except OSError:
                if self.process.poll() is not None or time.monotonic() > begun + 120:
                    raise SystemExit(f"the node does not listen (exit {self.process.poll()}), see {log.name}") from None
                time.sleep(0.005)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Load(threading.Thread):
    """One idempotent producer: counts up in each partition; what is acknowledged is kept as a set of numbers."""

    def __init__(self, word):
        super().__init__(daemon=True)
        self.word, self.stop, self.sent = word, threading.Event(), defaultdict(int)
        self.acked, self.failed = defaultdict(list), []
        config = {"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "acks": "all", "linger.ms": 2, "compression.type": "lz4"}
        config |= {"message.timeout.ms": 300000, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20, "log_level": 0}
        self.producer = Producer(config, logger=None)

    def report(self, error, message):
        if error is not None:
            self.failed.append(str(error))
        else:
            self.acked[message.topic(), message.partition()].append(int(message.value().split()[1]))

    def run(self):
        parts = [(t, p) for t, count in TOPICS.items() for p in range(count)]
        while not self.stop.is_set():
            for topic, partition in parts:
                n = self.sent[topic, partition]
                try:
                    self.producer.produce(topic, b"%s %d %s" % (self.word.encode(), n, b"x" * (n % 200)), partition=partition, on_delivery=self.report)
                    self.sent[topic, partition] = n + 1
                except BufferError:
                    self.producer.poll(0.05)
            self.producer.poll(0)
            time.sleep(0.0005)

    def finish(self):
        self.stop.set()
        self.join()
        left = self.producer.flush(120)
        if left or self.failed:
            raise SystemExit(f"{left} undelivered, {len(self.failed)} failed: {self.failed[:3]}")

    def count(self):
        return sum(len(a) for a in self.acked.values())


def read_back():
    """Every message of every partition, up to the end at this moment, as {(topic, partition): [value]}."""
    config = {"bootstrap.servers": BOOTSTRAP, "group.id": "kill9", "auto.offset.reset": "error", "enable.auto.commit": False, "fetch.wait.max.ms": 50, "log_level": 0}
    consumer, found = Consumer(config), {}
    parts = [(t, p) for t, count in TOPICS.items() for p in range(count)]
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


def judge(loads, found):
    """Acknowledged ⊆ found, nothing twice, and each producer's numbers in rising order in each partition."""
    faults, total = [], 0
    for tp, values in found.items():
        by_word = defaultdict(list)
        for v in values:
            word, n = v.split()[:2]
            by_word[word.decode()].append(int(n))
        for load in loads:
            seen = by_word[load.word]
            total += len(seen)
            lost = set(load.acked[tp]) - set(seen)
            if lost:
                faults.append(f"{tp} {load.word}: {len(lost)} acknowledged messages lost, first {min(lost)}")
            if len(set(seen)) != len(seen):
                faults.append(f"{tp} {load.word}: {len(seen) - len(set(seen))} messages twice")
            if any(b <= a for a, b in zip(seen, seen[1:])):
                faults.append(f"{tp} {load.word}: out of order")
    return faults, total


def main():
    node = Node()
    try:
        node.start()
        prove(node)
    finally:
        if node.process.poll() is None:
            node.kill()


def prove(node):
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP, "log_level": 0})
    for future in admin.create_topics([NewTopic(t, n, 1) for t, n in TOPICS.items()]).values():
        future.result(30)
    loads = [Load(f"p{n}") for n in range(2)]
    for load in loads:
        load.start()
    took = []
    for _ in range(ROUNDS):
        before = sum(load.count() for load in loads)
        limit = time.monotonic() + 120
        # Only kill when the node is working again, else a round would test nothing.
        while sum(load.count() for load in loads) < before + 500:
            if time.monotonic() > limit:
                raise SystemExit(f"no progress in 120 s: {before} acknowledged, failures {[load.failed[:2] for load in loads]}")
            time.sleep(0.01)
        time.sleep(DICE.uniform(0, 0.5))
        node.kill()
        took.append(node.start())
    for load in loads:
        load.finish()
    faults, total = judge(loads, read_back())
    acked = sum(load.count() for load in loads)
    for fault in faults:
        print(fault)
    if faults or acked < 500 * ROUNDS:
        raise SystemExit(f"kill9 FAILED: {len(faults)} faults, {acked} acknowledged, {total} found")
    print(f"kill9 ok: {ROUNDS} kills, {acked} acknowledged, {total} found, restart at most {max(took):.2f} s")


main()
