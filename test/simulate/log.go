package simulate

import (
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
)

// partitions of each topic. Two are enough for what depends on more than one: ends that a crash leaves apart, an engine
// that fails for one and takes the other along, an archive of several chains.
const partitions = 2

var topics = func() processors.Topics {
	t := processors.DefaultTopics()
	t.Partitions = partitions
	return t
}()

var (
	topicRaw     = string(topics.Raw)
	topicEvents  = string(topics.Events)
	topicRejects = string(topics.Rejects)
)

// partitionLog is a partition as the brokers hold it. What compaction has removed is nil.
type partitionLog []*kgo.Record

func (l partitionLog) end() int64 { return int64(len(l)) }

// compact keeps the newest record of each key.
func (l partitionLog) compact() (removed int) {
	newest := make(map[string]bool)
	for i := len(l) - 1; i >= 0; i-- {
		switch {
		case l[i] == nil:
		case newest[string(l[i].Key)]:
			l[i] = nil
			removed++
		default:
			newest[string(l[i].Key)] = true
		}
	}
	return removed
}

// broker holds the topics, and what groups have committed. It loses nothing that it has acknowledged.
type broker struct {
	logs      map[string]*[partitions]partitionLog
	committed [roles][partitions]int64
}

func newBroker() *broker {
	b := &broker{logs: make(map[string]*[partitions]partitionLog)}
	for _, t := range []string{
		topicRaw, topicEvents, topicRejects, string(processors.DedupTable), string(processors.WindowTable),
	} {
		b.logs[t] = new([partitions]partitionLog)
	}
	return b
}

func (b *broker) log(topic string, partition int32) partitionLog { return b.logs[topic][partition] }

// append stores a copy of a record: the sender may use its memory again once it is acknowledged.
func (b *broker) append(r *kgo.Record, arrived int64) *kgo.Record {
	log := &b.logs[r.Topic][r.Partition]
	stored := &kgo.Record{
		Topic: r.Topic, Partition: r.Partition, Offset: log.end(), Timestamp: time.UnixMilli(arrived),
		Key: clone(r.Key), Value: clone(r.Value), Headers: make([]kgo.RecordHeader, len(r.Headers)),
	}
	for i, h := range r.Headers {
		stored.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: clone(h.Value)}
	}
	*log = append(*log, stored)
	return stored
}

// clone copies bytes and leaves null what is null.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func kindOf(r *kgo.Record) codecs.Kind { return codecs.Kind(header(r, codecs.HeaderKind)) }

func ordinalOf(r *kgo.Record) (int64, error) {
	return strconv.ParseInt(header(r, codecs.HeaderOrdinal), 10, 64)
}
