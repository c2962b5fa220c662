// KafkaJS: pure JavaScript, old versions of everything; gzip is built in, snappy comes by a package.
// Usage: node kafkajs.js BOOTSTRAP INPUT PREFIX

const crypto = require("crypto");
const fs = require("fs");
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require("kafkajs");
CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");

const [bootstrap, input, prefix] = process.argv.slice(2);
const lines = fs.readFileSync(input, "utf8").trimEnd().split("\n");
const kafka = new Kafka({ brokers: [bootstrap], clientId: "kafkajs", logLevel: logLevel.NOTHING });
const admin = kafka.admin();
const T0 = 1700000000000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function check(what, fact) {
  if (!fact) throw new Error(`${what}: not so`);
}

function digest(values) {
  return crypto.createHash("sha256").update([...values].sort().join("\n")).digest("hex");
}

function same(what, want, got) {
  check(`${what}: ${want.length} wanted, ${got.length} came`, digest(want) === digest(got));
}

async function until(what, seconds, done) {
  const end = Date.now() + seconds * 1000;
  while (!(await done())) {
    check(`${what} within ${seconds} s`, Date.now() < end);
    await pause(50);
  }
}

async function refused(word, promise) {
  const error = await promise.then(() => null, (e) => e);
  check(`${word} wanted, ${error && error.message}`, error && (error.type === word || (error.errors || []).some((e) => e.type === word)));
}

const create = (topic, numPartitions) => admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions, replicationFactor: 1 }] });

async function produce(topic, values, { acks = -1, compression = CompressionTypes.None, at } = {}) {
  const producer = kafka.producer({ idempotent: acks === -1, maxInFlightRequests: 1 });
  await producer.connect();
  for (let n = 0; n < values.length; n += 1000) {
    const messages = values.slice(n, n + 1000).map((value, i) => ({ key: value.slice(0, 8), value, ...(at ? { timestamp: String(at + n + i) } : {}) }));
    await producer.send({ topic, acks, compression, messages });
  }
  await producer.disconnect();
}

// Starts one consumer that collects into `seen`.
async function start(topic, groupId, seen) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 10000, heartbeatInterval: 300, rebalanceTimeout: 10000, maxWaitTimeInMs: 200 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({ eachBatch: async ({ batch }) => { for (const m of batch.messages) seen.push(m.value.toString()); } });
  return consumer;
}

async function everyCodecAndAcks() {
  const rounds = [["None", -1], ["GZIP", -1], ["Snappy", -1], ["None", 1], ["GZIP", 0]];
  await Promise.all(rounds.map(async ([codec, acks]) => {
    const topic = `${prefix}-${codec}-${acks}`;
    await create(topic, 3);
    // acks=0 loses what meets a leader that is not ready yet: the first hundred reach every partition with acks=all.
    const first = acks === 0 ? 100 : 0;
    if (first > 0) await produce(topic, lines.slice(0, first));
    await produce(topic, lines.slice(first), { acks, compression: CompressionTypes[codec] });
    const seen = [];
    const consumer = await start(topic, topic, seen);
    await until(`${topic} read`, 40, () => seen.length >= lines.length);
    await consumer.disconnect();
    same(topic, lines, seen);
  }));
}

async function groupOfThree() {
  const topic = `${prefix}-group`;
  await create(topic, 6);
  const seen = [[], [], []];
  const members = await Promise.all(seen.map((s) => start(topic, topic, s)));
  const group = async () => (await admin.describeGroups([topic])).groups[0];
  await until("three members", 40, async () => (await group()).state === "Stable" && (await group()).members.length === 3);
  await produce(topic, lines);
  await until("all lines", 30, () => seen.flat().length >= lines.length);
  await pause(300);
  same("group of three", lines, seen.flat());
  check("each member had a share", seen.every((s) => s.length > 0));
  for (const m of members) await m.disconnect();
  const offsets = (await admin.fetchOffsets({ groupId: topic, topics: [topic] }))[0].partitions;
  check("the group has committed all", offsets.reduce((sum, p) => sum + Math.max(0, Number(p.offset)), 0) === lines.length);
  await admin.deleteGroups([topic]);
}

async function byTime() {
  const topic = `${prefix}-time`, middle = Math.floor(lines.length / 2);
  await create(topic, 1);
  await produce(topic, lines, { at: T0 });
  const [found] = await admin.fetchTopicOffsetsByTimestamp(topic, T0 + middle);
  check("offset of the middle", found.offset === String(middle));
  const seen = [];
  const consumer = await start(topic, topic, seen);
  consumer.seek({ topic, partition: 0, offset: found.offset });
  await until("the rest", 30, () => seen.includes(lines[lines.length - 1]));
  check("from a time on", digest(seen.slice(-(lines.length - middle))) === digest(lines.slice(middle)));
  await consumer.disconnect();
}

async function administration() {
  const topic = `${prefix}-admin`;
  await create(topic, 2);
  check("it is there already", (await create(topic, 2)) === false);
  await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] });
  await refused("INVALID_PARTITIONS", admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] }));
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic };
  await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries: [{ name: "retention.ms", value: "123456" }] }] });
  await until("the change shows", 10, async () => {
    const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ ...resource, configNames: ["retention.ms"] }] });
    return resources[0].configEntries[0].configValue === "123456";
  });
  await produce(topic, lines.slice(0, 50));
  const [first] = (await admin.fetchTopicOffsets(topic)).filter((p) => p.partition === 0);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: first.offset }] });
  check("the cluster has a controller", (await admin.describeCluster()).controller !== null);
  await admin.deleteTopics({ topics: [topic] });
  check("it is gone", !(await admin.listTopics()).includes(topic));
}

async function main() {
  await admin.connect();
  await everyCodecAndAcks();
  await groupOfThree();
  await byTime();
  await administration();
  await admin.disconnect();
  console.log(`kafkajs.js ok ${require("kafkajs/package.json").version}`);
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
