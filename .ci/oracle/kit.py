"""What every probe uses: one default connection, topics of its own, short ways to produce and fetch, and masking."""

import json
import re
import time

from records import batch, describe
from wire import Closed, Conn

PROBES = []
NONE, INVALID_TOPIC = 0, 17
LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, PENDING_UPLOAD = -1, -2, -3, -4, -5, -6


def probe(function):
    """Registers a probe; its name is the function's name, what it stands for is its docstring."""
    PROBES.append(function)
    return function


class Kit:
    def __init__(self, schemas, host, port, prefix):
        self.schemas, self.host, self.port, self.prefix = schemas, host, port, prefix
        self.default, self.made, self.turn = None, 0, 0
        meta = self.ask("Metadata", 12, topics=[])
        self.node = meta["brokers"][0]["nodeId"]

    # ---- connections

    def conn(self):
        return Conn(self.schemas, self.host, self.port)

    def ask(self, api, version, **body):
        """The answer, or {'closed': True} where the broker hung up, or {'silent': True} where it never answers."""
        self.default = self.default or self.conn()
        try:
            return self.default.ask(api, version, **body)
        except (Closed, TimeoutError) as error:
            self.default.close()
            self.default = None
            return {"closed" if isinstance(error, Closed) else "silent": True}

    def raw(self, key, version, body=b"", flexible=False):
        """Sends a hand-made frame on a connection of its own; 'closed' or the raw answer."""
        conn = self.conn()
        try:
            conn.send_raw(conn.header(key, version, flexible) + body)
            return {"answer": conn.frame()[4:].hex()}
        except Closed:
            return {"closed": True}
        finally:
            conn.close()

    # ---- names

    def name(self, word=None):
        """A topic or group name nobody else uses. The prefix is masked in the output."""
        self.made += 1
        return f"{self.prefix}{self.turn}-{word or 'n'}-{self.made}"

    def begin(self):
        """Numbers names from 1 again, so that one probe's trouble does not shift the names of the next."""
        self.made, self.turn = 0, self.turn + 1

    def topic(self, partitions=1, **configs):
        name = self.name("topic")
        configs = [{"name": n.replace("_", "."), "value": str(v)} for n, v in configs.items()]
        made = self.ask(
            "CreateTopics",
            7,
            topics=[{"name": name, "numPartitions": partitions, "replicationFactor": 1, "configs": configs}],
        )
        assert made["topics"][0]["errorCode"] == 0, made
        self.await_leader(name, partitions)
        return name

    def await_leader(self, name, partitions=1):
        for _ in range(200):
            (topic,) = self.metadata(name)["topics"]
            led = [p for p in topic["partitions"] if p["leaderId"] >= 0 and p["errorCode"] == 0]
            if topic["errorCode"] == 0 and len(led) >= partitions and self.serves(name, partitions):
                return
            time.sleep(0.02)
        raise TimeoutError(f"no leader for {name}")

    def serves(self, name, partitions):
        """Metadata may be ahead of the log: a leader it names can still answer NOT_LEADER_OR_FOLLOWER."""
        return all(self.list_offsets(name, LATEST, partition=p)["errorCode"] == 0 for p in range(partitions))

    def metadata(self, name, version=12, create=False):
        return self.ask("Metadata", version, topics=[{"name": name}], allowAutoTopicCreation=create)

    def topic_id(self, name):
        return self.metadata(name)["topics"][0]["topicId"]

    # ---- produce, fetch

    def produce(self, topic, records, acks=-1, version=9, partition=0, timeout=5000, conn=None):
        body = {
            "acks": acks,
            "timeoutMs": timeout,
            "topicData": [{"name": topic, "partitionData": [{"index": partition, "records": records}]}],
        }
        answer = conn.ask("Produce", version, **body) if conn else self.ask("Produce", version, **body)
        return answer["responses"][0]["partitionResponses"][0] if "responses" in answer else answer

    def fill(self, topic, count, partition=0, **how):
        """`count` batches of one record each, offsets 0.. in an empty log."""
        for n in range(count):
            got = self.produce(topic, batch([b"v%d" % n], **how), partition=partition)
            assert got["errorCode"] == 0, got

    def fetch(self, topic, offset=0, version=11, partition=0, conn=None, top=None, max_bytes=1 << 20, wait=0, **part):
        body = {
            "maxWaitMs": wait,
            "minBytes": 0 if wait == 0 else 1,
            "maxBytes": 1 << 24,
            "replicaId": -1,
            "topics": [
                {
                    ("topicId" if version >= 13 else "topic"): topic,
                    "partitions": [{"partition": partition, "fetchOffset": offset, "partitionMaxBytes": max_bytes} | part],
                }
            ],
        } | (top or {})
        body = {k: v for k, v in body.items() if not (k == "replicaId" and version >= 15)}
        return conn.ask("Fetch", version, **body) if conn else self.ask("Fetch", version, **body)

    def list_offsets(self, topic, timestamp, version=7, partition=0, **part):
        got = self.ask(
            "ListOffsets",
            version,
            replicaId=-1,
            topics=[{"name": topic, "partitions": [{"partitionIndex": partition, "timestamp": timestamp} | part]}],
        )
        return got["topics"][0]["partitions"][0]

    def producer_id(self):
        def ask():
            return self.ask("InitProducerId", 4, transactionalId=None, transactionTimeoutMs=60000)

        got = self.until(ask, lambda a: a["errorCode"] != 14)
        assert got["errorCode"] == 0, got
        return got["producerId"]

    def until(self, ask, done, seconds=20):
        """Repeats `ask` until its answer satisfies `done`; for states a broker reaches in its own time."""
        end = time.monotonic() + seconds
        while True:
            got = ask()
            if done(got) or time.monotonic() > end:
                return got
            time.sleep(0.1)

    # ---- what is printed

    def mask(self, value, key=""):
        if isinstance(value, dict):
            return {k: self.mask(v, k) for k, v in value.items() if k != "throttleTimeMs"}
        if isinstance(value, (list, tuple)):
            items = [self.mask(v, key) for v in value]
            return sorted(items, key=lambda i: json.dumps(i, sort_keys=True)) if key in UNORDERED else items
        if isinstance(value, bytes):
            return describe_or_hex(self, value, key)
        if key in ("host", "port", "clusterId", "clientHost", "logDir", "totalBytes", "usableBytes") and value is not None:
            return f"<{key}>"
        if key in NODES and value == self.node:
            return "<node>"
        if key in ("producerId", "sessionId") and isinstance(value, int) and value >= (0 if key == "producerId" else 1):
            return f"<{key}>"
        if key in TIMES and isinstance(value, int) and value > 1_750_000_000_000:
            return "<now>"
        if isinstance(value, str):
            return mask_text(value, self.prefix)
        return value


NODES = ("nodeId", "leaderId", "controllerId", "isrNodes", "replicaNodes", "brokerId", "replicas", "isr")
TIMES = ("firstTimestamp", "maxTimestamp", "logAppendTimeMs", "timestamp")
UNORDERED = ("members", "results", "responses", "partitionResponses", "replicaElectionResults", "partitionResult", "configs")
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
LONG = re.compile(r"-?\b\d{13,}\b")


def mask_text(text, prefix):
    text = UUID.sub("<uuid>", re.sub(re.escape(prefix) + r"\d+-", "T-", text).replace(prefix, "P-"))
    return LONG.sub("<long>", text) if " " in text else text


def describe_or_hex(kit, value, key):
    return kit.mask(describe(value)) if key == "records" else value.hex()


def line(kit, function):
    """One JSON line: the probe's name and what the broker said. A probe that dies says how, and counts as a difference."""
    kit.begin()
    try:
        says = kit.mask(function(kit))
    except Exception as error:  # noqa: BLE001 - the probe's failure is its finding
        says = {"probeDied": mask_text(f"{type(error).__name__}: {error}", kit.prefix)}
        if kit.default:
            kit.default.close()
            kit.default = None
    return {"probe": function.__name__, "says": says}
