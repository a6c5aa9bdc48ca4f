package ledger

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// Ledger folds the records of traffic-raw, traffic-events and traffic-rejects, and says at the end what does not fit.
//
// Records of one partition come in the order of their offsets; partitions and topics may be interleaved in any way. It
// is cheapest to give it traffic-raw first: an outcome that comes before its raw record is kept whole until then. No
// record is kept otherwise: 20 bytes remain of each raw record (8 for each 4 KiB besides of one above 64 KiB), about 40 of
// each window, 32 of each redrive, and the readings of each sensor's remembered windows at 24 bytes each.
//
// Records are not changed and not kept. A Ledger is not safe for concurrent use.
type Ledger struct {
	o    Options
	x    Extent
	hash digester

	raw     []rawPartition
	events  []outcomePartition
	rejects []outcomePartition
	sensors map[string]*sensor

	names   []string // of sensors seen in traffic-raw, by number
	numbers map[string]uint32
	early   map[codecs.Source][]earlyOutcome

	redrives map[spot]spot              // by the source of the reject, where it was sent again
	large    map[codecs.Source]*outline // raw records of which a reject may hold a part

	partitioner kgo.TopicPartitioner
	totals      Totals
	exceptions  []Exception
	byKind      map[Kind]int64
}

// namesMax bounds the names of sensors that are kept, so that a flood of invented ids does not fill the memory. Beyond
// it exceptions of raw records do not name their sensor.
const namesMax = 1 << 20

// New returns an empty ledger for what the extent holds. Decoder and ParseSensor of the options must be set.
func New(o Options, x Extent) (*Ledger, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("options of the ledger: %w", err)
	}
	if err := x.Validate(); err != nil {
		return nil, fmt.Errorf("extent of the ledger: %w", err)
	}
	l := &Ledger{
		o:           o,
		x:           x,
		hash:        newDigester(),
		raw:         make([]rawPartition, len(x.Raw)),
		events:      make([]outcomePartition, len(x.Events)),
		rejects:     make([]outcomePartition, len(x.Rejects)),
		sensors:     make(map[string]*sensor),
		names:       []string{""},
		numbers:     make(map[string]uint32),
		early:       make(map[codecs.Source][]earlyOutcome),
		redrives:    make(map[spot]spot),
		large:       make(map[codecs.Source]*outline),
		partitioner: kgo.StickyKeyPartitioner(nil).ForTopic(o.RawTopic),
		byKind:      make(map[Kind]int64),
	}
	for p := range l.raw {
		l.raw[p] = newRawPartition(x.Raw[p], x.ExpiredUntil)
	}
	for p, s := range x.Events {
		l.events[p].next = s.Start
	}
	for p, s := range x.Rejects {
		l.rejects[p].next = s.Start
	}
	return l, nil
}

// number returns the number of a sensor's name, 0 where it is not kept.
func (l *Ledger) number(id string) uint32 {
	n, ok := l.numbers[id]
	if !ok && id != "" && len(l.names) <= namesMax {
		id = strings.Clone(id)
		n = uint32(len(l.names))
		l.names = append(l.names, id)
		l.numbers[id] = n
	}
	return n
}

// partitionOf is where the Java client's murmur2 places a key.
func (l *Ledger) partitionOf(key string, partitions int) int32 {
	return int32(l.partitioner.Partition(&kgo.Record{Key: []byte(key)}, partitions))
}

func (l *Ledger) place(topic string, r *kgo.Record) codecs.Source {
	return codecs.Source{Topic: topic, Partition: r.Partition, Offset: r.Offset}
}

// header returns the value of the last header of this name: where a writer repeats one, that is what readers with maps
// see.
func header(r *kgo.Record, name string) (string, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return string(r.Headers[i].Value), true
		}
	}
	return "", false
}

func headerMillis(r *kgo.Record, name string) (int64, error) {
	text, ok := header(r, name)
	if !ok {
		return 0, fmt.Errorf("the header %s is missing", name)
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the header %s is %.32q, not epoch milliseconds", name, text)
	}
	return ms, nil
}
