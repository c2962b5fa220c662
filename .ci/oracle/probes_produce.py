"""Produce, InitProducerId and idempotence."""

import time

from kit import probe
from records import batch, message_v1

NOW = 1_700_000_000_000


@probe
def produce_plain(k):
    """Version by version: which fields come, and that a later batch gets the next offset."""
    topic = k.topic()
    answers = {f"v{v}": k.produce(topic, batch([b"a", b"b"]), version=v) for v in range(3, 13)}
    body = {"topicId": k.topic_id(topic), "partitionData": [{"index": 0, "records": batch([b"c"])}]}
    answers["v13"] = k.ask("Produce", 13, acks=1, timeoutMs=1000, topicData=[body])
    return answers


@probe
def produce_topic_id_unknown(k):
    """Produce 13 with an id nobody has."""
    body = {"topicId": "11111111-2222-3333-4444-555555555555", "partitionData": [{"index": 0, "records": batch([b"c"])}]}
    zero = {"topicId": "0", "partitionData": [{"index": 0, "records": batch([b"c"])}]}
    return [k.ask("Produce", 13, acks=1, timeoutMs=1000, topicData=[b]) for b in (body, zero)]


@probe
def produce_acks_invalid(k):
    """acks other than -1, 0, 1."""
    topic = k.topic()
    return {f"acks={a}": k.produce(topic, batch([b"a"]), acks=a) for a in (2, -2, 1, -1)}


@probe
def produce_acks_zero(k):
    """acks=0 has no answer; an error closes the connection."""
    topic, conn = k.topic(), k.conn()
    body = {"acks": 0, "timeoutMs": 1000}
    conn.send("Produce", 9, body | {"topicData": [{"name": topic, "partitionData": [{"index": 0, "records": batch([b"a"])}]}]})
    next_answer = conn.ask("Metadata", 12, topics=[{"name": topic}])["topics"][0]["errorCode"]
    stored = k.until(lambda: k.list_offsets(topic, -1), lambda got: got["offset"] == 1)
    conn.send("Produce", 9, body | {"topicData": [{"name": topic, "partitionData": [{"index": 7, "records": batch([b"a"])}]}]})
    after = ask_or_closed(conn, topic)
    return {"next answer on the connection": next_answer, "stored": stored, "after an error": after}


def ask_or_closed(conn, topic):
    from wire import Closed

    try:
        return conn.ask("Metadata", 12, topics=[{"name": topic}])["topics"][0]["errorCode"]
    except Closed:
        return "closed"


@probe
def produce_unknown_partition(k):
    topic = k.topic()
    return {
        "partition": k.produce(topic, batch([b"a"]), partition=5),
        "negative partition": k.produce(topic, batch([b"a"]), partition=-1),
        "topic": k.produce(k.name("absent"), batch([b"a"])),
        "topic with an invalid name": k.produce("a b/c", batch([b"a"])),
    }


@probe
def produce_transactional_flag_without_id(k):
    """A batch with the transactional bit from a producer without a transactional id."""
    topic, pid = k.topic(), k.producer_id()
    return {
        "transactional bit": k.produce(topic, batch([b"a"], attributes=0x10, pid=pid, epoch=0, seq=0)),
        "control bit": k.produce(topic, batch([b"a"], attributes=0x20)),
    }


