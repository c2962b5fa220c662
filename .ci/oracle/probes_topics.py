"""CreateTopics, DeleteTopics, CreatePartitions, and the config APIs."""

from kit import probe

TOPIC, BROKER, LOGGER, GROUP = 2, 4, 8, 32
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3


def one(name, partitions=1, replicas=1, **more):
    return {"name": name, "numPartitions": partitions, "replicationFactor": replicas} | more


def pairs(**configs):
    return [{"name": n.replace("_", "."), "value": None if v is None else str(v)} for n, v in configs.items()]


@probe
def create_topics(k):
    """The answer by version, defaults by -1, and every refusal."""

    def ask(*topics, version=7, **more):
        return k.ask("CreateTopics", version, topics=list(topics), **more)

    def refused(topic, **more):
        got = ask(topic, **more)
        return got if "closed" in got else {f: got["topics"][0][f] for f in ("errorCode", "errorMessage")}

    taken, says = k.topic(), {}
    for v in range(2, 8):
        says[f"v{v}"] = trim(ask(one(k.name("made")), version=v))
    says["defaults by -1"] = trim(ask(one(k.name("made"), -1, -1)))
    says["defaults by -1 at v3"] = ask(one(k.name("made"), -1, -1), version=3)
    says["with configs"] = configs_of(ask(one(k.name("made"), configs=pairs(retention_ms=1000, cleanup_policy="compact"))))
    says["assignment"] = trim(ask(one(k.name("made"), -1, -1, assignments=[{"partitionIndex": p, "brokerIds": [k.node]} for p in (0, 1)])))
    for word, name in {"a b": "a b", "empty": "", ".": ".", "..": "..", "250 long": "x" * 250, "249 long": k.prefix.ljust(249, "x")}.items():
        says[f"name {word}"] = refused(one(name), validateOnly=True)
    says["internal name"] = refused(one("__consumer_offsets"), validateOnly=True)
    says["exists"] = refused(one(taken))
    says["exists, validate only"] = refused(one(taken), validateOnly=True)
    says["collides by . and _"] = collide(k, refused)
    says["0 partitions"] = refused(one(k.name(), 0))
    says["-2 partitions"] = refused(one(k.name(), -2))
    says["replication 0"] = refused(one(k.name(), 1, 0))
    says["replication 2 on one node"] = refused(one(k.name(), 1, 2))
    says["replication -2"] = refused(one(k.name(), 1, -2))
    says["assignment and partitions"] = refused(one(k.name(), 1, 1, assignments=[{"partitionIndex": 0, "brokerIds": [k.node]}]))
    says["assignment with a gap"] = refused(one(k.name(), -1, -1, assignments=[{"partitionIndex": 1, "brokerIds": [k.node]}]))
    says["assignment to nobody"] = refused(one(k.name(), -1, -1, assignments=[{"partitionIndex": 0, "brokerIds": []}]))
    says["assignment to broker 99"] = refused(one(k.name(), -1, -1, assignments=[{"partitionIndex": 0, "brokerIds": [99]}]))
    says["assignment to one twice"] = refused(one(k.name(), -1, -1, assignments=[{"partitionIndex": 0, "brokerIds": [k.node, k.node]}]))
    says["unknown config"] = refused(one(k.name(), configs=pairs(no_such_thing=1)))
    says["config not a number"] = refused(one(k.name(), configs=pairs(retention_ms="soon")))
    says["config out of range"] = refused(one(k.name(), configs=pairs(segment_bytes=1)))
    says["config bad word"] = refused(one(k.name(), configs=pairs(cleanup_policy="burn")))
    says["config null"] = refused(one(k.name(), configs=pairs(retention_ms=None)))
    name = k.name("only")
    says["validate only"] = trim(ask(one(name), validateOnly=True))
    says["was it made"] = k.metadata(name)["topics"][0]["errorCode"]
    name = k.name("twice")
    says["same name twice"] = ask(one(name), one(name))
    says["was that made"] = k.metadata(name)["topics"][0]["errorCode"]
    says["one good one bad"] = [t["errorCode"] for t in ask(one(k.name()), one("a b"))["topics"]]
    says["no topics"] = ask()
    return says


def collide(k, refused):
    word = k.prefix.replace("-", "") + "col"
    k.ask("CreateTopics", 7, topics=[one(word + ".x")])
    got = refused(one(word + "_x"))
    return got | {"errorMessage": got["errorMessage"] and got["errorMessage"].replace(word, "W")}


