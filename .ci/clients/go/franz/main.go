// franz-go: the newest versions of everything. Produce, consume, groups, time, admin.
// Usage: franz BOOTSTRAP INPUT PREFIX
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const t0 = 1_700_000_000_000

var (
	bootstrap, prefix = os.Args[1], os.Args[3]
	ctx, cancel       = context.WithTimeout(context.Background(), 150*time.Second)
	lines             [][]byte
	admin             *kadm.Client
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

func client(opts ...kgo.Opt) *kgo.Client {
	return must(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.FetchMaxWait(200 * time.Millisecond)}, opts...)...))
}

func create(name string, partitions int32) {
	must(admin.CreateTopic(ctx, partitions, 1, nil, name))
}

func produce(name string, values [][]byte, at int64, opts ...kgo.Opt) {
	c := client(opts...)
	defer c.Close()
	records := make([]*kgo.Record, len(values))
	for n, v := range values {
		records[n] = &kgo.Record{Topic: name, Key: v[:8], Value: v}
		if at > 0 {
			records[n].Timestamp = time.UnixMilli(at + int64(n))
		}
	}
	check("produced", c.ProduceSync(ctx, records...).FirstErr() == nil)
}

// take polls once, briefly.
func take(c *kgo.Client) (values [][]byte) {
	short, done := context.WithTimeout(ctx, 200*time.Millisecond)
	defer done()
	fetches := c.PollFetches(short)
	fetches.EachError(func(_ string, _ int32, err error) {
		check(err.Error(), errors.Is(err, context.DeadlineExceeded))
	})
	fetches.EachRecord(func(r *kgo.Record) { values = append(values, r.Value) })
	return values
}

func read(c *kgo.Client, want int) (seen [][]byte) {
	for len(seen) < want {
		check("in time", ctx.Err() == nil)
		seen = append(seen, take(c)...)
	}
	return append(seen, take(c)...)
}

func everyCodecAndAcks() {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	round := func(codec, acks string, opts ...kgo.Opt) {
		name := fmt.Sprintf("%s-%s-%s", prefix, codec, acks)
		create(name, 3)
		values := lines
		if acks == "0" {
			// acks=0 loses what meets a leader that is not ready yet: the first hundred reach every partition with acks=all first.
			produce(name, lines[:100], 0)
			values = lines[100:]
		}
		produce(name, values, 0, append(opts, kgo.ProducerBatchCompression(codecs[codec]))...)
		c := client(kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		defer c.Close()
		same(codec+" acks="+acks, lines, read(c, len(lines)))
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		round(codec, "all")
	}
	round("none", "1", kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	round("lz4", "0", kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
}

func groupOfThree(word string, balancer kgo.GroupBalancer) {
	name := prefix + "-" + word
	create(name, 6)
	var members []*kgo.Client
	for range 3 {
		members = append(members, client(kgo.ConsumerGroup(name), kgo.ConsumeTopics(name), kgo.Balancers(balancer), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(300*time.Millisecond)))
	}
	seen := make([][][]byte, 3)
	total := func() (n int) {
		for m, c := range members {
			seen[m] = append(seen[m], take(c)...)
			n += len(seen[m])
		}
		return n
	}
	shared := func() bool {
		total()
		group := must(admin.DescribeGroups(ctx, name))[name]
		if group.State != "Stable" || len(group.Members) != 3 {
			return false
		}
		for _, m := range group.Members {
			assigned, ok := m.Assigned.AsConsumer()
			if !ok || len(assigned.Topics) != 1 || len(assigned.Topics[0].Partitions) != 2 {
				return false
			}
		}
		return true
	}
	for !shared() {
		check("shared in time", ctx.Err() == nil)
	}
	produce(name, lines, 0)
	for total() < len(lines) {
		check("in time", ctx.Err() == nil)
	}
	total()
	same("group of three, "+word, lines, slices.Concat(seen...))
	for m, c := range members {
		check("each member had a share", len(seen[m]) > 0)
		if err := c.CommitUncommittedOffsets(ctx); err != nil {
			panic(err)
		}
		c.Close()
	}
	lag := must(admin.Lag(ctx, name))[name]
	check("no lag is left", lag.Error() == nil && lag.Lag.Total() == 0)
}

func byTime() {
	name, middle := prefix+"-time", len(lines)/2
	create(name, 1)
	produce(name, lines, t0)
	found := must(admin.ListOffsetsAfterMilli(ctx, t0+int64(middle), name))
	at, _ := found.Lookup(name, 0)
	check("offset of the middle", at.Offset == int64(middle) && at.Timestamp == t0+int64(middle))
	c := client(kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(t0+int64(middle))))
	defer c.Close()
	same("from a time on", lines[middle:], read(c, len(lines)-middle))
	most := must(admin.ListMaxTimestampOffsets(ctx, name))
	last, _ := most.Lookup(name, 0)
	check("max timestamp", last.Offset == int64(len(lines)-1))
}

func administration() {
	name := prefix + "-admin"
	create(name, 2)
	_, err := admin.CreateTopic(ctx, 2, 1, nil, name)
	check("a second of that name", errors.Is(err, kerr.TopicAlreadyExists))
	grown := must(admin.UpdatePartitions(ctx, 4, name))
	check("grown", grown[name].Err == nil)
	check("shrinking is refused", errors.Is(must(admin.UpdatePartitions(ctx, 3, name))[name].Err, kerr.InvalidPartitions))
	value := "123456"
	altered := must(admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, name))
	check("altered", altered[0].Err == nil)
	for shows := false; !shows; {
		check("the change shows in time", ctx.Err() == nil)
		for _, c := range must(admin.DescribeTopicConfigs(ctx, name))[0].Configs {
			shows = shows || c.Key == "retention.ms" && *c.Value == value
		}
	}
	produce(name, lines[:50], 0)
	ends := must(admin.ListEndOffsets(ctx, name))
	cut := must(admin.DeleteRecords(ctx, ends.Offsets()))
	check("records deleted", cut.Error() == nil)
	starts := must(admin.ListStartOffsets(ctx, name))
	for p := range int32(4) {
		s, _ := starts.Lookup(name, p)
		e, _ := ends.Lookup(name, p)
		check("the start is the end now", s.Offset == e.Offset)
	}
	check("groups are listed", len(must(admin.ListGroups(ctx))) > 0)
	check("log directories", len(must(admin.DescribeAllLogDirs(ctx, nil))) == 1)
	check("deleted", must(admin.DeleteTopics(ctx, name))[name].Err == nil)
	check("deleted before", errors.Is(must(admin.DeleteTopics(ctx, name))[name].Err, kerr.UnknownTopicOrPartition))
}

func main() {
	defer cancel()
	lines = bytes.Split(bytes.TrimSpace(must(os.ReadFile(os.Args[2]))), []byte("\n"))
	admin = kadm.NewClient(client())
	everyCodecAndAcks()
	groupOfThree("cooperative", kgo.CooperativeStickyBalancer())
	groupOfThree("range", kgo.RangeBalancer())
	byTime()
	administration()
	fmt.Println("franz ok")
}