@probe
def produce_bad_records(k):
    """Each way in which a batch can be wrong; all on one topic, which stays at offset 0."""
    topic = k.topic()
    good = batch([b"a", b"b"])
    cases = {
        "crc wrong": batch([b"a"], crc=1),
        "magic 1": message_v1(b"a"),
        "magic 0 in a v2 header": batch([b"a"], magic=0),
        "magic 3": batch([b"a"], magic=3),
        "empty records": b"",
        "cut short": good[:-1],
        "header cut": good[:40],
        "eleven bytes": good[:11],
        "length 0": b"\0" * 8 + b"\0\0\0\0" + good[12:],
        "length negative": b"\0" * 8 + b"\xff\xff\xff\xff" + good[12:],
        "trailing garbage": good + b"\0" * 5,
        "two batches": good + batch([b"c"]),
        "count wrong": batch([b"a", b"b"], count=3),
        "count 0": batch([], count=0, last_delta=0),
        "count negative": batch([b"a"], count=-1),
        "last delta wrong": batch([b"a", b"b"], last_delta=5),
        "deltas not 0..": batch([b"a", b"b"], deltas=[0, 2], last_delta=2),
        "deltas descending": batch([b"a", b"b"], deltas=[1, 0]),
        "codec 5": batch([b"a"], attributes=5),
        "gzip that is none": corrupt_gzip(),
        "max timestamp wrong": batch([b"a"], max_at=NOW + 5),
        "no timestamp": batch([b"a"], at=-1),
        "timestamp negative": batch([b"a"], at=-2),
        "log-append bit": batch([b"a"], attributes=8),
        "base offset 7": batch([b"a"], base=7),
        "sequence without producer id": batch([b"a"], seq=0),
        "producer id without sequence": batch([b"a"], pid=1, epoch=0, seq=-1),
        "producer id without epoch": batch([b"a"], pid=1, epoch=-1, seq=0),
        "unused attribute bits": batch([b"a"], attributes=0x4000),
    }
    return {name: k.produce(topic, records) for name, records in cases.items()} | {"end": k.list_offsets(topic, -1)}


@probe
def produce_lying_headers(k):
    """What is answered to a batch whose header does not fit its records, plain and compressed, and what is stored of it."""
    said = {}
    for codec, attributes in ("plain", 0), ("gzip", 1):
        two = [b"a", b"b"]
        cases = {
            "honest": batch(two, attributes=attributes, at_deltas=[5, 2]),
            "too late": batch(two, attributes=attributes, at_deltas=[5, 2], max_at=NOW + 500),
            "too early": batch(two, attributes=attributes, at_deltas=[5, 2], max_at=NOW),
            "no largest time": batch(two, attributes=attributes, at_deltas=[5, 2], max_at=-1),
            "log-append bit": batch(two, attributes=attributes | 8, at_deltas=[5, 2]),
            "log-append bit, another time": batch(two, attributes=attributes | 8, at_deltas=[5, 2], max_at=NOW + 500),
            "count too small": batch(two, attributes=attributes, count=1, last_delta=0),
            "count too large": batch(two, attributes=attributes, count=3, last_delta=2),
            "deltas descending": batch(two, attributes=attributes, deltas=[1, 0]),
            "deltas equal": batch(two, attributes=attributes, deltas=[1, 1]),
        }
        for name, records in cases.items():
            topic = k.topic()
            said[f"{codec}, {name}"] = {"answer": k.produce(topic, records), "stored": k.fetch(topic)}
    return said


def corrupt_gzip():
    import struct

    from records import crc32c

    raw = batch([b"abc", b"def"], attributes=1)
    raw = raw[:-12] + b"\0" * 12
    return raw[:17] + struct.pack(">I", crc32c(raw[21:])) + raw[21:]


@probe
def produce_null_records(k):
    """Kafka never answers this one: see deviations.txt."""
    return k.produce(k.topic(), None)


@probe
def produce_many_partitions_one_bad(k):
    """Errors are per partition: the good one is stored."""
    topic = k.topic(2)
    parts = [{"index": 0, "records": batch([b"a"])}, {"index": 1, "records": batch([b"a"], crc=1)}, {"index": 2, "records": batch([b"a"])}]
    return k.ask("Produce", 9, acks=-1, timeoutMs=1000, topicData=[{"name": topic, "partitionData": parts}])


@probe
def produce_same_partition_twice(k):
    """One partition listed twice in one request."""
    topic = k.topic()
    parts = [{"index": 0, "records": batch([b"a"])}, {"index": 0, "records": batch([b"b"])}]
    got = k.ask("Produce", 9, acks=-1, timeoutMs=1000, topicData=[{"name": topic, "partitionData": parts}])
    return {"answer": got, "end": k.list_offsets(topic, -1)}


