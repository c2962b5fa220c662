"""aiokafka: the oldest protocol versions of the set."""

import asyncio

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import InvalidPartitionsError
from common import BOOTSTRAP, COMBOS, T0, check, lines, ok, parts, rest, same, topic

LINES = lines()


async def produce(name, values, at=None, **how):
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, linger_ms=5, **how) as producer:
        sent = [await producer.send(name, v, key=v[:8], timestamp_ms=at + n if at else None) for n, v in enumerate(values)]
        await producer.flush()
        for future in sent:
            await future


def consumer(*topics, group=None):
    return AIOKafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, group_id=group, auto_offset_reset="earliest", session_timeout_ms=10000)


async def take(c, ms=200):
    return [r.value for part in (await c.getmany(timeout_ms=ms)).values() for r in part]


async def read(c, want):
    seen = []
    while len(seen) < want:
        seen += await take(c)
    return seen + await take(c, 500)


async def every_codec_and_acks(admin):
    for codec, acks in COMBOS:
        name = topic(f"{codec}-{acks}")
        await admin.create_topics([NewTopic(name, parts(acks), 1)])
        if acks == "0":
            await produce(name, LINES[:1], acks=1)
        how = {"compression_type": None if codec == "none" else codec, "acks": acks if acks == "all" else int(acks), "enable_idempotence": acks == "all"}
        await produce(name, rest(acks, LINES), **how)
        async with consumer() as c:
            c.assign([TopicPartition(name, p) for p in range(parts(acks))])
            same(f"{codec} acks={acks}", LINES, await read(c, len(LINES)))


async def group_of_three(admin):
    name, group = topic("group"), topic("g")
    await admin.create_topics([NewTopic(name, 6, 1)])
    members = [consumer(name, group=group) for _ in range(3)]
    await asyncio.gather(*(c.start() for c in members))
    while [len(c.assignment()) for c in members] != [2, 2, 2]:
        await asyncio.sleep(0.1)
    await produce(name, LINES)
    seen = [[] for _ in members]
    while sum(map(len, seen)) < len(LINES):
        for n, c in enumerate(members):
            seen[n] += await take(c, 50)
    same("group of three", LINES, [v for part in seen for v in part])
    check("each member had a share", all(seen))
    for c in members:
        await c.stop()


async def by_time(admin):
    name, middle = topic("time"), len(LINES) // 2
    await admin.create_topics([NewTopic(name, 1, 1)])
    await produce(name, LINES, at=T0)
    async with consumer() as c:
        part = TopicPartition(name, 0)
        c.assign([part])
        found = (await c.offsets_for_times({part: T0 + middle}))[part]
        check("offset of the middle", found.offset == middle)
        c.seek(part, found.offset)
        same("from a time on", LINES[middle:], await read(c, len(LINES) - middle))


async def administration(admin):
    name = topic("admin")
    await admin.create_topics([NewTopic(name, 2, 1)])
    await admin.create_partitions({name: NewPartitions(4)})
    try:
        await admin.create_partitions({name: NewPartitions(3)})
        check("shrinking is refused", False)
    except InvalidPartitionsError:
        pass
    check("the topic is listed", name in await admin.list_topics())
    await admin.delete_topics([name])


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    for part in (every_codec_and_acks, group_of_three, by_time, administration):
        await asyncio.wait_for(part(admin), 60)
    await admin.close()


asyncio.run(main())
ok(aiokafka.__version__)
