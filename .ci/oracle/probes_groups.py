"""The classic group protocol, and offsets kept for groups."""

import threading

from kit import probe

RANGE = [{"name": "range", "metadata": b"\0\1\0\0\0\0\0\0\0\0"}]


def ready(k, group):
    k.until(lambda: k.ask("FindCoordinator", 4, coordinatorKeys=[group]), lambda a: a["coordinators"][0]["errorCode"] == 0)
    k.until(lambda: heartbeat(k, group, 1, "nobody"), lambda a: a["errorCode"] not in (14, 15, 16))


def new_group(k):
    group = k.name("group")
    ready(k, group)
    return group


def join(k, group, member="", version=9, conn=None, protocols=RANGE, kind="consumer", session=10_000, **more):
    body = {"groupId": group, "sessionTimeoutMs": session, "rebalanceTimeoutMs": 10_000, "memberId": member, "protocolType": kind, "protocols": protocols}
    if version == 0:
        body.pop("rebalanceTimeoutMs")
    return (conn or k).ask("JoinGroup", version, **body, **more)


def sync(k, group, generation, member, assignments=(), version=5, conn=None, **more):
    listed = [{"memberId": m, "assignment": a} for m, a in assignments]
    more = {"protocolType": "consumer", "protocolName": "range"} | more if version >= 5 else more
    return (conn or k).ask("SyncGroup", version, groupId=group, generationId=generation, memberId=member, assignments=listed, **more)


def heartbeat(k, group, generation, member, version=4, **more):
    return k.ask("Heartbeat", version, groupId=group, generationId=generation, memberId=member, **more)


def leave(k, group, member, **more):
    return k.ask("LeaveGroup", 5, groupId=group, members=[{"memberId": member} | more])


def commit(k, group, topic, offset, generation=-1, member="", version=9, partition=0, metadata="", **more):
    parts = [{"partitionIndex": partition, "committedOffset": offset, "committedMetadata": metadata} | ({"committedLeaderEpoch": 0} if version >= 6 else {})]
    where = {"topicId": topic} if version >= 10 else {"name": topic}
    got = k.ask("OffsetCommit", version, groupId=group, generationIdOrMemberEpoch=generation, memberId=member, topics=[where | {"partitions": parts}], **more)
    return got if "closed" in got else got["topics"][0]["partitions"][0]["errorCode"]


def stable(k, group=None):
    """A group of one member, after join and sync."""
    group = group or new_group(k)
    member = join(k, group)["memberId"]
    generation = join(k, group, member)["generationId"]
    sync(k, group, generation, member, [(member, b"mine")])
    return group, member, generation


def hide(value, **names):
    """Member ids are random: show them by role."""
    if isinstance(value, dict):
        return {key: hide(v, **names) for key, v in value.items()}
    if isinstance(value, list):
        return [hide(v, **names) for v in value]
    for word, member in names.items():
        if value == member:
            return f"<{word}>"
    return "<member>" if isinstance(value, str) and value.startswith("oracle-") else value


@probe
def join_versions(k):
    """v0-3 join at once, v4+ are first told their member id."""
    says = {}
    for v in range(0, 10):
        group = new_group(k)
        got = join(k, group, version=v)
        says[f"v{v}"] = hide(got)
        says[f"v{v} id shape"] = got["memberId"][:7] + "..." if got["memberId"].startswith("oracle-") else got["memberId"]
        if got["errorCode"] == 79:
            says[f"v{v} again"] = hide(join(k, group, got["memberId"], version=v))
    return says


@probe
def join_refusals(k):
    group = new_group(k)
    fake = "oracle-11111111-2222-3333-4444-555555555555"
    taken, member, _ = stable(k)
    return hide({
        "unknown member": join(k, group, "me"),
        "unknown member of that shape": join(k, group, fake),
        "empty group id": join(k, ""),
        "session 1 ms": join(k, group, session=1),
        "session 31 min": join(k, group, session=1_860_000),
        "no protocols": join(k, group, protocols=[]),
        "empty protocol type": join(k, group, kind=""),
        "other type, live group": join(k, taken, kind="connect"),
        "other protocols, live group": join(k, taken, protocols=[{"name": "sticky", "metadata": b""}]),
        "other type, as the member": join(k, taken, member, kind="connect"),
    })