@probe
def produce_empty_request(k):
    """No topics at all."""
    return k.ask("Produce", 9, acks=1, timeoutMs=1000, topicData=[])


@probe
def produce_too_large(k):
    topic = k.topic(max_message_bytes=1000)
    return {f"{len(b)} B": k.produce(topic, b) for b in (batch([b"x" * n]) for n in (929, 930, 931, 932))}


@probe
def produce_timestamps(k):
    """create time far ahead and far behind, and log append time."""
    now = int(time.time() * 1000)
    plain, strict = k.topic(), k.topic(message_timestamp_before_max_ms=60000, message_timestamp_after_max_ms=60000)
    append = k.topic(message_timestamp_type="LogAppendTime")
    return {
        "two hours ahead": k.produce(plain, batch([b"a"], at=now + 7_200_000)),
        "half an hour ahead": k.produce(plain, batch([b"a"], at=now + 1_800_000)),
        "ten years ago": k.produce(plain, batch([b"a"], at=now - 315_360_000_000)),
        "strict, two minutes ahead": k.produce(strict, batch([b"a", b"b"], at=now, at_deltas=[0, 120_000])),
        "strict, two minutes ago": k.produce(strict, batch([b"a", b"b"], at=now - 120_000, at_deltas=[0, 120_000])),
        "log append": k.produce(append, batch([b"a", b"b"], at=now - 1000, at_deltas=[0, 10])),
        "log append, far ahead": k.produce(append, batch([b"a"], at=now + 7_200_000)),
        "fetched back": k.fetch(append)["responses"][0]["partitions"][0]["records"] and fetched(k, append),
    }


def fetched(k, topic, offset=0):
    from records import describe

    return describe(k.fetch(topic, offset)["responses"][0]["partitions"][0]["records"])["batches"]


@probe
def produce_compacted_topic_null_key(k):
    topic = k.topic(cleanup_policy="compact")
    return {"null key": k.produce(topic, batch([b"a", b"b"], keys=[b"k", None])), "keyed": k.produce(topic, batch([b"a"], keys=[b"k"]))}


@probe
def produce_codecs(k):
    """Pass-through, and recompression when compression.type asks."""
    plain, gzip, none = k.topic(), k.topic(compression_type="gzip"), k.topic(compression_type="uncompressed")
    zip_batch, raw = batch([b"a" * 50] * 4, attributes=1), batch([b"a" * 50] * 4)
    answers = {}
    for name, topic in (("producer", plain), ("gzip", gzip), ("uncompressed", none)):
        for how, records in (("gzip", zip_batch), ("none", raw)):
            answers[f"{how} into {name}"] = k.produce(topic, records)["errorCode"]
        answers[f"attributes in {name}"] = [b["attributes"] for b in fetched(k, topic)]
    return answers


@probe
def produce_min_isr(k):
    """acks=all below min.insync.replicas."""
    topic = k.topic(min_insync_replicas=2)
    return {"all": k.produce(topic, batch([b"a"])), "1": k.produce(topic, batch([b"a"]), acks=1), "end": k.list_offsets(topic, -1)}


@probe
def init_producer_id(k):
    """Versions, ids never equal, and answers to odd arguments."""
    answers = {f"v{v}": k.ask("InitProducerId", v, transactionalId=None, transactionTimeoutMs=60000) for v in range(0, 6)}
    first, second = k.producer_id(), k.producer_id()
    odd = {"transactionalId": None, "transactionTimeoutMs": 60000}
    return answers | {
        "next id is": second - first,
        "given id and epoch": k.ask("InitProducerId", 4, **odd, producerId=first, producerEpoch=3),
        "given id, no epoch": k.ask("InitProducerId", 4, **odd, producerId=first, producerEpoch=-1),
        "time-out 0": k.ask("InitProducerId", 4, transactionalId=None, transactionTimeoutMs=0),
        "empty transactional id": k.ask("InitProducerId", 4, transactionalId="", transactionTimeoutMs=60000),
    }


