"""Fetch, fetch sessions, ListOffsets, OffsetForLeaderEpoch and DeleteRecords."""

import time

from kit import EARLIEST, EARLIEST_LOCAL, LATEST, LATEST_TIERED, MAX_TIMESTAMP, PENDING_UPLOAD, probe
from records import batch, describe

DAY = 86_400_000
BASE = 1_700_000_000_000


def only(answer):
    """The single partition of a fetch answer."""
    return answer["responses"][0]["partitions"][0] if answer.get("responses") else answer


@probe
def fetch_versions(k):
    """Version by version: which fields come."""
    topic = k.topic()
    k.fill(topic, 2)
    ids = k.topic_id(topic)
    names = {f"v{v}": k.fetch(topic, version=v) for v in range(4, 13)}
    return names | {f"v{v}": k.fetch(ids, version=v) for v in range(13, k.schemas.highest("Fetch") + 1)}


@probe
def fetch_offsets(k):
    """Below the start, at the end, above the end; errors carry which watermarks?"""
    topic = k.topic()
    k.fill(topic, 4)
    k.ask("DeleteRecords", 2, timeoutMs=5000, topics=[{"name": topic, "partitions": [{"partitionIndex": 0, "offset": 2}]}])
    return {str(at): only(k.fetch(topic, at)) for at in (-1, 0, 1, 2, 3, 4, 5)} | {
        "unknown partition": only(k.fetch(topic, partition=9)),
        "unknown topic": only(k.fetch(k.name("absent"))),
        "unknown topic id": only(k.fetch("11111111-2222-3333-4444-555555555555", version=13)),
        "zero topic id": only(k.fetch("0", version=13)),
    }


@probe
def fetch_epochs(k):
    """Leader epochs: the current one, an older, a newer; the last fetched epoch."""
    topic = k.topic()
    k.fill(topic, 3)

    def at(**part):
        return only(k.fetch(topic, 1, version=12, max_bytes=1, **part))

    return {
        "current epoch 0": at(currentLeaderEpoch=0)["errorCode"],
        "current epoch 1": at(currentLeaderEpoch=1),
        "current epoch -1": at(currentLeaderEpoch=-1)["errorCode"],
        "current epoch -2": at(currentLeaderEpoch=-2),
        "last fetched 0": at(lastFetchedEpoch=0),
        "last fetched 1": at(lastFetchedEpoch=1),
        "last fetched 0, beyond the end": only(k.fetch(topic, 9, version=12, lastFetchedEpoch=0)),
    }


@probe
def fetch_sizes(k):
    """The first batch comes whole whatever the limits; later ones may be cut or left out."""
    topic, parts = k.topic(), k.topic(2)
    for _ in range(3):
        k.produce(topic, batch([b"x" * 100, b"y" * 100]))
    for p in (0, 1):
        k.fill(parts, 2, partition=p)

    def bytes_of(got):
        return len(only(got)["records"]), describe(only(got)["records"])

    two = [{"partition": p, "fetchOffset": 0, "partitionMaxBytes": 1000} for p in (0, 1)]
    both = k.fetch(parts, top={"maxBytes": 10, "topics": [{"topic": parts, "partitions": two}]})
    return {
        "partition limit 1": bytes_of(k.fetch(topic, max_bytes=1)),
        "partition limit 0": bytes_of(k.fetch(topic, max_bytes=0)),
        "partition limit -1": only(k.fetch(topic, max_bytes=-1)),
        "one batch and a bit": bytes_of(k.fetch(topic, max_bytes=300)),
        "two batches": bytes_of(k.fetch(topic, max_bytes=560)),
        "response limit 10": bytes_of(k.fetch(topic, top={"maxBytes": 10})),
        "response limit 0": bytes_of(k.fetch(topic, top={"maxBytes": 0})),
        "middle of a batch": bytes_of(k.fetch(topic, 1, max_bytes=1)),
        "two partitions, limit 10": [(p["partitionIndex"], len(p["records"])) for p in both["responses"][0]["partitions"]],
    }


