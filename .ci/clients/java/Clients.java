// Kafka's own Java clients, all in one JVM: produce with every codec and acks, groups with every assignor, time, admin.
// Usage: java -cp JARS Clients.java BOOTSTRAP INPUT PREFIX

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

public class Clients {
    static final long T0 = 1_700_000_000_000L;
    static String bootstrap, prefix;
    static List<String> lines;
    static Admin admin;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        lines = Files.readAllLines(Path.of(args[1]), StandardCharsets.UTF_8);
        prefix = args[2];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) roundTrip(codec, "all");
        roundTrip("none", "1");
        roundTrip("lz4", "0");
        for (Class<?> assignor : List.of(RangeAssignor.class, RoundRobinAssignor.class, StickyAssignor.class, CooperativeStickyAssignor.class)) groupOfThree(assignor);
        staticMember();
        byTime();
        commits();
        administration();
        admin.close();
        System.out.println("Clients.java ok " + org.apache.kafka.common.utils.AppInfoParser.getVersion());
    }

    static void check(String what, boolean fact) {
        if (!fact) throw new IllegalStateException(what + ": not so");
    }

    static void same(String what, Collection<String> want, Collection<String> got) {
        List<String> a = new ArrayList<>(want), b = new ArrayList<>(got);
        Collections.sort(a);
        Collections.sort(b);
        check(what + ": " + a.size() + " wanted, " + b.size() + " came", a.equals(b));
    }

    static void until(String what, int seconds, BooleanSupplier done) {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!done.getAsBoolean()) check(what + " within " + seconds + " s", System.nanoTime() < end);
    }

    static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(20, TimeUnit.SECONDS);
    }

    static void refused(Class<? extends ApiException> error, KafkaFuture<?> future) throws Exception {
        try {
            get(future);
        } catch (ExecutionException e) {
            check(error.getSimpleName() + " wanted, " + e.getCause(), error.isInstance(e.getCause()));
            return;
        }
        check(error.getSimpleName() + " wanted", false);
    }

    static void create(String name, int partitions, Map<String, String> configs) throws Exception {
        get(admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1).configs(configs))).all());
    }

    static void produce(String name, List<String> values, Map<String, Object> how, long at) throws Exception {
        Map<String, Object> config = new java.util.HashMap<>(Map.of("bootstrap.servers", bootstrap, "linger.ms", 5));
        config.putAll(how);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (Producer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int n = 0; n < values.size(); n++)
                sent.add(producer.send(new ProducerRecord<>(name, null, at < 0 ? null : at + n, values.get(n).substring(0, 8), values.get(n))));
            producer.flush();
            for (Future<RecordMetadata> future : sent) future.get(20, TimeUnit.SECONDS);
        }
    }

    static KafkaConsumer<String, String> consumer(String group, Map<String, Object> more) {
        Map<String, Object> config = new java.util.HashMap<>(Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest", "session.timeout.ms", 10000, "max.poll.records", 5000));
        if (group != null) config.put("group.id", group);
        config.putAll(more);
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    static void take(KafkaConsumer<String, String> c, List<String> seen) {
        for (ConsumerRecord<String, String> r : c.poll(Duration.ofMillis(50))) seen.add(r.value());
    }

    static List<String> read(KafkaConsumer<String, String> c, int want) {
        List<String> seen = new ArrayList<>();
        until(want + " messages", 30, () -> { take(c, seen); return seen.size() >= want; });
        for (int n = 0; n < 5; n++) take(c, seen);
        return seen;
    }

    static void roundTrip(String codec, String acks) throws Exception {
        String name = prefix + "-" + codec + "-" + acks;
        boolean zero = acks.equals("0");
        // acks=0 loses what meets a leader that is not ready yet, so such a topic has one partition and a first message with acks=1.
        int parts = zero ? 1 : 3;
        create(name, parts, Map.of());
        if (zero) produce(name, lines.subList(0, 1), Map.of("acks", "1"), -1);
        produce(name, lines.subList(zero ? 1 : 0, lines.size()), Map.of("compression.type", codec, "acks", acks, "enable.idempotence", acks.equals("all")), -1);
        try (KafkaConsumer<String, String> c = consumer(null, Map.of())) {
            c.assign(IntStream.range(0, parts).mapToObj(p -> new TopicPartition(name, p)).toList());
            same(codec + " acks=" + acks, lines, read(c, lines.size()));
        }
    }

    static void groupOfThree(Class<?> assignor) throws Exception {
        String name = prefix + "-" + assignor.getSimpleName();
        create(name, 6, Map.of());
        List<KafkaConsumer<String, String>> members = new ArrayList<>();
        List<String> seen = new ArrayList<>();
        for (int n = 0; n < 3; n++) members.add(consumer(name, Map.of("partition.assignment.strategy", assignor.getName())));
        members.forEach(c -> c.subscribe(List.of(name)));
        // A rebalance blocks inside poll, so each member polls in turn and briefly.
        until("two partitions each", 40, () -> { members.forEach(c -> take(c, seen)); return members.stream().allMatch(c -> c.assignment().size() == 2); });
        produce(name, lines, Map.of(), -1);
        int[] share = new int[3];
        until("all lines", 30, () -> {
            for (int n = 0; n < 3; n++) { int before = seen.size(); take(members.get(n), seen); share[n] += seen.size() - before; }
            return seen.size() >= lines.size();
        });
        members.forEach(c -> take(c, seen));
        same("group of three, " + assignor.getSimpleName(), lines, seen);
        check("each member had a share", IntStream.of(share).allMatch(s -> s > 0));
        members.forEach(KafkaConsumer::commitSync);
        members.remove(0).close();
        until("three partitions each", 40, () -> { members.forEach(c -> take(c, seen)); return members.stream().allMatch(c -> c.assignment().size() == 3); });
        check("nothing was read twice", seen.size() == lines.size());
        members.forEach(KafkaConsumer::close);
    }

    static void staticMember() throws Exception {
        String name = prefix + "-static";
        create(name, 2, Map.of());
        for (int round = 0; round < 2; round++) {
            try (KafkaConsumer<String, String> c = consumer(name, Map.of("group.instance.id", "one"))) {
                c.subscribe(List.of(name));
                until("both partitions", 20, () -> { take(c, new ArrayList<>()); return c.assignment().size() == 2; });
            }
        }
        ConsumerGroupDescription group = get(admin.describeConsumerGroups(List.of(name)).all()).get(name);
        check("the static member is still there", group.members().size() == 1);
        get(admin.removeMembersFromConsumerGroup(name, new RemoveMembersFromConsumerGroupOptions(Set.of(new MemberToRemove("one")))).all());
    }

    static void byTime() throws Exception {
        String name = prefix + "-time";
        create(name, 1, Map.of());
        produce(name, lines, Map.of(), T0);
        int middle = lines.size() / 2;
        TopicPartition part = new TopicPartition(name, 0);
        try (KafkaConsumer<String, String> c = consumer(null, Map.of())) {
            c.assign(List.of(part));
            check("offset of the middle", c.offsetsForTimes(Map.of(part, T0 + middle)).get(part).offset() == middle);
            check("past the end there is none", c.offsetsForTimes(Map.of(part, T0 + 10L * lines.size())).get(part) == null);
            c.seek(part, middle);
            same("from a time on", lines.subList(middle, lines.size()), read(c, lines.size() - middle));
            check("lag is known", c.currentLag(part).getAsLong() == 0);
        }
        long max = get(admin.listOffsets(Map.of(part, OffsetSpec.maxTimestamp())).all()).get(part).offset();
        check("max timestamp", max == lines.size() - 1);
        long local = get(admin.listOffsets(Map.of(part, OffsetSpec.earliestLocal())).all()).get(part).offset();
        check("earliest local", local == 0);
    }

    static void commits() throws Exception {
        String name = prefix + "-commits";
        create(name, 1, Map.of());
        produce(name, lines.subList(0, 100), Map.of(), -1);
        TopicPartition part = new TopicPartition(name, 0);
        try (KafkaConsumer<String, String> c = consumer(name, Map.of("enable.auto.commit", false))) {
            c.assign(List.of(part));
            c.commitSync(Map.of(part, new OffsetAndMetadata(60, java.util.Optional.of(0), "sixty")));
            OffsetAndMetadata back = c.committed(Set.of(part)).get(part);
            check("offset, epoch and metadata come back", back.offset() == 60 && back.metadata().equals("sixty") && back.leaderEpoch().get() == 0);
        }
        try (KafkaConsumer<String, String> c = consumer(name, Map.of("isolation.level", "read_committed"))) {
            c.subscribe(List.of(name));
            same("from the commit on", lines.subList(60, 100), read(c, 40));
        }
        get(admin.alterConsumerGroupOffsets(name, Map.of(part, new OffsetAndMetadata(7))).all());
        check("an admin moved the offset", get(admin.listConsumerGroupOffsets(name).partitionsToOffsetAndMetadata()).get(part).offset() == 7);
        check("listed", get(admin.listGroups().all()).stream().anyMatch(g -> g.groupId().equals(name)));
        get(admin.deleteConsumerGroupOffsets(name, Set.of(part)).all());
        get(admin.deleteConsumerGroups(List.of(name)).all());
        refused(GroupIdNotFoundException.class, admin.deleteConsumerGroups(List.of(name)).all());
        refused(GroupIdNotFoundException.class, admin.describeConsumerGroups(List.of(name)).all());
    }

    static void administration() throws Exception {
        String name = prefix + "-admin";
        create(name, 2, Map.of("retention.ms", "111111"));
        refused(TopicExistsException.class, admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all());
        refused(InvalidTopicException.class, admin.createTopics(List.of(new NewTopic("no good", 1, (short) 1))).all());
        refused(InvalidReplicationFactorException.class, admin.createTopics(List.of(new NewTopic(name + "2", 1, (short) 2))).all());
        refused(InvalidConfigurationException.class, admin.createTopics(List.of(new NewTopic(name + "3", 1, (short) 1).configs(Map.of("no.such", "1")))).all());
        get(admin.createPartitions(Map.of(name, NewPartitions.increaseTo(4))).all());
        refused(InvalidPartitionsException.class, admin.createPartitions(Map.of(name, NewPartitions.increaseTo(3))).all());
        until("four partitions", 10, () -> {
            try { return get(admin.describeTopics(List.of(name)).allTopicNames()).get(name).partitions().size() == 4; } catch (Exception e) { throw new IllegalStateException(e); }
        });
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, name);
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry("segment.ms", "3600000"), AlterConfigOp.OpType.SET)))).all());
        Config config = get(admin.describeConfigs(List.of(resource)).all()).get(resource);
        check("a config that was given", config.get("retention.ms").value().equals("111111") && config.get("retention.ms").source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG);
        check("a config that was not", config.get("cleanup.policy").isDefault());
        produce(name, lines.subList(0, 50), Map.of(), -1);
        TopicPartition part = new TopicPartition(name, 0);
        get(admin.deleteRecords(Map.of(part, RecordsToDelete.beforeOffset(-1))).all());
        long start = get(admin.listOffsets(Map.of(part, OffsetSpec.earliest())).all()).get(part).offset();
        check("the start is the end now", start == get(admin.listOffsets(Map.of(part, OffsetSpec.latest())).all()).get(part).offset());
        DescribeClusterResult cluster = admin.describeCluster();
        check("cluster id and controller", get(cluster.clusterId()).length() == 22 && get(cluster.controller()) != null);
        check("log directories", get(admin.describeLogDirs(List.of(get(cluster.controller()).id())).allDescriptions()).size() == 1);
        check("no election is needed", get(admin.electLeaders(ElectionType.PREFERRED, Set.of(part)).partitions()).get(part).get() instanceof ElectionNotNeededException);
        check("no reassignments", get(admin.listPartitionReassignments().reassignments()).isEmpty());
        get(admin.deleteTopics(List.of(name)).all());
        refused(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(name)).all());
    }
}
