// Sarama: a client with middle-aged versions and its own assignors, the one that Burrow and many exporters use.
// Usage: sarama BOOTSTRAP INPUT PREFIX
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const t0 = 1_700_000_000_000

var (
	bootstrap, prefix = os.Args[1], os.Args[3]
	ctx, cancel       = context.WithTimeout(context.Background(), 120*time.Second)
	lines             [][]byte
	admin             sarama.ClusterAdmin
)

func check(what string, fact bool) {
	if !fact {
		panic(what + ": not so")
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func same(what string, want, got [][]byte) {
	a, b := slices.Clone(want), slices.Clone(got)
	slices.SortFunc(a, bytes.Compare)
	slices.SortFunc(b, bytes.Compare)
	check(fmt.Sprintf("%s: %d wanted, %d came", what, len(a), len(b)), slices.EqualFunc(a, b, bytes.Equal))
}

func config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Session.Timeout = 10 * time.Second
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	return c
}

func create(name string, partitions int32) {
	err := admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false)
	check(fmt.Sprint("created ", err), err == nil)
}

func produce(name string, values [][]byte, at int64, c *sarama.Config) {
	producer := must(sarama.NewSyncProducer([]string{bootstrap}, c))
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, len(values))
	for n, v := range values {
		messages[n] = &sarama.ProducerMessage{Topic: name, Key: sarama.ByteEncoder(v[:8]), Value: sarama.ByteEncoder(v)}
		if at > 0 {
			messages[n].Timestamp = time.UnixMilli(at + int64(n))
		}
	}
	check("produced", producer.SendMessages(messages) == nil)
}

// read takes `want` messages of all partitions, each from its offset on.
func read(name string, from map[int32]int64, want int) (seen [][]byte) {
	consumer := must(sarama.NewConsumer([]string{bootstrap}, config()))
	defer consumer.Close()
	values := make(chan []byte)
	for p, offset := range from {
		part := must(consumer.ConsumePartition(name, p, offset))
		defer part.AsyncClose()
		go func() {
			for m := range part.Messages() {
				values <- m.Value
			}
		}()
	}
	for len(seen) < want {
		select {
		case v := <-values:
			seen = append(seen, v)
		case <-ctx.Done():
			panic("not in time")
		}
	}
	return seen
}

func everyCodecAndAcks() {
	round := func(codec sarama.CompressionCodec, acks sarama.RequiredAcks) {
		name := fmt.Sprintf("%s-%v-%d", prefix, codec, acks)
		create(name, 3)
		c := config()
		c.Producer.Compression, c.Producer.RequiredAcks = codec, acks
		if acks == sarama.WaitForAll {
			c.Producer.Idempotent, c.Net.MaxOpenRequests = true, 1
		}
		values := lines
		if acks == sarama.NoResponse {
			// acks=0 loses what meets a leader that is not ready yet: the first hundred reach every partition with acks=all.
			produce(name, lines[:100], 0, config())
			values = lines[100:]
		}
		produce(name, values, 0, c)
		same(name, lines, read(name, map[int32]int64{0: 0, 1: 0, 2: 0}, len(lines)))
	}
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		round(codec, sarama.WaitForAll)
	}
	round(sarama.CompressionNone, sarama.WaitForLocal)
	round(sarama.CompressionLZ4, sarama.NoResponse)
}

// member is one consumer of a group; its claims end with the session.
type member struct {
	mu   sync.Mutex
	seen [][]byte
	owns int
}

func (m *member) Setup(s sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owns = 0
	for _, parts := range s.Claims() {
		m.owns += len(parts)
	}
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		m.mu.Lock()
		m.seen = append(m.seen, message.Value)
		m.mu.Unlock()
		s.MarkMessage(message, "")
	}
	return nil
}

func groupOfThree() {
	name := prefix + "-group"
	create(name, 6)
	members := []*member{{}, {}, {}}
	group, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, m := range members {
		c := must(sarama.NewConsumerGroup([]string{bootstrap}, name, config()))
		running.Add(1)
		go func() {
			defer running.Done()
			defer c.Close()
			for group.Err() == nil {
				if err := c.Consume(group, []string{name}, m); err != nil && group.Err() == nil {
					panic(err)
				}
			}
		}()
	}
	until := func(what string, done func() bool) {
		for !done() {
			check(what, ctx.Err() == nil)
			time.Sleep(50 * time.Millisecond)
		}
	}
	sums := func() (total int, even bool) {
		even = true
		for _, m := range members {
			m.mu.Lock()
			total, even = total+len(m.seen), even && m.owns == 2
			m.mu.Unlock()
		}
		return total, even
	}
	until("two partitions each", func() bool { _, even := sums(); return even })
	produce(name, lines, 0, config())
	until("all lines", func() bool { total, _ := sums(); return total >= len(lines) })
	stop()
	running.Wait()
	var all [][]byte
	for _, m := range members {
		check("each member had a share", len(m.seen) > 0)
		all = append(all, m.seen...)
	}
	same("group of three", lines, all)
	kept := must(admin.ListConsumerGroupOffsets(name, map[string][]int32{name: {0, 1, 2, 3, 4, 5}}))
	var sum int64
	for p := range int32(6) {
		sum += max(kept.GetBlock(name, p).Offset, 0)
	}
	check(fmt.Sprint("the group has committed all, ", sum), sum == int64(len(lines)))
	check("the group goes", admin.DeleteConsumerGroup(name) == nil)
}

func byTime() {
	name, middle := prefix+"-time", int64(len(lines)/2)
	create(name, 1)
	produce(name, lines, t0, config())
	c := must(sarama.NewClient([]string{bootstrap}, config()))
	defer c.Close()
	at := must(c.GetOffset(name, 0, t0+middle))
	check("offset of the middle", at == middle)
	same("from a time on", lines[middle:], read(name, map[int32]int64{0: at}, len(lines)-int(middle)))
}

func administration() {
	name := prefix + "-admin"
	create(name, 2)
	err := admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false)
	check("a second of that name", errors.Is(err, sarama.ErrTopicAlreadyExists))
	check("grown", admin.CreatePartitions(name, 4, nil, false) == nil)
	check("shrinking is refused", errors.Is(admin.CreatePartitions(name, 3, nil, false), sarama.ErrInvalidPartitions))
	value := "123456"
	err = admin.IncrementalAlterConfig(sarama.TopicResource, name, map[string]sarama.IncrementalAlterConfigsEntry{"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}}, false)
	check("altered", err == nil)
	for shows := false; !shows; {
		check("the change shows in time", ctx.Err() == nil)
		for _, entry := range must(admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: name, ConfigNames: []string{"retention.ms"}})) {
			shows = shows || entry.Value == value
		}
	}
	_, controller, err := admin.DescribeCluster()
	check("a controller", err == nil && controller >= 0)
	check("deleted", admin.DeleteTopic(name) == nil)
	check("deleted before", errors.Is(admin.DeleteTopic(name), sarama.ErrUnknownTopicOrPartition))
}

func main() {
	defer cancel()
	lines = bytes.Split(bytes.TrimSpace(must(os.ReadFile(os.Args[2]))), []byte("\n"))
	admin = must(sarama.NewClusterAdmin([]string{bootstrap}, config()))
	everyCodecAndAcks()
	groupOfThree()
	byTime()
	administration()
	fmt.Println("sarama ok")
}
