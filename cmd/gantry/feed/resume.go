package feed

import (
	"context"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/processors"
)

// Position is how far a feed has been published.
type Position struct {
	Found bool            // whether any of its rows is in the topic
	Shift int64           // how its times were moved; a publisher that goes on uses the same
	Last  map[int32]int64 // by partition, the number of its last row; absent where there is none
}

// has tells whether a row is in its partition already: rows of a partition are published in order.
func (p *Position) has(partition int32, number int64) bool {
	last, ok := p.Last[partition]
	return ok && number <= last
}

// scanStep is how many records at the end of a partition are looked at first; each further look takes scanGrowth times
// more, so that a feed that is not there costs one pass over the topic.
const (
	scanStep   = 512
	scanGrowth = 8
)

// Resume reads the ends of a topic's partitions, back to the last record of the feed with this id, and returns where
// its publishers stopped. Where the feed was published with several shifts, the newest one counts.
func Resume(ctx context.Context, conn []kgo.Opt, topic, id string) (Position, error) {
	client, err := kgo.NewClient(conn...)
	if err != nil {
		return Position{}, err
	}
	defer client.Close()
	left, err := listSpans(ctx, client, topic)
	if err != nil {
		return Position{}, fmt.Errorf("read the ends of %s: %w", topic, err)
	}
	found := make(map[int32]place)
	for step := int64(scanStep); len(left) > 0; step *= scanGrowth {
		look := make(map[int32]span, len(left))
		for p, s := range left {
			look[p] = span{from: max(s.from, s.to-step), to: s.to}
		}
		if err := readSpans(ctx, conn, topic, look, func(r *kgo.Record) {
			if at, ok := placeOf(r, id); ok {
				found[r.Partition] = at
			}
		}); err != nil {
			return Position{}, fmt.Errorf("read the ends of %s: %w", topic, err)
		}
		maps.DeleteFunc(left, func(p int32, s span) bool {
			_, ok := found[p]
			return ok || look[p].from == s.from
		})
		for p, s := range left {
			left[p] = span{from: s.from, to: look[p].from}
		}
	}
	return position(found), nil
}

// span is a range of offsets, without its end.
type span struct{ from, to int64 }

// place is a row of a feed, as a record says it.
type place struct{ shift, number int64 }

func placeOf(r *kgo.Record, id string) (place, bool) {
	for _, h := range r.Headers {
		if h.Key == HeaderFeed {
			f, number, ok := parseHeader(string(h.Value))
			return place{f.Shift, number}, ok && f.ID == id
		}
	}
	return place{}, false
}

func position(found map[int32]place) Position {
	p := Position{Last: make(map[int32]int64)}
	for _, at := range found {
		if !p.Found || at.shift > p.Shift { // a later replay is moved further
			p.Found, p.Shift = true, at.shift
		}
	}
	for partition, at := range found {
		if at.shift == p.Shift {
			p.Last[partition] = at.number
		}
	}
	return p
}

// listSpans gives the partitions that hold records.
func listSpans(ctx context.Context, client *kgo.Client, topic string) (map[int32]span, error) {
	adm := kadm.NewClient(client)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := ends.Error(); err != nil {
		return nil, err
	}
	spans := make(map[int32]span)
	ends.Each(func(end kadm.ListedOffset) {
		start, ok := starts.Lookup(topic, end.Partition)
		if ok && start.Err == nil && start.Offset < end.Offset {
			spans[end.Partition] = span{from: start.Offset, to: end.Offset}
		}
	})
	return spans, nil
}

// readSpans reads ranges of partitions, each in order. Control records are read too, because the last record of a range
// may be one.
func readSpans(ctx context.Context, conn []kgo.Opt, topic string, spans map[int32]span, each func(*kgo.Record)) error {
	from := make(map[int32]kgo.Offset, len(spans))
	for p, s := range spans {
		from[p] = kgo.NewOffset().At(s.from)
	}
	client, err := kgo.NewClient(append(conn[:len(conn):len(conn)],
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.KeepControlRecords())...)
	if err != nil {
		return err
	}
	defer client.Close()
	open := maps.Clone(spans)
	for len(open) > 0 {
		fetches := client.PollFetches(ctx)
		if err := processors.FetchErr(fetches); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			s, ok := open[r.Partition]
			if !ok || r.Offset >= s.to {
				delete(open, r.Partition)
				return
			}
			each(r)
			if r.Offset == s.to-1 {
				delete(open, r.Partition)
			}
		})
	}
	return nil
}
