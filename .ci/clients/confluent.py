"""confluent-kafka: the newest librdkafka. Produce, consume, groups, time, admin."""

from common import BOOTSTRAP, COMBOS, T0, check, lines, ok, parts, rest, same, topic, until
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition, libversion
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

LINES = lines()
admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def create(name, partitions, **config):
    settle(admin.create_topics([NewTopic(name, partitions, 1, config=config)]))


def settle(futures):
    return {key: future.result(20) for key, future in futures.items()}


def refused(futures, code):
    """The call must fail, and with this error."""
    for future in futures.values():
        try:
            future.result(20)
        except KafkaException as error:
            check(f"error {error.args[0].name()}, {code} wanted", error.args[0].name() == code)
            return
    raise SystemExit(f"{code} wanted, but it was done")


def produce(name, values, at=None, **config):
    failed = []
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5, "message.timeout.ms": 30000} | config)

    def report(error, _):
        if error is not None:
            failed.append(error)

    for n, value in enumerate(values):
        how = {"timestamp": at + n} if at else {}
        while True:
            try:
                producer.produce(name, value, key=value[:8], on_delivery=report, **how)
                break
            except BufferError:
                producer.poll(0.1)
    check("everything delivered", producer.flush(40) == 0 and not failed)


def consumer(group, **config):
    base = {"bootstrap.servers": BOOTSTRAP, "group.id": group, "auto.offset.reset": "earliest", "session.timeout.ms": 10000, "enable.partition.eof": False}
    return Consumer(base | config)


def read(c, want, seen, seconds=30):
    """Polls until `want` messages came, then once more, to see any too many."""

    def enough():
        for m in c.consume(1000, 0.2):
            check(f"no error {m.error()}", m.error() is None)
            seen.append(m.value())
        return len(seen) >= want

    until(f"{want} messages", seconds, enough)
    seen += [m.value() for m in c.consume(1000, 0.5) if m.error() is None]
    return seen


def every_codec_and_acks():
    for codec, acks in COMBOS:
        name = topic(f"{codec}-{acks}")
        create(name, parts(acks))
        if acks == "0":
            produce(name, LINES[:1], acks="1")
        produce(name, rest(acks, LINES), **{"compression.type": codec, "acks": acks, "enable.idempotence": acks == "all"})
        c = consumer(topic("plain"))
        c.assign([TopicPartition(name, p, 0) for p in range(parts(acks))])
        same(f"{codec} acks={acks}", LINES, read(c, len(LINES), []))
        c.close()


def group_of_three(assignor):
    name, group = topic(f"group-{assignor}"), topic(f"g-{assignor}")
    create(name, 6)
    members = [consumer(group, **{"partition.assignment.strategy": assignor, "client.id": f"m{n}"}) for n in range(3)]
    for c in members:
        c.subscribe([name])
    seen = [[] for _ in members]

    def take():
        for n, c in enumerate(members):
            for m in c.consume(1000, 0.1):
                check(f"no error {m.error()}", m.error() is None)
                seen[n].append(m.value())

    def shared():
        take()
        return sorted(len(c.assignment()) for c in members) == [2, 2, 2]

    until("two partitions each", 40, shared)
    produce(name, LINES)

    def all_in():
        take()
        return sum(map(len, seen)) >= len(LINES)

    until("all lines in the group", 30, all_in)
    take()
    same(f"group of three, {assignor}", LINES, [v for part in seen for v in part])
    check("each member had a share", all(seen))
    for c in members:
        c.commit(offsets=c.position(c.assignment()), asynchronous=False)
    gone = members.pop()
    gone.close()
    until("three partitions each", 40, lambda: take() or sorted(len(c.assignment()) for c in members) == [3, 3])
    check("nothing was read twice", sum(map(len, seen)) == len(LINES))
    for c in members:
        c.close()


