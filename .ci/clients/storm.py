"""Kills leaders and active controllers of three processes under acks=all load from librdkafka and the Java client, again and again, and compares
what was acknowledged with what is read. A failing run keeps its folder."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

from acked import Load, faults_of, judge, read_back
from confluent_kafka.admin import AdminClient, NewTopic
from nodes import Cluster

KLAMM, FOLDER, PORT, SECONDS = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
TOPICS, JAVA_TOPIC = {"storm-one": 1, "storm-six": 6}, "storm-java"
HERE = os.path.dirname(os.path.abspath(__file__))
DICE = random.Random(int(os.environ.get("CI_STORM_SEED", "1")))


class Java(threading.Thread):
    """Kafka's verifiable producer, idempotent: it tells each acknowledgement as a line of JSON."""

    def __init__(self, bootstrap):
        super().__init__(daemon=True)
        config = os.path.join(FOLDER, "java.properties")
        with open(config, "w") as f:
            f.write("acks=all\nenable.idempotence=true\nretries=2147483647\ndelivery.timeout.ms=300000\nmax.block.ms=120000\nretry.backoff.ms=20\nreconnect.backoff.ms=20\n")
        command = [os.path.join(HERE, "../kafka/tool"), "kafka-verifiable-producer", "--bootstrap-server", bootstrap, "--topic", JAVA_TOPIC]
        command += ["--throughput", "400", "--command-config", config]
        errors = open(os.path.join(FOLDER, "java.log"), "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        self.acked, self.failed = defaultdict(list), []

    def run(self):
        for line in self.process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if told.get("name") == "producer_send_success":
                self.acked[told["partition"]].append(int(told["value"]))
            elif told.get("name") == "producer_send_error":
                self.failed.append(line.strip())

    def count(self):
        return sum(len(a) for a in self.acked.values())

    def finish(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.join(120)
        if self.failed:
            raise SystemExit(f"{len(self.failed)} sends of the Java client failed: {self.failed[:2]}")


def victim(cluster, admin, turn):
    """A leader, the active controller, or a leader that is the active controller, by turns; and what it was."""
    controller = cluster.controller()
    leader = admin.list_topics("storm-one", timeout=20).topics["storm-one"].partitions[0].leader
    if turn % 2 and controller > 0:
        return controller, "controller and leader" if controller == leader else "controller"
    if leader > 0:
        return leader, "controller and leader" if controller == leader else "leader"
    return DICE.choice(list(cluster.ids)), "any"


def is_whole(admin, topics):
    """Whether every replica of every partition is in sync."""
    try:
        told = admin.list_topics(timeout=5).topics
    except Exception:
        return False
    return all(t in told and all(len(p.isrs) == 3 for p in told[t].partitions.values()) for t in topics)


def wait_whole(admin, topics, seconds):
    limit = time.monotonic() + seconds
    while not is_whole(admin, topics):
        if time.monotonic() > limit:
            raise SystemExit(f"after {seconds} s not all replicas are in sync")
        time.sleep(0.1)


def storm(cluster, admin, loads, java):
    kills, begun = [], time.monotonic()
    while time.monotonic() < begun + SECONDS or len(kills) < 3:
        before = [load.count() for load in [*loads, java]]
        limit = time.monotonic() + 90
        # Only kill when every client works again and every replica is back, else a kill would test nothing, or break what is promised.
        while any(load.count() < n + 100 for load, n in zip([*loads, java], before)):
            if time.monotonic() > limit:
                raise SystemExit(f"no progress in 90 s: {before} acknowledged before, {[load.count() for load in [*loads, java]]} now")
            time.sleep(0.02)
        wait_whole(admin, [*TOPICS, JAVA_TOPIC], 90)
        time.sleep(DICE.uniform(0, 1))
        node, what = victim(cluster, admin, len(kills))
        cluster.signal(node)
        kills.append((time.monotonic(), what))
        time.sleep(DICE.uniform(0.5, 2))
        cluster.start(node)
    return kills


def gaps(loads, kills):
    """The longest time without an acknowledgement that began near each kill, by what was killed."""
    found = defaultdict(list)
    for at, what in kills:
        near = [end - start for load in loads for start, end in load.gaps if at - 0.1 < end and start < at + 1]
        found[what].append(max(near, default=0))
    return "; ".join(f"{what}: {len(all_)} kills, gap median {sorted(all_)[len(all_) // 2]:.2f} s, most {max(all_):.2f} s" for what, all_ in sorted(found.items()))


def main():
    cluster = Cluster(KLAMM, FOLDER, PORT)
    try:
        cluster.start_all()
        prove(cluster)
    finally:
        cluster.kill_all()


def prove(cluster):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    limit = time.monotonic() + 30
    while len(admin.list_topics(timeout=10).brokers) < 3:
        if time.monotonic() > limit:
            raise SystemExit("after 30 s not all three brokers are there")
        time.sleep(0.05)
    for future in admin.create_topics([NewTopic(t, n, 3) for t, n in [*TOPICS.items(), (JAVA_TOPIC, 3)]]).values():
        future.result(30)
    quick = {"topic.metadata.refresh.fast.interval.ms": 50}
    # One that has a partition alone: its gaps are those of that partition's leader.
    loads = [Load("one", cluster.bootstrap, {"storm-one": 1}, 0.002, **quick), Load("all", cluster.bootstrap, TOPICS, 0.004, **quick)]
    java = Java(cluster.bootstrap)
    for load in [*loads, java]:
        load.start()
    kills = storm(cluster, admin, loads, java)
    for load in [*loads, java]:
        load.finish()
    wait_whole(admin, [*TOPICS, JAVA_TOPIC], 90)
    found = read_back(cluster.bootstrap, TOPICS | {JAVA_TOPIC: 3})
    by_java = {tp: found.pop(tp) for tp in list(found) if tp[0] == JAVA_TOPIC}
    faults, total = judge(loads, found)
    for tp, values in by_java.items():
        seen = [int(v) for v in values]
        total += len(seen)
        faults += faults_of(tp, "java", java.acked[tp[1]], seen)
    acked = sum(load.count() for load in [*loads, java])
    for fault in faults:
        print(fault)
    print(gaps(loads[:1], kills))
    if faults:
        raise SystemExit(f"storm FAILED: {len(faults)} faults, {len(kills)} kills, {acked} acknowledged, {total} found")
    print(f"storm ok: {len(kills)} kills in {SECONDS:.0f} s, {acked} acknowledged ({java.count()} by Java), {total} found")


main()