@probe
def fetch_waits(k):
    """min bytes and max wait; an error answers at once. Only whether it waited is recorded."""
    topic = k.topic()

    def timed(**how):
        start = time.monotonic()
        got = k.fetch(topic, **how)
        waited = time.monotonic() - start
        return {"waited": waited > 0.35, "error": only(got)["errorCode"], "bytes": len(only(got)["records"] or b"")}

    empty = timed(wait=500)
    k.fill(topic, 1)
    return {
        "at the end": empty,
        "data there": timed(wait=500),
        "min bytes not there": timed(wait=500, top={"minBytes": 100_000}),
        "min bytes 0": timed(offset=1, wait=500, top={"minBytes": 0}),
        "out of range": timed(offset=7, wait=500),
        "unknown partition": timed(partition=7, wait=500),
    }


@probe
def fetch_isolation(k):
    """read_committed with no transactions: aborted list and last stable offset."""
    topic = k.topic()
    k.fill(topic, 1)
    return {f"isolation {i}": only(k.fetch(topic, top={"isolationLevel": i})) for i in (0, 1, 2)}


@probe
def fetch_sessions(k):
    """KIP-227: full, incremental, forgotten partitions, closing; wrong ids and epochs."""
    topic, conn = k.topic(3), k.conn()
    k.fill(topic, 1)
    parts = [{"partition": p, "fetchOffset": 0, "partitionMaxBytes": 1000} for p in range(3)]

    def ask(sid, epoch, partitions=(), forget=(), version=11):
        top = {"sessionId": sid, "sessionEpoch": epoch, "topics": [{"topic": topic, "partitions": list(partitions)}] if partitions else []}
        top["forgottenTopicsData"] = [{"topic": topic, "partitions": list(forget)}] if forget else []
        got = k.fetch(topic, conn=conn, version=version, top=top)
        seen = [[p["partitionIndex"], p["errorCode"], len(p["records"] or b"") > 0] for r in got["responses"] for p in r["partitions"]]
        return {"error": got["errorCode"], "session": got["sessionId"], "seen": seen}, got["sessionId"]

    full, sid = ask(0, 0, parts)
    says = {"full": full, "session is new": sid != 0}
    says["nothing changed but data"] = ask(sid, 1)[0]
    says["offset moved"] = ask(sid, 2, [{"partition": 0, "fetchOffset": 1, "partitionMaxBytes": 1000}])[0]
    says["nothing changed"] = ask(sid, 3)[0]
    k.fill(topic, 1, partition=1)
    says["data in 1"] = ask(sid, 4)[0]
    says["data in 1, not yet taken"] = ask(sid, 5)[0]
    says["forget 1"] = ask(sid, 6, forget=[1])[0]
    says["epoch repeated"] = ask(sid, 6)[0]
    says["right epoch after a wrong one"] = ask(sid, 7)[0]
    says["epoch ahead"] = ask(sid, 9)[0]
    says["unknown partition added"] = ask(sid, 8, [{"partition": 8, "fetchOffset": 0, "partitionMaxBytes": 1000}])[0]
    says["unknown partition again"] = ask(sid, 9)[0]
    says["close"] = ask(sid, -1)[0]
    says["after closing"] = ask(sid, 10)[0]
    says["unknown id"] = ask(123456, 1)[0]
    says["id 0, epoch 1"] = ask(0, 1, parts)[0]
    says["id 0, epoch -1"] = ask(0, -1, parts)[0]
    full, sid = ask(0, 0, parts)
    again, other = ask(sid, 0, parts)
    return mask_sessions(says | {"epoch 0 with an id": again, "gives a new session": other != sid})


def mask_sessions(value):
    if isinstance(value, dict):
        return {k: ("<sessionId>" if k == "session" and v else mask_sessions(v)) for k, v in value.items()}
    return value


@probe
def list_offsets_special(k):
    """Every special timestamp at every version which has it, on an empty log, a full one, and one whose start moved."""
    empty, topic = k.topic(), k.topic()
    for n in range(4):
        k.produce(topic, batch([b"a", b"b"], at=BASE + n * DAY, at_deltas=[0, 5]))
    specials = {
        "latest": LATEST,
        "earliest": EARLIEST,
        "max timestamp": MAX_TIMESTAMP,
        "earliest local": EARLIEST_LOCAL,
        "latest tiered": LATEST_TIERED,
        "pending upload": PENDING_UPLOAD,
        "-7": -7,
    }
    says = {}
    for where, name in (("empty", empty), ("full", topic)):
        for word, stamp in specials.items():
            says[f"{where}: {word}"] = k.list_offsets(name, stamp, version=11)
    k.ask("DeleteRecords", 2, timeoutMs=5000, topics=[{"name": topic, "partitions": [{"partitionIndex": 0, "offset": 3}]}])
    for word, stamp in specials.items():
        says[f"start moved: {word}"] = k.list_offsets(topic, stamp, version=11)
    for v in range(1, 12):
        says[f"v{v} latest"] = k.list_offsets(topic, LATEST, version=v)
    for word, stamp, first in (("max timestamp", -3, 7), ("earliest local", -4, 8), ("latest tiered", -5, 9), ("pending upload", -6, 11)):
        says[f"{word} at v{first - 1}"] = k.list_offsets(topic, stamp, version=first - 1)
        says[f"{word} at v{first}"] = k.list_offsets(topic, stamp, version=first)
    return says


