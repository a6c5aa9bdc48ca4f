package harness

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/processors"
)

// Admin asks and commands brokers.
func Admin(t *testing.T, brokers []string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(processors.Kafka{Brokers: brokers}.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// Consumer reads topics from the first record on.
func Consumer(t *testing.T, brokers []string, topics ...string) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(processors.Kafka{Brokers: brokers}.Options(), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Reader follows the outcomes from the first on. Brokers may come and go meanwhile.
type Reader struct {
	client *kgo.Client
	*Outcomes
	Seen func(r *kgo.Record) // each record that is read; nil is fine
}

// NewReader starts a reader; it ends with the test.
func NewReader(t *testing.T, brokers []string) *Reader {
	t.Helper()
	client := Consumer(t, brokers, EventsTopic, RejectsTopic)
	t.Cleanup(client.Close)
	return &Reader{client: client, Outcomes: NewOutcomes()}
}

// Until reads on until done holds for what was read.
func (r *Reader) Until(t *testing.T, what string, done func(*Outcomes) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for !done(r.Outcomes) {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("waited %v for %s with %d readings, %d rejects, %d windows, %d readings in windows", Patience, what,
				len(r.Readings), len(r.Rejects), len(r.Final), r.Counted())
		}
		fetches.EachRecord(func(record *kgo.Record) {
			r.Add(t, record)
			if r.Seen != nil {
				r.Seen(record)
			}
		})
	}
}

// Follow reads the outcomes from the first, until done holds for what was read.
func Follow(t *testing.T, brokers []string, done func(*Outcomes) bool) *Outcomes {
	t.Helper()
	r := NewReader(t, brokers)
	defer r.client.Close()
	r.Until(t, "more outcomes", done)
	return r.Outcomes
}

// Archived waits until the archive holds what was read of traffic-events. Where the archiver is, its group shows.
func Archived(t *testing.T, brokers []string, o *Outcomes) {
	t.Helper()
	adm := Admin(t, brokers)
	Await(t, "the archive", func() bool {
		at, err := adm.FetchOffsets(t.Context(), string(processors.ArchiveGroup))
		if err != nil {
			return false
		}
		for p, last := range o.Last {
			if c, ok := at.Lookup(EventsTopic, p); !ok || c.At <= last {
				return false
			}
		}
		return true
	})
}