def trim(got):
    """Configs are probed elsewhere: here only how many there are."""
    for topic in got.get("topics", []):
        if topic.get("configs"):
            topic["configs"] = "some"
    return got


def configs_of(got):
    (topic,) = got["topics"]
    mine = [c for c in topic["configs"] if c["configSource"] != 5]
    return topic | {"configs": mine}


@probe
def create_topics_config_list(k):
    """CreateTopics 5+ lists every config with its source, as a freshly created topic has it."""
    (topic,) = k.ask("CreateTopics", 7, topics=[one(k.name("cfg"), configs=pairs(segment_bytes=1048576 * 2))])["topics"]
    return {c["name"]: [c["value"], c["configSource"], c["readOnly"], c["isSensitive"]] for c in topic["configs"]}


@probe
def delete_topics(k):
    names = [k.topic() for _ in range(8)]
    ids = [k.topic_id(n) for n in names]
    gone = "11111111-2222-3333-4444-555555555555"
    says = {f"v{v}": k.ask("DeleteTopics", v, topicNames=[names[v - 1]], timeoutMs=5000) for v in range(1, 6)}
    says["v6 name"] = k.ask("DeleteTopics", 6, topics=[{"name": names[5]}], timeoutMs=5000)
    says["v6 id"] = k.ask("DeleteTopics", 6, topics=[{"topicId": ids[6]}], timeoutMs=5000)
    says["again by name"] = k.ask("DeleteTopics", 6, topics=[{"name": names[5]}], timeoutMs=5000)
    says["again by id"] = k.ask("DeleteTopics", 6, topics=[{"topicId": ids[6]}], timeoutMs=5000)
    says["unknown v1"] = k.ask("DeleteTopics", 1, topicNames=[k.name("absent")], timeoutMs=5000)
    says["unknown id"] = k.ask("DeleteTopics", 6, topics=[{"topicId": gone}], timeoutMs=5000)
    says["name and id"] = k.ask("DeleteTopics", 6, topics=[{"name": names[7], "topicId": ids[7]}], timeoutMs=5000)
    says["neither"] = k.ask("DeleteTopics", 6, topics=[{"name": None}], timeoutMs=5000)
    says["invalid name"] = k.ask("DeleteTopics", 6, topics=[{"name": "a b"}], timeoutMs=5000)
    says["same twice"] = k.ask("DeleteTopics", 6, topics=[{"name": names[7]}, {"name": names[7]}], timeoutMs=5000)
    says["same by name and id"] = k.ask("DeleteTopics", 6, topics=[{"name": names[7]}, {"topicId": ids[7]}], timeoutMs=5000)
    says["is it still there"] = k.metadata(names[7])["topics"][0]["errorCode"]
    return says


@probe
def delete_and_create_again(k):
    """A topic of the same name gets another id and an empty log."""
    name = k.topic()
    k.fill(name, 2)
    before = k.topic_id(name)
    k.ask("DeleteTopics", 6, topics=[{"name": name}], timeoutMs=5000)
    says = {"while gone": k.metadata(name)["topics"][0]["errorCode"], "list offsets while gone": k.list_offsets(name, -1)["errorCode"]}
    k.ask("CreateTopics", 7, topics=[one(name)])
    k.await_leader(name)
    return says | {"other id": k.topic_id(name) != before, "end": k.list_offsets(name, -1), "old id": k.fetch(before, version=13)["responses"][0]["partitions"][0]["errorCode"]}


@probe
def create_partitions(k):
    topic = k.topic(2)

    def ask(count, version=3, name=topic, **more):
        how = {f: more.pop(f) for f in ("validateOnly",) if f in more}
        return k.ask("CreatePartitions", version, topics=[{"name": name, "count": count, "assignments": None} | more], timeoutMs=5000, **how)

    return {
        "same count": ask(2),
        "shrink": ask(1),
        "0": ask(0),
        "-1": ask(-1),
        "validate only": ask(4, validateOnly=True),
        "grow": ask(3),
        "grow v0": ask(4, version=0),
        "assigned": ask(5, assignments=[{"brokerIds": [k.node]}]),
        "assigned too few": ask(7, assignments=[{"brokerIds": [k.node]}]),
        "assigned to broker 99": ask(6, assignments=[{"brokerIds": [99]}]),
        "unknown topic": ask(3, name=k.name("absent")),
        "twice in a request": k.ask("CreatePartitions", 3, topics=[{"name": topic, "count": c, "assignments": None} for c in (8, 9)], timeoutMs=5000),
        "partitions now": len(k.until(lambda: k.metadata(topic)["topics"][0]["partitions"], lambda p: len(p) == 5)),
    }


