"""What the group coordinator writes to __consumer_offsets, which other tools read."""

import struct

from kit import LATEST, probe
from probes_groups import commit, hide, join, leave, new_group, sync
from records import describe, records_of
from wire import Message

OFFSETS = "__consumer_offsets"


def partition_of(group):
    """The absolute value of Java's String.hashCode, over the 50 partitions."""
    code = 0
    for unit in group.encode("utf-16-be")[1::2]:
        code = (31 * code + unit) & 0xFFFFFFFF
    return (code if code < 1 << 31 else (1 << 32) - code) % 50


class Tail:
    """Reads on in a group's partition of the offsets topic, from where it ended last."""

    def __init__(self, k, group):
        self.k, self.partition = k, partition_of(group)
        self.at = k.list_offsets(OFFSETS, LATEST, partition=self.partition)["offset"]

    def read(self):
        got = self.k.fetch(OFFSETS, self.at, partition=self.partition)["responses"][0]["partitions"][0]
        told = [decode(self.k.schemas, key, value) for _, key, value in records_of(got["records"])]
        shape = [[b["count"], b["attributes"]] for b in describe(got["records"])["batches"]]
        self.at = got["highWatermark"]
        return {"count and attributes of batches": shape, "records": told}


def decode(schemas, key, value):
    (kind,) = struct.unpack(">h", key[:2])
    name = {0: "OffsetCommit", 1: "OffsetCommit", 2: "GroupMetadata"}[kind]
    told = {"type": kind, "key": Message(schemas.by_name[name + "Key"], 0).decode(key[2:])}
    if value is None:
        return told | {"value": None}
    (version,) = struct.unpack(">h", value[:2])
    body = Message(schemas.by_name[name + "Value"], version).decode(value[2:])
    for field in ("commitTimestamp", "currentStateTimestamp"):
        if body.get(field, -1) > 0:
            body[field] = "<now>"
    return told | {"version": version, "value": body}


@probe
def offsets_topic_records(k):
    """Group by group: a lone commit, a member's life, commits of a member, and what deleting leaves."""
    alone, group, topic = new_group(k), new_group(k), k.topic(2)
    tail, says = Tail(k, alone), {}
    commit(k, alone, topic, 5, metadata="hello")
    says["commit without a group"] = tail.read()
    commit(k, alone, k.topic_id(topic), 6, version=10, partition=1, metadata=None)
    says["commit by topic id"] = tail.read()
    k.ask("OffsetDelete", 0, groupId=alone, topics=[{"name": topic, "partitions": [{"partitionIndex": 0}]}])
    says["an offset deleted"] = tail.read()
    k.ask("DeleteGroups", 2, groupsNames=[alone])
    says["the group deleted"] = tail.read()

    tail = Tail(k, group)
    member = join(k, group)["memberId"]
    generation = join(k, group, member)["generationId"]
    says["joined"] = tail.read()
    sync(k, group, generation, member, [(member, b"mine")])
    says["synced"] = tail.read()
    commit(k, group, topic, 7, generation, member)
    says["commit of a member"] = tail.read()
    leave(k, group, member)
    says["left"] = tail.read()
    k.ask("DeleteGroups", 2, groupsNames=[group])
    says["deleted"] = tail.read()
    return hide(mask_host(says))


def mask_host(value):
    if isinstance(value, dict):
        return {key: "<clientHost>" if key == "clientHost" else mask_host(v) for key, v in value.items()}
    return [mask_host(v) for v in value] if isinstance(value, list) else value


@probe
def offsets_partition(k):
    """A group lives where Java's hash of its name says, over 50 partitions."""
    return {g: partition_of(g) for g in ("", "a", "abc", "kafka", "foobar")} | {"commits land there": [lands(k) for _ in range(5)]}


def lands(k):
    group, topic = new_group(k), k.topic()
    tail = Tail(k, group)
    commit(k, group, topic, 1)
    return len(tail.read()["records"]) > 0
