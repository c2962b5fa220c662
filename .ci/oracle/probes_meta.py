"""ApiVersions, unsupported versions, Metadata, DescribeCluster, DescribeTopicPartitions, FindCoordinator, log dirs."""

import struct

from kit import probe
from records import batch


@probe
def api_versions(k):
    """The whole list, with features. klamm leaves out what it does not serve: deviations.txt says which."""
    got = k.ask("ApiVersions", 4, clientSoftwareName="oracle", clientSoftwareVersion="1")
    ranges = {k.schemas.name_of.get(a["apiKey"], str(a["apiKey"])): [a["minVersion"], a["maxVersion"]] for a in got["apiKeys"]}
    return {"errorCode": got["errorCode"], "in key order": [a["apiKey"] for a in got["apiKeys"]] == sorted(a["apiKey"] for a in got["apiKeys"])} | {
        "ranges": ranges,
        "features": {f["name"]: [f["minVersion"], f["maxVersion"]] for f in got.get("supportedFeatures", [])},
        "finalized": {f["name"]: [f["minVersionLevel"], f["maxVersionLevel"]] for f in got.get("finalizedFeatures", [])},
    }


@probe
def api_versions_each(k):
    """Versions 0 to 4 answer with the same ranges; v3's features begin at 1 (KIP-1022)."""
    says = {}
    for v in range(0, 5):
        body = {"clientSoftwareName": "oracle", "clientSoftwareVersion": "1"} if v >= 3 else {}
        got = k.ask("ApiVersions", v, **body)
        produce = [a for a in got["apiKeys"] if a["apiKey"] == 0][0]
        zero = sorted(f["name"] for f in got.get("supportedFeatures", []) if f["minVersion"] == 0)
        says[f"v{v}"] = {"fields": sorted(got), "produce": [produce["minVersion"], produce["maxVersion"]], "features from 0": zero}
    return says


@probe
def api_versions_unknown_version(k):
    """The answer is a v0 body whatever was asked, and the connection stays."""
    conn = k.conn()
    conn.send_raw(conn.header(18, 99, True) + b"\x02a\x02b\0")
    data = conn.frame()[4:]
    error, count = struct.unpack(">hi", data[:6])
    says = {"error": error, "ranges": [struct.unpack(">hhh", data[6 + 6 * n : 12 + 6 * n]) for n in range(count)], "rest": len(data) - 6 - 6 * count}
    conn.correlation = 1
    return says | {"then v0": conn.ask("ApiVersions", 0)["errorCode"], "negative version": k.raw(18, -1)}


@probe
def api_versions_names(k):
    """Software name and version must match Kafka's pattern."""
    names = ("ok", "a.b-c", "", "-a", "a-", "a b", "ä", "x" * 300)
    return {n[:10] or "empty": k.ask("ApiVersions", 3, clientSoftwareName=n, clientSoftwareVersion="1")["errorCode"] for n in names}


@probe
def unsupported_versions(k):
    """Anything but ApiVersions: the connection closes."""
    cases = {"Produce 2": (0, 2), "Produce 14": (0, 14), "Produce 0": (0, 0), "Fetch 3": (1, 3), "Metadata 99": (3, 99), "key 4": (4, 0), "key 999": (999, 0), "key -1": (-1, 0)}
    cases |= {"OffsetCommit 1": (8, 1), "ListOffsets 0": (2, 0), "CreateTopics 1": (19, 1)}
    return {name: k.raw(key, version, b"\0" * 20) for name, (key, version) in cases.items()}


@probe
def malformed_frames(k):
    """What does not parse closes the connection."""
    says = {}
    for name, raw in {
        "size 0": b"\0\0\0\0",
        "size negative": b"\xff\xff\xff\xff",
        "size 2": b"\0\0\0\2ab",
        "size 200 MB": struct.pack(">i", 200 << 20),
        "metadata with a huge count": struct.pack(">ihhihi", 14, 3, 1, 1, -1, 0x7FFFFFFF),
    }.items():
        conn = k.conn()
        conn.sock.sendall(raw)
        conn.sock.settimeout(3)
        try:
            says[name] = "closed" if conn.sock.recv(1) == b"" else "answered"
        except ConnectionResetError:
            says[name] = "closed"
        except TimeoutError:
            says[name] = "waits"
        conn.close()
    return says


@probe
def trailing_bytes(k):
    """Bytes after a whole request body."""
    return {"ApiVersions 0 and 3 bytes": len(k.raw(18, 0, b"abc").get("answer", "")) > 0, "Metadata 1 and 3 bytes": "answer" in k.raw(3, 1, struct.pack(">i", 0) + b"abc")}


