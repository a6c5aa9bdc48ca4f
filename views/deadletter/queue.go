package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
)

// Options say where the topics are.
type Options struct {
	Topics  processors.Topics
	Client  []kgo.Opt // how to reach the brokers: seeds, TLS, SASL
	Decoder Decoder

	// Stall is how long the brokers may give nothing before a reading fails. An open transaction on traffic-raw holds
	// the records behind it back.
	Stall time.Duration

	// Progress is called from time to time with offsets read and to read. It may be nil.
	Progress func(stage string, done, total int64)

	Now func() time.Time
}

// DefaultOptions are those of the contract. Client and Decoder remain to be set.
func DefaultOptions() Options {
	return Options{Topics: processors.DefaultTopics(), Stall: 30 * time.Second, Now: time.Now}
}

// Stages that Progress is told of.
const (
	StageRejects  = "rejects"
	StageRedrives = "redrives"
	StageOutcomes = "outcomes"
)

// Queue is traffic-rejects, with what became of its records.
type Queue struct {
	o      Options
	client *kgo.Client
	adm    *kadm.Client
}

// Open connects to the brokers; the topics must exist.
func Open(ctx context.Context, o Options) (*Queue, error) {
	client, err := kgo.NewClient(o.Client...)
	if err != nil {
		return nil, fmt.Errorf("options of the client: %w", err)
	}
	q := &Queue{o: o, client: client, adm: kadm.NewClient(client)}
	if err := q.checkTopics(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return q, nil
}

// Close drops the connections.
func (q *Queue) Close() { q.client.Close() }

// Selection is what a filter means at one moment. What is rejected later is not part of it, so that a message that is
// redriven and rejected again is not redriven in the same run.
type Selection struct {
	Rejects int64           // how many
	Oldest  int64           // their first arrival, epoch milliseconds; 0 where there are none
	Missing []codecs.Source // what the filter names and no reject is

	filter  Filter
	rejects spans
}

// clockSkew is by how much the clock that stamped a raw record may be ahead of the one that stamped its reject. Brokers
// refuse records from more than an hour ahead.
const clockSkew = 2 * time.Hour

// Select finds what a filter means.
func (q *Queue) Select(ctx context.Context, f Filter) (*Selection, error) {
	topic := string(q.o.Topics.Rejects)
	all, err := q.bounds(ctx, topic)
	if err != nil {
		return nil, err
	}
	s := &Selection{filter: f, Missing: slices.Clone(f.Sources)}
	if s.rejects, err = q.since(ctx, topic, all, f.Since-clockSkew.Milliseconds()); err != nil {
		return nil, err
	}
	err = q.each(ctx, StageRejects, s, func(j *Reject) error {
		s.Rejects++
		if s.Oldest == 0 || j.ReceivedAt < s.Oldest {
			s.Oldest = j.ReceivedAt
		}
		s.Missing = slices.DeleteFunc(s.Missing, j.isAt)
		return nil
	})
	return s, err
}

// each gives the rejects of a selection to a function, each once, decoded where that is possible, in the order of each
// partition. What is no reject of Gantry is passed over.
func (q *Queue) each(ctx context.Context, stage string, s *Selection, do func(*Reject) error) error {
	seen := make(offsets)
	topics := map[string]spans{string(q.o.Topics.Rejects): s.rejects}
	return q.read(ctx, stage, topics, func(r *kgo.Record) error {
		j, err := Parse(r)
		if err != nil || !s.filter.mayAdmit(j) {
			return nil
		}
		j.Decode(ctx, q.o.Decoder)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !s.filter.admits(j) || !seen.add(j.Source) {
			return nil
		}
		return do(j)
	})
}

// search looks for the redrives of everything that arrived at this time, in epoch milliseconds, or later. Where ms is 0
// it looks for all of them.
func (q *Queue) search(ctx context.Context, ms int64) (*index, error) {
	topic := string(q.o.Topics.Raw)
	all, err := q.bounds(ctx, topic)
	if err != nil {
		return nil, err
	}
	late, err := q.since(ctx, topic, all, ms)
	if err != nil {
		return nil, err
	}
	parts := make([]searched, len(all))
	for p := range parts {
		parts[p] = searched{start: all[p].from, from: late[p].from}
	}
	x := newIndex(topic, parts)
	return x, q.read(ctx, StageRedrives, map[string]spans{topic: late}, func(r *kgo.Record) error {
		x.add(r)
		return nil
	})
}

// Entry is a reject, and where it was redriven to.
type Entry struct {
	*Reject
	Redriven *codecs.Source // on traffic-raw; nil where it was not
}

// List gives the rejects of a selection to a function, each once, in the order of each partition of traffic-rejects.
func (q *Queue) List(ctx context.Context, s *Selection, each func(Entry) error) error {
	if s.Rejects == 0 {
		return nil
	}
	x, err := q.search(ctx, s.Oldest)
	if err != nil {
		return err
	}
	return q.each(ctx, StageRejects, s, func(j *Reject) error {
		e := Entry{Reject: j}
		if at, ok := x.find(j.Source); ok {
			e.Redriven = &at
		}
		return each(e)
	})
}

// ErrNotFound says that no reject is at the place, or of the raw record, that was named.
var ErrNotFound = errors.New("no such reject")
