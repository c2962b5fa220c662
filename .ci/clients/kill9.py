"""Kills a node in the middle of an acks=all load, again and again, and compares what was acknowledged with what is read."""

import os
import random
import signal
import socket
import subprocess
import sys
import time

from acked import Load, judge, read_back
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
    loads = [Load(f"p{n}", BOOTSTRAP, TOPICS) for n in range(2)]
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
    faults, total = judge(loads, read_back(BOOTSTRAP, TOPICS))
    acked = sum(load.count() for load in loads)
    for fault in faults:
        print(fault)
    if faults or acked < 500 * ROUNDS:
        raise SystemExit(f"kill9 FAILED: {len(faults)} faults, {acked} acknowledged, {total} found")
    print(f"kill9 ok: {ROUNDS} kills, {acked} acknowledged, {total} found, restart at most {max(took):.2f} s")


main()