@probe
def describe_configs_topic(k):
    """Every config of a topic: value, source, type; and one set on the topic with its synonyms."""
    topic = k.topic(retention_ms=12345)
    got = k.ask("DescribeConfigs", 4, resources=[{"resourceType": TOPIC, "resourceName": topic, "configurationKeys": None}])
    (result,) = got["results"]
    table = {c["name"]: [c["value"], c["configSource"], c["configType"], c["readOnly"], c["isSensitive"]] for c in result["configs"]}
    return {"errorCode": result["errorCode"], "configs": dict(sorted(table.items()))}


@probe
def describe_configs_shapes(k):
    topic = k.topic(retention_ms=12345)

    def ask(keys, version=4, kind=TOPIC, name=topic, **more):
        return k.ask("DescribeConfigs", version, resources=[{"resourceType": kind, "resourceName": name, "configurationKeys": keys}], **more)

    says = {f"v{v}": ask(["retention.ms", "cleanup.policy"], v, includeSynonyms=True) for v in range(1, 5)}
    says["documentation"] = [bool(c["documentation"]) for c in ask(["retention.ms"], includeDocumentation=True)["results"][0]["configs"]]
    says["unknown key"] = ask(["no.such.key"])
    says["empty key list"] = len(ask([])["results"][0]["configs"])
    says["unknown topic"] = ask(None, name=k.name("absent"))
    says["invalid topic"] = ask(None, name="a b")
    says["empty topic name"] = ask(None, name="")
    says["kind 77"] = ask(None, kind=77)
    says["kind 0"] = ask(None, kind=0)
    says["broker 99"] = ask(None, kind=BROKER, name="99")
    says["broker abc"] = ask(None, kind=BROKER, name="abc")
    broker = ask(["log.retention.hours", "log.segment.bytes", "node.id"], kind=BROKER, name=str(k.node), includeSynonyms=True)
    says["broker"] = mask_node(broker, k.node)
    says["default broker"] = ask(None, kind=BROKER, name="")
    says["group"] = ask(None, kind=GROUP, name="any-group")
    return says


def mask_node(got, node):
    for result in got["results"]:
        result["resourceName"] = "<node>"
        for c in result["configs"]:
            if c["name"] == "node.id":
                c["value"] = "<node>"
                c["synonyms"] = [s | {"value": "<node>"} for s in c["synonyms"]]
    return got


@probe
def incremental_alter_configs(k):
    topic = k.topic(retention_ms=12345)

    def ask(*configs, kind=TOPIC, name=topic, version=1, **more):
        listed = [{"name": n, "configOperation": op, "value": v} for n, op, v in configs]
        return k.ask("IncrementalAlterConfigs", version, resources=[{"resourceType": kind, "resourceName": name, "configs": listed}], **more)

    def now(key, want=None):
        """The value and its source. Kafka's brokers see a change a moment after it is acknowledged."""
        return k.until(lambda: value_of(key), lambda c: want is None or c[0] == want, 5)

    def value_of(key):
        got = k.ask("DescribeConfigs", 4, resources=[{"resourceType": TOPIC, "resourceName": topic, "configurationKeys": [key]}])
        (c,) = got["results"][0]["configs"]
        return [c["value"], c["configSource"]]

    return {
        "set v0": ask(("retention.ms", SET, "777"), version=0),
        "set": ask(("retention.ms", SET, "888"), ("segment.ms", SET, "1000000")),
        "now": now("retention.ms", "888"),
        "validate only": ask(("retention.ms", SET, "999"), validateOnly=True),
        "unchanged": now("retention.ms"),
        "append to a list": ask(("cleanup.policy", APPEND, "compact")),
        "list now": now("cleanup.policy", "delete,compact"),
        "append again": ask(("cleanup.policy", APPEND, "compact")),
        "still": now("cleanup.policy"),
        "subtract": ask(("cleanup.policy", SUBTRACT, "delete")),
        "list then": now("cleanup.policy", "compact"),
        "append to a number": ask(("retention.ms", APPEND, "1")),
        "delete": ask(("retention.ms", DELETE, None)),
        "default again": now("retention.ms", "604800000"),
        "delete what is not set": ask(("flush.ms", DELETE, None)),
        "set to null": ask(("retention.ms", SET, None)),
        "same key twice": ask(("retention.ms", SET, "1"), ("retention.ms", SET, "2")),
        "unknown key": ask(("no.such", SET, "1")),
        "bad value": ask(("retention.ms", SET, "soon")),
        "out of range": ask(("min.insync.replicas", SET, "0")),
        "operation 9": ask(("retention.ms", 9, "1")),
        "one bad spoils all": ask(("segment.ms", SET, "5555555"), ("no.such", SET, "1")),
        "segment.ms now": now("segment.ms"),
        "no configs": ask(),
        "unknown topic": ask(("retention.ms", SET, "1"), name=k.name("absent")),
        "invalid topic": ask(("retention.ms", SET, "1"), name="a b"),
        "kind 77": ask(("retention.ms", SET, "1"), kind=77),
        "resource twice": k.ask("IncrementalAlterConfigs", 1, resources=[{"resourceType": TOPIC, "resourceName": topic, "configs": []}] * 2),
        "broker 99": ask(("log.retention.ms", SET, "1000"), kind=BROKER, name="99"),
        "broker, read-only key": mask_resource(ask(("log.dirs", SET, "/x"), kind=BROKER, name=str(k.node))),
        "broker, unknown key": mask_resource(ask(("no.such", SET, "1"), kind=BROKER, name=str(k.node))),
    }