@probe
def null_client_id(k):
    conn = k.conn()
    conn.send_raw(struct.pack(">hhih", 18, 0, 1, -1))
    return {"answered": len(conn.frame()) > 10}


@probe
def metadata_lists(k):
    """Null list = all, empty list = none but all in v0."""
    topic = k.topic(2)
    says = {}
    for v in range(0, 14):
        if v >= 1:
            every = k.ask("Metadata", v, topics=None)
            says[f"v{v} null has it"] = topic in [t["name"] for t in every["topics"]]
        names = [t["name"] for t in k.ask("Metadata", v, topics=[])["topics"]]
        says[f"v{v} empty has it"] = topic in names
    one = {f"v{v}": k.ask("Metadata", v, topics=[{"name": topic}]) for v in (0, 1, 5, 7, 8, 11, 12, 13)}
    return says | one


@probe
def metadata_authorized_operations(k):
    topic = k.topic()
    got = k.ask("Metadata", 8, topics=[{"name": topic}], includeClusterAuthorizedOperations=True, includeTopicAuthorizedOperations=True)
    cluster = k.ask("DescribeCluster", 0, includeClusterAuthorizedOperations=True)
    return {"cluster": got["clusterAuthorizedOperations"], "topic": got["topics"][0]["topicAuthorizedOperations"], "DescribeCluster": cluster}


@probe
def metadata_unknown(k):
    """Unknown and invalid names, ids, and both."""
    topic = k.topic()
    absent, right = k.name("absent"), k.topic_id(topic)
    says = {f"v{v} unknown": k.ask("Metadata", v, topics=[{"name": absent}], allowAutoTopicCreation=False)["topics"] for v in (4, 9, 12)}
    for name in ("a b", ".", "..", "", "x" * 250, "ä", "a/b", "ok.ok_ok-ok" + "x" * 239):
        got = k.ask("Metadata", 9, topics=[{"name": name}], allowAutoTopicCreation=False)
        says[f"name {name[:12]!r} of {len(name)}"] = got if "closed" in got else got["topics"][0]["errorCode"]
    says["known id"] = k.ask("Metadata", 12, topics=[{"topicId": right, "name": None}])["topics"]
    says["unknown id"] = k.ask("Metadata", 12, topics=[{"topicId": "11111111-2222-3333-4444-555555555555", "name": None}])["topics"]
    says["id and name agree"] = k.ask("Metadata", 12, topics=[{"topicId": right, "name": topic}])
    says["id and other name"] = k.ask("Metadata", 12, topics=[{"topicId": right, "name": absent}])
    says["null name, zero id"] = k.ask("Metadata", 12, topics=[{"topicId": "0", "name": None}])
    says["null name at v10"] = k.ask("Metadata", 10, topics=[{"topicId": right, "name": None}])
    says["same name twice"] = len(k.ask("Metadata", 12, topics=[{"name": topic}, {"name": topic}])["topics"])
    return says


@probe
def metadata_auto_create(k):
    """The first answer, then the topic; and the internal topics."""
    word, early = k.name("auto"), k.name("auto")
    first = k.ask("Metadata", 12, topics=[{"name": word}], allowAutoTopicCreation=True)["topics"]
    k.await_leader(word)
    old = k.ask("Metadata", 3, topics=[{"name": early}])["topics"]
    bad = k.ask("Metadata", 12, topics=[{"name": "a b"}], allowAutoTopicCreation=True)["topics"]
    return {"first": first, "then": k.metadata(word)["topics"], "v3 creates": old, "invalid name": bad}


@probe
def describe_cluster(k):
    says = {f"v{v}": k.ask("DescribeCluster", v) for v in (0, 1, 2)}
    return says | {"controllers": k.ask("DescribeCluster", 1, endpointType=2), "endpoint type 3": k.ask("DescribeCluster", 1, endpointType=3)}


@probe
def describe_topic_partitions(k):
    names = sorted(k.topic(p) for p in (2, 3))
    listed = [{"name": n} for n in names]

    def ask(**body):
        return k.ask("DescribeTopicPartitions", 0, **body)

    return {
        "both": ask(topics=listed),
        "limit 3": ask(topics=listed, responsePartitionLimit=3),
        "from the cursor": ask(topics=listed, responsePartitionLimit=3, cursor={"topicName": names[1], "partitionIndex": 1}),
        "limit 0": ask(topics=listed, responsePartitionLimit=0),
        "cursor -1": ask(topics=listed, cursor={"topicName": names[0], "partitionIndex": -1}),
        "cursor past all": ask(topics=listed, cursor={"topicName": "zzzz", "partitionIndex": 0}),
        "unknown": ask(topics=[{"name": k.name("absent")}]),
        "invalid name": ask(topics=[{"name": "a b"}]),
    }


