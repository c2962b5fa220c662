"""A node of three loses its disk, is formatted as its own refusal says, takes its old voter's place and is filled again; the other two stop and come
back; then all three are killed at once under load. Nothing that was acknowledged may be missing, in any of it."""

import os
import shutil
import signal
import subprocess
import sys
import time

from acked import Load, judge, read_back
from confluent_kafka.admin import AdminClient, NewTopic
from nodes import Cluster

KLAMM, FOLDER, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
TOPICS = {"wipe": 6}
TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../kafka/tool")


def tool(*arguments):
    done = subprocess.run([TOOL, *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stdout[-800:]}{done.stderr[-800:]}")
    return done.stdout


def until(what, seconds, holds):
    limit = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > limit:
            raise SystemExit(f"after {seconds} s: {what}")
        time.sleep(0.2)


def in_sync(admin, count):
    def holds():
        try:
            topic = admin.list_topics("wipe", timeout=5).topics["wipe"]
        except Exception:
            return False
        return all(len(p.isrs) >= count for p in topic.partitions.values())

    return holds


def progress(load):
    before = load.count()
    until("no progress", 90, lambda: load.count() > before + 300)


def refusal(cluster, n):
    """What the node says when its disk is empty: the line to run."""
    done = subprocess.run([KLAMM, "serve", os.path.join(cluster.path(n), "server.properties")], capture_output=True, text=True, timeout=60)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip().startswith("klamm format ")]
    if done.returncode == 0 or len(lines) != 1:
        raise SystemExit(f"node {n} with an empty folder should refuse with one line to run, but ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return lines[0]


def voters(bootstrap):
    """{node: directory id} of the voters, and of the observers."""
    told = {"Leader": {}, "Follower": {}, "Observer": {}}
    for line in tool("kafka-metadata-quorum", "--bootstrap-server", bootstrap, "describe", "--replication").splitlines()[1:]:
        words = line.split()
        if len(words) > 2 and words[-1] in told:
            told[words[-1]][int(words[0])] = words[1]
    return told["Leader"] | told["Follower"], told["Observer"]


def replace(cluster, n):
    survivor = f"127.0.0.1:{cluster.port + next(i for i in cluster.ids if i != n)}"
    old = voters(survivor)[0][n]
    subprocess.run([KLAMM, *refusal(cluster, n).split()[1:]], check=True, stdout=subprocess.DEVNULL)
    cluster.start(n)
    until("the new directory is no observer", 30, lambda: voters(survivor)[1].get(n, old) != old)
    tool("kafka-metadata-quorum", "--bootstrap-server", survivor, "remove-controller", "--controller-id", str(n), "--controller-directory-id", old)
    config = os.path.join(cluster.path(n), "server.properties")
    tool("kafka-metadata-quorum", "--bootstrap-server", survivor, "--command-config", config, "add-controller")
    new = voters(survivor)[0].get(n)
    if new in (None, old):
        raise SystemExit(f"node {n} votes as {new}, before as {old}")


def main():
    cluster = Cluster(KLAMM, FOLDER, PORT)
    try:
        cluster.start_all()
        prove(cluster)
    finally:
        cluster.kill_all()


def prove(cluster):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    until("not all three brokers are there", 30, lambda: len(admin.list_topics(timeout=10).brokers) == 3)
    admin.create_topics([NewTopic(t, n, 3) for t, n in TOPICS.items()])["wipe"].result(30)
    load = Load("w", cluster.bootstrap, TOPICS, 0.004)
    load.start()
    progress(load)

    cluster.signal(3, signal.SIGTERM)
    shutil.rmtree(os.path.join(cluster.path(3), "data"))
    progress(load)
    replace(cluster, 3)
    until("the new disk is not in sync", 90, in_sync(admin, 3))
    print("a wiped node is a voter again, and in sync")

    for n in (1, 2):
        cluster.signal(n, signal.SIGTERM)
    for n in (1, 2):
        cluster.start(n)
    progress(load)
    until("not all replicas are in sync", 90, in_sync(admin, 3))
    print("the other two were away")

    for n in list(cluster.processes):
        cluster.processes[n].send_signal(signal.SIGKILL)
    for n in list(cluster.processes):
        cluster.processes.pop(n).wait()
    cluster.start_all()
    progress(load)
    load.finish()
    faults, total = judge([load], read_back(cluster.bootstrap, TOPICS))
    for fault in faults:
        print(fault)
    if faults:
        raise SystemExit(f"wipe FAILED: {len(faults)} faults, {load.count()} acknowledged, {total} found")
    print(f"wipe ok: a disk wiped, two stopped, all killed: {load.count()} acknowledged, {total} found")


main()