def mask_resource(got):
    for response in got["responses"]:
        response["resourceName"] = "<node>"
    return got


@probe
def broker_default_reaches_topics(k):
    """A dynamic default of all brokers shows as source 3 in a topic, and goes away again."""
    topic = k.topic()

    def ask(op, value):
        configs = [{"name": "log.retention.ms", "configOperation": op, "value": value}]
        return k.ask("IncrementalAlterConfigs", 1, resources=[{"resourceType": BROKER, "resourceName": "", "configs": configs}])

    def now():
        keys = ["retention.ms"]
        got = k.ask("DescribeConfigs", 4, includeSynonyms=True, resources=[{"resourceType": TOPIC, "resourceName": topic, "configurationKeys": keys}])
        return got["results"][0]["configs"]

    says = {"set": ask(SET, "7654321"), "topic sees": k.until(now, lambda c: c[0]["value"] == "7654321")}
    return says | {"delete": ask(DELETE, None), "topic sees then": k.until(now, lambda c: c[0]["value"] != "7654321")}


@probe
def alter_configs(k):
    """The old call replaces everything that is set."""
    topic = k.topic(retention_ms=12345, segment_ms=777777)

    def ask(*configs, name=topic, version=2, **more):
        return k.ask("AlterConfigs", version, resources=[{"resourceType": TOPIC, "resourceName": name, "configs": [{"name": n, "value": v} for n, v in configs]}], **more)

    def now():
        got = k.ask("DescribeConfigs", 4, resources=[{"resourceType": TOPIC, "resourceName": topic, "configurationKeys": None}])
        return sorted([c["name"], c["value"]] for c in got["results"][0]["configs"] if c["configSource"] == 1)

    return {
        "validate only": ask(("flush.ms", "5"), validateOnly=True),
        "before": now(),
        "set one": ask(("flush.ms", "5")),
        "after": k.until(now, lambda c: ["flush.ms", "5"] in c),
        "v0": ask(("flush.ms", "6"), version=0),
        "null value": ask(("flush.ms", None)),
        "bad value": ask(("flush.ms", "x")),
        "unknown key": ask(("no.such", "x")),
        "unknown topic": ask(("flush.ms", "5"), name=k.name("absent")),
        "same key twice": ask(("flush.ms", "5"), ("flush.ms", "6")),
        "nothing": ask(),
        "at the end": k.until(now, lambda c: not c),
    }


@probe
def list_config_resources(k):
    """Version 0 lists only client metrics; 1 lists topics, brokers, groups."""
    topic = k.topic()

    def kinds(got, mine):
        return {"errorCode": got["errorCode"], "types": sorted({r.get("resourceType", 16) for r in got["configResources"]}), "has it": mine in [r["resourceName"] for r in got["configResources"]]}

    return {
        "v0": kinds(k.ask("ListConfigResources", 0), topic),
        "topics": kinds(k.ask("ListConfigResources", 1, resourceTypes=[TOPIC]), topic),
        "brokers": kinds(k.ask("ListConfigResources", 1, resourceTypes=[BROKER]), str(k.node)),
        "all": kinds(k.ask("ListConfigResources", 1, resourceTypes=[]), topic),
        "kind 77": k.ask("ListConfigResources", 1, resourceTypes=[77]),
    }
