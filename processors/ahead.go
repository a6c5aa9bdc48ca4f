package processors

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const scanBytesMax = 1 << 20

// feedAligned hands on the batches of an aligned partition as they are in step, and ahead of them what overtakes. At
// the beginning of a session the whole backlog is scanned for that, before anything of any partition is routed; later,
// a partition that is still behind what lay in it at the answer before the last is scanned on, whether it is held or
// only long.
func (c *claim) feedAligned(a *Alignment) {
	defer c.s.wg.Done()
	defer close(c.messages)
	scan := scanner{a: a, partition: c.partition}
	defer scan.close()
	var held *Batch
	for c.s.ctx.Err() == nil {
		changed := a.Changed() // before looking, so that nothing is missed
		if from, to, ok := a.unscanned(c.partition); ok {
			next, err := scan.run(c.s.ctx, from, to, c.overtake)
			if err == nil {
				a.scanned(c.partition, next)
				continue
			}
			if c.s.ctx.Err() == nil {
				c.s.g.log.Warn("a backlog could not be scanned for what overtakes it, it will be tried again",
					"topic", c.topic, "partition", c.partition, "error", err)
			}
		} else {
			if held == nil {
				held = c.next()
			}
			if held != nil {
				if n, ok := a.pass(held); ok {
					var head *Batch
					head, held = held.cut(n)
					if !c.hand(head) {
						return
					}
					continue
				}
			}
		}
		select {
		case <-c.s.ctx.Done():
		case <-changed:
		case <-c.arrived:
		}
	}
}

// overtake hands on records ahead of their place, and waits until they are routed.
func (c *claim) overtake(records []*kgo.Record) error {
	b := &Batch{
		Topic: c.topic, Partition: c.partition, Records: records, Ahead: true,
		last: records[len(records)-1].Offset, taken: make(chan struct{}),
	}
	if c.hand(b) {
		select {
		case <-b.taken:
			return nil
		case <-c.s.ctx.Done():
		}
	}
	return c.s.ctx.Err()
}

// unscanned returns the offsets that are to be scanned for what overtakes.
func (a *Alignment) unscanned(p int32) (from, to int64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, x := a.tracks[p], a.all[p]
	if t == nil || a.all == nil {
		return 0, 0, false
	}
	next := max(x.next, t.handed)
	switch {
	case t.scanned < 0 && next >= x.end:
		t.scanned = next
		a.changes()
		return 0, 0, false
	case t.scanned >= 0 && next >= a.previous[p]:
		return 0, 0, false
	}
	from = max(next, t.scanned)
	return from, x.end, from < x.end
}

// scanned notes that everything below next that overtakes is routed.
func (a *Alignment) scanned(p int32, next int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tracks[p]; t != nil {
		t.scanned = max(t.scanned, next)
		a.changes()
	}
}

// gone tells whether everything below the offset is routed or deleted.
func (a *Alignment) gone(p int32, offset int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all != nil && a.all[p].next >= offset
}

// scanner reads a partition beside the group, for the records that overtake.
type scanner struct {
	a         *Alignment
	partition int32
	client    *kgo.Client
	next      int64
}

// run reads at least from..to and gives what overtakes to pass, a few at a time. It returns how far it has read.
func (s *scanner) run(ctx context.Context, from, to int64, pass func([]*kgo.Record) error) (next int64, err error) {
	if s.client == nil || s.next != from {
		if err := s.open(from); err != nil {
			return from, err
		}
	}
	for s.next < to {
		found, err := s.poll(ctx)
		if err != nil {
			s.close()
			return from, err
		}
		if len(found) > 0 {
			if err := pass(found); err != nil {
				return from, err
			}
		}
		// Retention may delete what was to be read, and then nothing comes.
		if s.next < to && s.a.gone(s.partition, to) {
			s.close()
			return to, nil
		}
	}
	return s.next, nil
}

func (s *scanner) open(from int64) error {
	s.close()
	client, err := kgo.NewClient(append(s.a.kafka.Options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			s.a.topic: {s.partition: kgo.NewOffset().At(from)},
		}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the end may be the marker of a transaction
		kgo.FetchMaxBytes(scanBytesMax),
		kgo.FetchMaxPartitionBytes(scanBytesMax),
	)...)
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	s.client, s.next = client, from
	return nil
}

func (s *scanner) poll(ctx context.Context) (found []*kgo.Record, err error) {
	wait, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	fetches := s.client.PollFetches(wait)
	if wait.Err() == nil {
		if err := FetchErr(fetches); err != nil {
			return nil, err
		}
	}
	fetches.EachRecord(func(r *kgo.Record) {
		s.next = r.Offset + 1
		if !r.Attrs.IsControl() && s.a.ahead(r) {
			found = append(found, r)
		}
	})
	return found, ctx.Err()
}

func (s *scanner) close() {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
}
