package race

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// markers bounds what grows a partition without a record: the end of a transaction, that of the killed program's too.
const markers = 100

// recovery kills a contender in the middle of a backlog, takes its state folder away, starts it again at once, and
// measures from the kill until it writes, and until a reader of what is committed sees that.
func (s *settings) recovery(t *testing.T, c *contender) result {
	readings := s.Readings / 2
	r := newRig(t, s)
	r.prepare(c)
	truth := r.fill(readings)
	p := c.start(r)
	r.await(p, func() int64 { return int64(readings/2) - r.ends(c.outputs[:1]) })
	killed := time.Now()
	p.End(t, syscall.SIGKILL)
	if err := errors.Join(os.RemoveAll(r.state), os.MkdirAll(r.state, 0o755)); err != nil {
		t.Fatal(err)
	}
	r.drained()
	written, visible := newGrowth(r, r.adm.ListEndOffsets), newGrowth(r, r.adm.ListCommittedOffsets)
	p = c.start(r)
	r.await(p, func() int64 {
		waiting := int64(written.look(r) + visible.look(r))
		if waiting > 0 && r.lag(c, readings) == 0 {
			t.Fatalf("a backlog of %d was over in %d partitions before the kill; take a larger one", readings, waiting)
		}
		return waiting
	})
	res := result{Figures: map[string]float64{
		firstRecord: written.first.Sub(killed).Seconds(), lastPartition: written.last.Sub(killed).Seconds(),
		"first_visible_s": visible.first.Sub(killed).Seconds(), lastVisible: visible.last.Sub(killed).Seconds(),
	}}
	r.await(p, func() int64 { return r.lag(c, readings) })
	p.End(t, syscall.SIGTERM)
	differences := c.check(r, truth)
	if c.safe {
		res.check(t, differences)
	} else {
		res.note(differences) // it promises no more
	}
	return res
}

// drained waits until the broker has written what the killed program had sent: that is not the work of the next.
func (r *rig) drained() {
	r.t.Helper()
	for before := int64(-1); ; {
		after := int64(0)
		r.eachEnd(r.adm.ListEndOffsets, func(_ int32, end int64) { after += end })
		if after == before {
			return
		}
		before = after
		time.Sleep(watchInterval)
	}
}

// listOffsets is one of the ways in which a broker says where partitions end.
type listOffsets func(context.Context, ...string) (kadm.ListedOffsets, error)

// eachEnd passes on where the partitions of traffic-events end.
func (r *rig) eachEnd(list listOffsets, f func(partition int32, end int64)) {
	r.t.Helper()
	ends, err := list(r.t.Context(), "traffic-events")
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { f(o.Partition, o.Offset) })
}

// growth watches traffic-events after a restart.
type growth struct {
	list        listOffsets
	before      map[int32]int64 // by partition that has not grown yet
	first, last time.Time       // when the first and the last of them had grown
}

func newGrowth(r *rig, list listOffsets) *growth {
	r.t.Helper()
	g := &growth{list: list, before: make(map[int32]int64)}
	r.eachEnd(g.list, func(partition int32, end int64) { g.before[partition] = end })
	return g
}

// look returns how many partitions have not grown by a record yet.
func (g *growth) look(r *rig) int {
	r.t.Helper()
	r.eachEnd(g.list, func(partition int32, end int64) {
		if before, waits := g.before[partition]; waits && end > before+markers {
			delete(g.before, partition)
			if g.last = time.Now(); g.first.IsZero() {
				g.first = g.last
			}
		}
	})
	return len(g.before)
}