@probe
def join_free_text(k):
    """The protocol type and its metadata are opaque."""
    group = new_group(k)
    protocols = [{"name": "v2", "metadata": b"\xff\xfe"}, {"name": "v1", "metadata": b""}]
    member = join(k, group, protocols=protocols, kind="connect")["memberId"]
    got = join(k, group, member, protocols=protocols, kind="connect")
    described = k.ask("DescribeGroups", 6, groups=[group])
    return hide({"join": got, "while joining": described, "sync": sync(k, group, 1, member, [(member, b"\0\1")], protocolType="connect", protocolName="v2"), "listed": listed(k, group)})


def listed(k, group, version=5, **filters):
    got = k.ask("ListGroups", version, **filters)
    return [g for g in got["groups"] if g["groupId"] == group]


@probe
def sync_and_heartbeat(k):
    group, member, generation = stable(k)
    return hide({
        "sync again": sync(k, group, generation, member),
        "sync old generation": sync(k, group, generation - 1, member),
        "sync unknown member": sync(k, group, generation, "x"),
        "sync other protocol": sync(k, group, generation, member, protocolName="sticky"),
        "sync other type": sync(k, group, generation, member, protocolType="connect"),
        "sync null type": sync(k, group, generation, member, protocolType=None, protocolName=None),
        "heartbeat": heartbeat(k, group, generation, member),
        "heartbeat v0": heartbeat(k, group, generation, member, 0),
        "heartbeat old generation": heartbeat(k, group, generation - 1, member),
        "heartbeat next generation": heartbeat(k, group, generation + 1, member),
        "heartbeat unknown member": heartbeat(k, group, generation, "x"),
        "heartbeat unknown group": heartbeat(k, new_group(k), 1, "x"),
        "heartbeat empty group": heartbeat(k, "", 1, "x"),
        "leave unknown member": leave(k, group, "x"),
        "leave": leave(k, group, member),
        "leave again": leave(k, group, member),
        "heartbeat after": heartbeat(k, group, generation, member),
        "leave unknown group": leave(k, new_group(k), "x"),
        "leave v2 unknown member": k.ask("LeaveGroup", 2, groupId=group, memberId="x"),
        "leave nobody": k.ask("LeaveGroup", 5, groupId=group, members=[]),
    })


@probe
def two_members(k):
    """The second joins: the first learns it from its heartbeat, both join, the leader gets all members, the follower waits in sync."""
    group, first, generation = stable(k)
    other = k.conn()
    second = join(k, group, conn=other)["memberId"]
    parked, answer = threading.Thread(target=lambda: answer.append(join(k, group, second, conn=other))), []
    parked.start()
    beat = k.until(lambda: heartbeat(k, group, generation, first), lambda a: a["errorCode"] != 0)
    describe_joining = k.ask("DescribeGroups", 5, groups=[group])["groups"][0]["groupState"]
    commit_joining = commit(k, group, k.topic(), 1, generation, first)
    led = join(k, group, first)
    parked.join()
    waits, synced = threading.Thread(target=lambda: synced.append(sync(k, group, led["generationId"], second, conn=other))), []
    waits.start()
    describe_syncing = k.ask("DescribeGroups", 5, groups=[group])["groups"][0]["groupState"]
    early = heartbeat(k, group, led["generationId"], first)
    lead = sync(k, group, led["generationId"], first, [(first, b"A"), (second, b"B")])
    waits.join()
    says = {"heartbeat of the first": beat, "state": describe_joining, "commit while joining": commit_joining, "leader": led, "follower": answer[0]}
    says |= {"state then": describe_syncing, "heartbeat while syncing": early, "leader's sync": lead, "follower's sync": synced[0]}
    says["follower joins again, unchanged"] = join(k, group, second, conn=other)
    says["described"] = k.ask("DescribeGroups", 5, groups=[group])
    says["left"] = leave(k, group, second, reason="done")
    says["heartbeat after a leave"] = heartbeat(k, group, led["generationId"], first)
    return hide(says, first=first, second=second)