@probe
def list_offsets_by_time(k):
    """The first offset whose timestamp is not before the asked one."""
    topic = k.topic()
    for n in range(4):
        k.produce(topic, batch([b"a", b"b"], at=BASE + n * 1000, at_deltas=[0, 500]))
    k.produce(topic, batch([b"late"], at=BASE + 100))
    asked = (0, -1000, BASE - 1, BASE, BASE + 1, BASE + 400, BASE + 500, BASE + 501, BASE + 3500, BASE + 3501)
    return {str(t): k.list_offsets(topic, t) for t in asked}


@probe
def list_offsets_errors(k):
    topic = k.topic()
    k.fill(topic, 1)
    twice = [{"partitionIndex": 0, "timestamp": -1}, {"partitionIndex": 0, "timestamp": -2}]
    return {
        "unknown partition": k.list_offsets(topic, -1, partition=5),
        "unknown topic": k.list_offsets(k.name("absent"), -1),
        "epoch 0": k.list_offsets(topic, -1, currentLeaderEpoch=0),
        "epoch 1": k.list_offsets(topic, -1, currentLeaderEpoch=1),
        "epoch -5": k.list_offsets(topic, -1, currentLeaderEpoch=-5),
        "twice in a request": k.ask("ListOffsets", 7, replicaId=-1, topics=[{"name": topic, "partitions": twice}]),
        "replica id -2": k.ask("ListOffsets", 7, replicaId=-2, topics=[{"name": topic, "partitions": twice[:1]}]),
        "read committed": k.ask("ListOffsets", 7, replicaId=-1, isolationLevel=1, topics=[{"name": topic, "partitions": twice[:1]}]),
        "no topics": k.ask("ListOffsets", 7, replicaId=-1, topics=[]),
    }


@probe
def offset_for_leader_epoch(k):
    topic = k.topic()
    k.fill(topic, 3)

    def ask(version=4, replica=-2, name=topic, **part):
        body = {"topics": [{"topic": name, "partitions": [{"partition": 0, "leaderEpoch": 0} | part]}]}
        if version >= 3:
            body["replicaId"] = replica
        return k.ask("OffsetForLeaderEpoch", version, **body)["topics"][0]["partitions"][0]

    return {f"v{v} epoch 0": ask(v) for v in (2, 3, 4)} | {
        "epoch 1": ask(leaderEpoch=1),
        "epoch -1": ask(leaderEpoch=-1),
        "current epoch 0": ask(currentLeaderEpoch=0),
        "current epoch 1": ask(currentLeaderEpoch=1),
        "current epoch -3": ask(currentLeaderEpoch=-3),
        "unknown partition": ask(partition=4),
        "unknown topic": ask(name=k.name("absent")),
        "consumer id -1": ask(replica=-1),
        "empty log": ask(name=k.topic()),
    }


@probe
def delete_records(k):
    topic = k.topic()
    k.fill(topic, 4)

    def ask(offset, version=2, name=topic, partition=0):
        topics = [{"name": name, "partitions": [{"partitionIndex": partition, "offset": offset}]}]
        return k.ask("DeleteRecords", version, timeoutMs=5000, topics=topics)["topics"][0]["partitions"][0]

    compacted = k.topic(cleanup_policy="compact")
    k.produce(compacted, batch([b"a"], keys=[b"k"]))
    return {
        "to 2": ask(2),
        "to 2 again": ask(2),
        "to 1": ask(1),
        "beyond the end": ask(5),
        "-2": ask(-2),
        "v0 to 3": ask(3, version=0),
        "-1 is the end": ask(-1),
        "earliest now": k.list_offsets(topic, EARLIEST),
        "unknown partition": ask(0, partition=3),
        "unknown topic": ask(0, name=k.name("absent")),
        "compacted topic": ask(1, name=compacted),
    }
