package store

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// instant acknowledges within Send.
type instant struct{ next map[string]int64 }

func (i instant) Send(r *kgo.Record, acked func(*kgo.Record, error)) {
	r.Offset = i.next[r.Topic]
	i.next[r.Topic]++
	acked(r, nil)
}

func (instant) Close() {}

// BenchmarkLane handles batches of 512 records of 2,000 keys as a stage does: a state changed and an output of 100
// bytes with three headers for each record, and a round closed and sent each 20 batches, about what a linger sees at
// full speed. A round's values are encoded within the measured time; LevelDB is written at its own pace beside it.
func BenchmarkLane(b *testing.B) {
	const keys, batch, batchesARound = 2000, 512, 20
	opts := DefaultOptions()
	opts.Table, opts.Dir, opts.manual = topicTable, b.TempDir(), true
	opts.New, opts.Decode = func() State { return new(counter) }, decodeCounter
	opts.Mark = func(int, int32, int64) {}
	e := NewEngine(opts, instant{make(map[string]int64)})
	defer e.Close()
	tab := e.openTable(0)
	lane := openLane(b, e, tab)
	defer tab.Close()
	names := make([]string, keys)
	for n := range names {
		names[n] = fmt.Sprintf("sensor-%06d", n)
	}
	value := make([]byte, 100)
	b.ReportAllocs()
	offset := int64(0)
	for n := 0; b.Loop(); n++ {
		if err := lane.Begin(); err != nil {
			b.Fatal(err)
		}
		for range batch {
			c, err := lane.Cell(names[offset%keys])
			if err != nil {
				b.Fatal(err)
			}
			s := c.State.(*counter)
			s.seq, s.sum = s.seq+1, s.sum+offset
			o := lane.Output(topicOut, 0)
			o.SetKeyString(c.Key())
			v := append(o.Buffer(), value...)
			o.Own(v)
			o.Value = v
			o.AddHeader("kind", v[:7])
			o.AddHeader("source", v[7:20])
			o.AddHeader("received-at", v[20:33])
			lane.Emit(o)
			lane.Applied(c, offset)
			offset++
		}
		lane.Handled(0, offset-1)
		lane.End()
		if n%batchesARound == batchesARound-1 {
			lane.mu.Lock()
			lane.close()
			lane.mu.Unlock()
			lane.sendReleased()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(offset), "ns/record")
}

func openLane(b *testing.B, e *Engine, t *Table) *Lane {
	b.Helper()
	if err := t.Open(); err != nil {
		b.Fatal(err)
	}
	if err := t.MarkRecovered(); err != nil {
		b.Fatal(err)
	}
	l, err := e.Lane(0)
	if err != nil {
		b.Fatal(err)
	}
	return l
}