@probe
def static_members(k):
    """KIP-345: an instance id keeps its place over restarts; the old member id is fenced."""
    group = new_group(k)
    first = join(k, group, groupInstanceId="i1")
    member = first["memberId"]
    synced = sync(k, group, first["generationId"], member, [(member, b"A")], groupInstanceId="i1")
    again = join(k, group, groupInstanceId="i1")
    says = {"first join": first, "sync": synced, "restarted": again}
    says["old heartbeat"] = heartbeat(k, group, first["generationId"], member, groupInstanceId="i1")
    says["old sync"] = sync(k, group, again["generationId"], member, groupInstanceId="i1")
    says["old commit"] = commit(k, group, k.topic(), 1, again["generationId"], member, groupInstanceId="i1")
    says["new heartbeat"] = heartbeat(k, group, again["generationId"], again["memberId"], groupInstanceId="i1")
    says["new sync"] = sync(k, group, again["generationId"], again["memberId"], [(again["memberId"], b"A")], groupInstanceId="i1")
    says["unknown instance"] = heartbeat(k, group, again["generationId"], again["memberId"], groupInstanceId="i9")
    says["described"] = k.ask("DescribeGroups", 5, groups=[group])
    says["leave by instance"] = leave(k, group, "", groupInstanceId="i1")
    says["leave by instance again"] = leave(k, group, "", groupInstanceId="i1")
    return hide(says, old=member, new=again["memberId"])


@probe
def describe_groups(k):
    group, member, generation = stable(k)
    unknown = new_group(k)
    says = {f"v{v} known": k.ask("DescribeGroups", v, groups=[group]) for v in range(0, 7)}
    says |= {f"v{v} unknown": k.ask("DescribeGroups", v, groups=[unknown]) for v in range(0, 7)}
    says["authorized operations"] = k.ask("DescribeGroups", 5, groups=[group], includeAuthorizedOperations=True)["groups"][0]["authorizedOperations"]
    says["empty id"] = k.ask("DescribeGroups", 5, groups=[""])
    says["same twice"] = len(k.ask("DescribeGroups", 5, groups=[group, group])["groups"])
    leave(k, group, member)
    says["empty group"] = k.ask("DescribeGroups", 6, groups=[group])
    return hide(says, member=member)


@probe
def list_groups(k):
    group, member, _ = stable(k)
    says = {f"v{v}": listed(k, group, v) for v in range(0, 6)}
    says |= {f"state {s}": len(listed(k, group, 4, statesFilter=[s])) for s in ("Stable", "stable", "Empty", "Nonsense")}
    says |= {f"type {t}": len(listed(k, group, 5, typesFilter=[t])) for t in ("classic", "Classic", "consumer", "nonsense")}
    leave(k, group, member)
    return says | {"left": listed(k, group)}


@probe
def offset_commit(k):
    group, topic = new_group(k), k.topic(2)
    live, member, generation = stable(k)
    says = {f"v{v} generation -1": commit(k, group, topic, v, version=v) for v in range(2, 10)}
    says["v10 by id"] = commit(k, group, k.topic_id(topic), 10, version=10)
    says["v10 unknown id"] = commit(k, group, "11111111-2222-3333-4444-555555555555", 10, version=10)
    says["member given, generation -1"] = commit(k, group, topic, 1, member="x")
    says["generation 1, no such member"] = commit(k, group, topic, 1, 1, "x")
    says["unknown group, generation 1"] = commit(k, new_group(k), topic, 1, 1, "x")
    says["unknown group, generation 1, v8"] = commit(k, new_group(k), topic, 1, 1, "x", version=8)
    says["unknown group v9 generation 0"] = commit(k, new_group(k), topic, 1, 0, "")
    says["live group, generation -1"] = commit(k, live, topic, 1)
    says["live group"] = commit(k, live, topic, 1, generation, member)
    says["live group, old generation"] = commit(k, live, topic, 1, generation - 1, member)
    says["live group, other member"] = commit(k, live, topic, 1, generation, "x")
    says["empty group id"] = commit(k, "", topic, 1)
    says["unknown topic"] = commit(k, group, k.name("absent"), 1)
    says["unknown partition"] = commit(k, group, topic, 1, partition=9)
    says["negative offset"] = commit(k, group, topic, -7)
    says["metadata 4096"] = commit(k, group, topic, 1, metadata="m" * 4096)
    says["metadata 4097"] = commit(k, group, topic, 1, metadata="m" * 4097)
    says["metadata null"] = commit(k, group, topic, 1, metadata=None)
    says["group state"] = listed(k, group)
    return says


def fetch_offsets(k, group, topics, version=8, **more):
    if version >= 8:
        got = k.ask("OffsetFetch", version, groups=[{"groupId": group, "topics": topics}], **more)
    else:
        got = k.ask("OffsetFetch", version, groupId=group, topics=topics, **more)
    return got


