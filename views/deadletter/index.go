package deadletter

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
)

// index knows the redrives that lie on traffic-raw. Its topic is the same for all, so that places are kept without it.
type index struct {
	topic    string
	redrives map[spot]spot // the reject's source, and where it was redriven to
	parts    []searched
}

// spot is a place on traffic-raw.
type spot struct {
	partition int32
	offset    int64
}

// searched says how far back a partition was looked at.
type searched struct {
	start int64 // the first retained offset
	from  int64 // where the look began
	first int64 // timestamp of the first record that was seen there, epoch milliseconds; 0 where none was
}

func newIndex(topic string, parts []searched) *index {
	return &index{topic: topic, redrives: make(map[spot]spot), parts: parts}
}

// add takes a record of traffic-raw; those of one partition come in the order of their offsets.
func (x *index) add(r *kgo.Record) {
	if p := &x.parts[r.Partition]; p.first == 0 {
		p.first = r.Timestamp.UnixMilli()
	}
	for _, h := range r.Headers {
		if h.Key != codecs.HeaderRedrive {
			continue
		}
		s, err := codecs.ParseSource(string(h.Value))
		if _, known := x.redrives[spotOf(s)]; err == nil && s.Topic == x.topic && !known {
			x.redrives[spotOf(s)] = spot{r.Partition, r.Offset}
		}
	}
}

// find returns where a reject was redriven to.
func (x *index) find(source codecs.Source) (codecs.Source, bool) {
	at, ok := x.redrives[spotOf(source)]
	return codecs.Source{Topic: x.topic, Partition: at.partition, Offset: at.offset}, ok && source.Topic == x.topic
}

// reaches tells whether a redrive of the reject to this partition would have been seen. It would have been written
// behind the reject's own raw record, and after that had arrived. What retention deletes was written before what it
// leaves.
func (x *index) reaches(j *Reject, partition int32) bool {
	switch p := &x.parts[partition]; {
	case p.start == 0 || p.from > p.start:
		return true
	case partition == j.Source.Partition && p.start <= j.Source.Offset+1:
		return true
	default:
		return p.first != 0 && p.first <= j.ReceivedAt
	}
}

func spotOf(s codecs.Source) spot { return spot{s.Partition, s.Offset} }