@probe
def find_coordinator(k):
    """The offsets topic is made on first use; answers by version, and the array form."""
    group = k.name("group")
    k.until(lambda: k.ask("FindCoordinator", 4, keyType=0, coordinatorKeys=[group]), lambda a: a["coordinators"][0]["errorCode"] == 0)
    says = {f"v{v}": k.ask("FindCoordinator", v, key=group) for v in range(0, 4)}
    says |= {f"v{v}": k.ask("FindCoordinator", v, keyType=0, coordinatorKeys=[group, k.name("group")]) for v in range(4, 7)}
    return says | {
        "no keys": k.ask("FindCoordinator", 4, keyType=0, coordinatorKeys=[]),
        "same key twice": k.ask("FindCoordinator", 4, keyType=0, coordinatorKeys=[group, group]),
        "empty key v3": k.ask("FindCoordinator", 3, key=""),
        "empty key v4": k.ask("FindCoordinator", 4, coordinatorKeys=[""]),
        "key type 7": k.ask("FindCoordinator", 4, keyType=7, coordinatorKeys=[group]),
        "key type 7 at v3": k.ask("FindCoordinator", 3, keyType=7, key=group),
        "share key at v5": k.ask("FindCoordinator", 5, keyType=2, coordinatorKeys=[group]),
        "share key malformed": k.ask("FindCoordinator", 6, keyType=2, coordinatorKeys=[group]),
        "offsets topic": offsets_topic(k),
    }


def offsets_topic(k):
    (topic,) = k.metadata("__consumer_offsets")["topics"]
    return {"isInternal": topic["isInternal"], "partitions": len(topic["partitions"]), "errorCode": topic["errorCode"]}


@probe
def internal_topic_produce(k):
    """Clients may not write to the offsets topic."""
    return k.produce("__consumer_offsets", batch([b"a"], keys=[b"k"]))


@probe
def describe_log_dirs(k):
    topic = k.topic(2)
    k.fill(topic, 1)
    listed = [{"topic": topic, "partitions": [1, 0, 7]}]
    says = {}
    for v in range(1, 6):
        if v <= k.schemas.highest("DescribeLogDirs"):
            says[f"v{v}"] = by_partition(k.ask("DescribeLogDirs", v, topics=listed))
    all_topics = k.ask("DescribeLogDirs", 4, topics=None)["results"]
    return says | {"all has it": any(t["name"] == topic for r in all_topics for t in r["topics"]), "empty list": k.ask("DescribeLogDirs", 4, topics=[])}


def by_partition(got):
    for result in got["results"]:
        for topic in result["topics"]:
            topic["partitions"].sort(key=lambda p: p["partitionIndex"])
    return got


@probe
def list_partition_reassignments(k):
    topic = k.topic()
    return {
        "one": k.ask("ListPartitionReassignments", 0, topics=[{"name": topic, "partitionIndexes": [0]}]),
        "all": k.ask("ListPartitionReassignments", 0, topics=None),
        "unknown": k.ask("ListPartitionReassignments", 0, topics=[{"name": k.name("absent"), "partitionIndexes": [0, 1]}]),
    }


@probe
def elect_leaders(k):
    topic = k.topic(2)

    def ask(version=2, kind=0, **body):
        return k.ask("ElectLeaders", version, electionType=kind, **body) if version else k.ask("ElectLeaders", 0, **body)

    return {
        "preferred": ask(topicPartitions=[{"topic": topic, "partitions": [0, 1]}]),
        "unclean": ask(kind=1, topicPartitions=[{"topic": topic, "partitions": [0]}]),
        "kind 5": ask(kind=5, topicPartitions=[{"topic": topic, "partitions": [0]}]),
        "unknown partition": ask(topicPartitions=[{"topic": topic, "partitions": [9]}]),
        "unknown topic": ask(topicPartitions=[{"topic": k.name("absent"), "partitions": [0]}]),
        "v0": ask(0, topicPartitions=[{"topic": topic, "partitions": [0]}]),
        "all, where needed": [r for t in ask(topicPartitions=None)["replicaElectionResults"] for r in t["partitionResult"]],
    }