def by_time():
    name = topic("time")
    create(name, 1)
    produce(name, LINES, at=T0)
    c, middle = consumer(topic("time")), len(LINES) // 2
    (found,) = c.offsets_for_times([TopicPartition(name, 0, T0 + middle)], timeout=10)
    check(f"offset {found.offset} of the middle", found.offset == middle)
    (past,) = c.offsets_for_times([TopicPartition(name, 0, T0 + 10 * len(LINES))], timeout=10)
    check("past the end there is none", past.offset == -1)
    c.assign([found])
    same("from a time on", LINES[middle:], read(c, len(LINES) - middle, []))
    c.close()


def commits():
    name, group = topic("commits"), topic("commits")
    create(name, 1)
    produce(name, LINES[:100])
    c = consumer(group, **{"enable.auto.commit": False})
    c.assign([TopicPartition(name, 0, 0)])
    c.commit(offsets=[TopicPartition(name, 0, 60, metadata="sixty ☃")], asynchronous=False)
    (back,) = c.committed([TopicPartition(name, 0)], timeout=10)
    check("offset and metadata come back", (back.offset, back.metadata) == (60, "sixty ☃"))
    c.close()
    again = consumer(group)
    again.subscribe([name])
    same("from the commit on", LINES[60:100], read(again, 40, []))
    again.close()
    listed = admin.list_consumer_groups().result(20).valid
    check("the group is listed", group in [g.group_id for g in listed])
    described = settle(admin.describe_consumer_groups([group]))[group]
    check(f"state {described.state}", described.state.name == "EMPTY")
    settle(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(name, 0, 7)])]))
    kept = settle(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))[group]
    check("an admin moved the offset", kept.topic_partitions[0].offset == 7)
    settle(admin.delete_consumer_groups([group]))
    refused(admin.delete_consumer_groups([group]), "GROUP_ID_NOT_FOUND")


def administration():
    name = topic("admin")
    create(name, 2, **{"retention.ms": "111111"})
    refused(admin.create_topics([NewTopic(name, 1, 1)]), "TOPIC_ALREADY_EXISTS")
    refused(admin.create_topics([NewTopic("no good", 1, 1)]), "TOPIC_EXCEPTION")
    settle(admin.create_partitions([NewPartitions(name, 4)]))
    until("four partitions", 10, lambda: len(admin.list_topics(name, 10).topics[name].partitions) == 4)
    refused(admin.create_partitions([NewPartitions(name, 3)]), "INVALID_PARTITIONS")
    resource = ConfigResource(ResourceType.TOPIC, name)

    def config(key):
        return settle(admin.describe_configs([resource]))[resource][key]

    check("a config that was given", config("retention.ms").value == "111111")
    check("a config that was not", config("cleanup.policy").value == "delete" and config("cleanup.policy").is_default)
    change = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[ConfigEntry("retention.ms", "222222", incremental_operation=AlterConfigOpType.SET)])
    settle(admin.incremental_alter_configs([change]))
    until("the change shows", 10, lambda: config("retention.ms").value == "222222")
    produce(name, LINES[:50])
    ends = settle(admin.list_offsets({TopicPartition(name, p): OffsetSpec.latest() for p in range(4)}))
    check("the ends add up", sum(r.offset for r in ends.values()) == 50)
    biggest = max(ends, key=lambda tp: ends[tp].offset)
    cut = settle(admin.delete_records([TopicPartition(name, biggest.partition, ends[biggest].offset)]))
    check("low watermark after deleting records", [r.low_watermark for r in cut.values()] == [ends[biggest].offset])
    cluster = admin.describe_cluster().result(20)
    check("the cluster has an id and a controller", cluster.cluster_id and cluster.controller)
    settle(admin.describe_topics(__import__("confluent_kafka").TopicCollection([name])))
    settle(admin.delete_topics([name]))
    refused(admin.delete_topics([name]), "UNKNOWN_TOPIC_OR_PART")


every_codec_and_acks()
for strategy in ("range", "roundrobin", "cooperative-sticky"):
    group_of_three(strategy)
by_time()
commits()
administration()
ok(f"librdkafka {libversion()[0]}")