@probe
def offset_fetch(k):
    group, topic = new_group(k), k.topic(3)
    commit(k, group, topic, 5, metadata="hello ☃")
    commit(k, group, topic, 6, partition=1, metadata=None)
    asked = [{"name": topic, "partitionIndexes": [0, 1, 2, 9]}]
    says = {f"v{v}": fetch_offsets(k, group, asked, v) for v in range(1, 10)}
    says["v10 by id"] = fetch_offsets(k, group, [{"topicId": k.topic_id(topic), "partitionIndexes": [0]}], 10)
    says["v10 unknown id"] = fetch_offsets(k, group, [{"topicId": "11111111-2222-3333-4444-555555555555", "partitionIndexes": [0]}], 10)
    says["all v1 empty list"] = fetch_offsets(k, group, [], 1)
    says["all v2 null"] = fetch_offsets(k, group, None, 2)
    says["all v8 null"] = fetch_offsets(k, group, None, 8)
    says["unknown group"] = fetch_offsets(k, new_group(k), asked, 7)
    says["unknown group, all"] = fetch_offsets(k, new_group(k), None, 8)
    says["unknown topic"] = fetch_offsets(k, group, [{"name": k.name("absent"), "partitionIndexes": [0]}], 7)
    says["require stable"] = fetch_offsets(k, group, asked, 7, requireStable=True)
    says["empty group id"] = fetch_offsets(k, "", asked, 7)
    says["two groups"] = k.ask("OffsetFetch", 8, groups=[{"groupId": g, "topics": None} for g in (group, new_group(k))])
    says["v9 with a member of nothing"] = k.ask("OffsetFetch", 9, groups=[{"groupId": group, "memberId": "x", "memberEpoch": 3, "topics": None}])
    return says


@probe
def offset_delete(k):
    group, topic = new_group(k), k.topic(2)
    commit(k, group, topic, 5)
    live, member, generation = subscribed(k, topic)
    commit(k, live, topic, 5, generation, member)

    def ask(group, topic=topic, partition=0):
        return k.ask("OffsetDelete", 0, groupId=group, topics=[{"name": topic, "partitions": [{"partitionIndex": partition}]}])

    return {
        "empty group": ask(group),
        "again": ask(group),
        "fetched after": fetch_offsets(k, group, [{"name": topic, "partitionIndexes": [0]}], 7),
        "unknown partition": ask(group, partition=9),
        "unknown topic": ask(group, k.name("absent")),
        "unknown group": ask(new_group(k)),
        "subscribed": ask(live),
        "live group, other topic": ask(live, k.topic()),
        "empty group id": ask(""),
    }


def subscribed(k, topic):
    """A live consumer group whose subscription names `topic`."""
    import struct

    raw = struct.pack(">hih", 1, 1, len(topic)) + topic.encode() + struct.pack(">ii", -1, 0)
    protocols = [{"name": "range", "metadata": raw}]
    group = new_group(k)
    member = join(k, group, protocols=protocols)["memberId"]
    generation = join(k, group, member, protocols=protocols)["generationId"]
    sync(k, group, generation, member, [(member, b"")])
    return group, member, generation


@probe
def delete_groups(k):
    live, member, _ = stable(k)
    empty = new_group(k)
    topic = k.topic()
    commit(k, empty, topic, 5)
    says = {
        "live, empty, unknown": k.ask("DeleteGroups", 2, groupsNames=[live, empty, new_group(k)]),
        "again": k.ask("DeleteGroups", 2, groupsNames=[empty]),
        "empty id": k.ask("DeleteGroups", 2, groupsNames=[""]),
        "v0": k.ask("DeleteGroups", 0, groupsNames=[empty]),
        "twice": k.ask("DeleteGroups", 2, groupsNames=[empty, empty]),
        "offset after": fetch_offsets(k, empty, None, 8),
    }
    leave(k, live, member)
    return says | {"live has left": k.ask("DeleteGroups", 2, groupsNames=[live])}


@probe
def session_ends(k):
    """A member that is silent for its session time-out is gone; commits of its generation are refused."""
    group = new_group(k)
    member = join(k, group, session=6000)["memberId"]
    generation = join(k, group, member, session=6000)["generationId"]
    sync(k, group, generation, member, [(member, b"")])
    gone = k.until(lambda: listed(k, group), lambda g: g and g[0]["groupState"] == "Empty", 12)
    return {"state": gone, "heartbeat": heartbeat(k, group, generation, member), "commit": commit(k, group, k.topic(), 1, generation, member)}