@probe
def idempotent_duplicates(k):
    """The last five batches of a producer are known; an older one is refused how?"""
    topic, pid = k.topic(), k.producer_id()
    sent = [batch([b"a", b"b"], pid=pid, epoch=0, seq=2 * n) for n in range(7)]
    first = [k.produce(topic, b) for b in sent]
    again = {f"batch {n} again": k.produce(topic, b) for n, b in enumerate(sent)}
    odd = {
        "half of the newest": k.produce(topic, batch([b"a"], pid=pid, epoch=0, seq=12)),
        "newest and one more": k.produce(topic, batch([b"a", b"b", b"c"], pid=pid, epoch=0, seq=12)),
        "duplicate acks=1": k.produce(topic, sent[6], acks=1),
        "duplicate v3": k.produce(topic, sent[6], version=3),
    }
    return {"first": [f["baseOffset"] for f in first]} | again | odd | {"end": k.list_offsets(topic, -1)}


@probe
def idempotent_sequences(k):
    """Gaps, first sequences, and epochs."""
    topic, pid = k.topic(), k.producer_id()

    def send(seq, epoch=0, count=1, pid=pid):
        return k.produce(topic, batch([b"x"] * count, pid=pid, epoch=epoch, seq=seq))

    return {
        "unknown producer, first sequence 5": send(5, pid=pid + 500_000),
        "first": send(0),
        "gap": send(2),
        "next": send(1),
        "negative sequence": send(-2),
        "epoch 2, sequence 2": send(2, epoch=2),
        "epoch 2, sequence 0": send(0, epoch=2),
        "old epoch": send(2, epoch=0),
        "old epoch, duplicate": send(1, epoch=0),
        "epoch 2 next": send(1, epoch=2),
    }


@probe
def idempotent_sequence_wraps(k):
    topic, pid, last = k.topic(), k.producer_id(), 2**31 - 1
    return {
        "first at the last number": k.produce(topic, batch([b"x"], pid=pid, epoch=0, seq=last)),
        "next is 0": k.produce(topic, batch([b"x"], pid=pid, epoch=0, seq=0)),
        "duplicate of the last number": k.produce(topic, batch([b"x"], pid=pid, epoch=0, seq=last)),
        "next": k.produce(topic, batch([b"x"], pid=pid, epoch=0, seq=1)),
    }


@probe
def idempotent_sequence_wraps_inside_a_batch(k):
    topic, pid, last = k.topic(), k.producer_id(), 2**31 - 1
    return {
        "two records from the last but one": k.produce(topic, batch([b"x"] * 3, pid=pid, epoch=0, seq=last - 1)),
        "next is 1": k.produce(topic, batch([b"x"], pid=pid, epoch=0, seq=1)),
        "duplicate": k.produce(topic, batch([b"x"] * 3, pid=pid, epoch=0, seq=last - 1)),
    }


@probe
def idempotent_two_batches_in_a_request(k):
    """More than one batch for a partition, idempotent and not."""
    topic, pid = k.topic(), k.producer_id()
    two = batch([b"a"], pid=pid, epoch=0, seq=0) + batch([b"b"], pid=pid, epoch=0, seq=1)
    return {"idempotent": k.produce(topic, two), "plain": k.produce(topic, batch([b"a"]) + batch([b"b"])), "end": k.list_offsets(topic, -1)}


@probe
def idempotent_state_after_delete_records(k):
    """Sequences are remembered though the records are gone."""
    topic, pid = k.topic(), k.producer_id()
    for n in range(3):
        k.produce(topic, batch([b"a"], pid=pid, epoch=0, seq=n))
    k.ask("DeleteRecords", 2, timeoutMs=5000, topics=[{"name": topic, "partitions": [{"partitionIndex": 0, "offset": 3}]}])
    return {
        "duplicate": k.produce(topic, batch([b"a"], pid=pid, epoch=0, seq=2)),
        "next": k.produce(topic, batch([b"a"], pid=pid, epoch=0, seq=3)),
        "gap": k.produce(topic, batch([b"a"], pid=pid, epoch=0, seq=9)),
    }
