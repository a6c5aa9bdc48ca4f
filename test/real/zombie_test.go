package real

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/processors"
	"gantry/store"
	"gantry/test/harness"
)

// An instance is paused in the middle of a backlog until its session is over, and another one has taken its partitions
// and done everything; then it wakes up and flushes what it had buffered. The changelog ends in values then that are
// older than those before them, which is shown, and nobody has seen it yet, for the other instance is dead.
//
// None of that changes a result of what was processed or of what comes later: whichever disk the next owner has; or
// none at all, so that it recovers from such a changelog; or, later, from one that was compacted.
func TestZombie(t *testing.T) {
	for _, next := range []struct {
		name    string
		owner   func(z *zombie) *member
		compact bool
		long    bool
	}{
		{"on its own disk", func(z *zombie) *member { return z.paused }, true, false},
		{"on the disk of the other", func(z *zombie) *member { return z.other }, false, true},
		{"on an empty disk", func(z *zombie) *member { z.wipe(); return z.other }, false, true},
	} {
		t.Run(next.name, func(t *testing.T) {
			if next.long {
				harness.Long(t)
			}
			z := raise(t)
			owner := next.owner(z)
			z.fleet.start(owner)
			// Sensors of which nothing more comes before compaction have the old value as their last one, unless somebody
			// writes the newer one again.
			z.feed.quiet = next.compact
			z.goOn(zombieMore)
			if next.compact {
				z.compact()
			}
			z.fleet.kill(owner)
			z.wipe()
			z.fleet.start(owner)
			z.feed.quiet = false
			z.goOn(zombieMore)
			harness.Archived(t, brokers(t), z.reader.Outcomes)
			z.fleet.stop(owner)
			z.feed.model.Check(t, z.reader.Outcomes)
			harness.ArchiveHolds(t, z.fleet.archive, z.reader.Outcomes)
			clean(t, slices.Concat(chaosArgs, []string{"--archive", "--archive.url", z.fleet.archive})...)
		})
	}
}

const (
	zombieBacklog = 150_000 // readings
	zombieMore    = 10_000  // of the same sensors, afterwards
	zombieLittle  = 1000
	zombieSensors = 1000
)

var tables = []string{string(processors.DedupTable), string(processors.WindowTable)}

// zombie is a fleet whose members are dead when it is raised, one of them after it has walked in its sleep.
type zombie struct {
	t             *testing.T
	fleet         *fleet
	paused, other *member
	feed          *traffic
	reader        *harness.Reader
}

func raise(t *testing.T) *zombie {
	t.Helper()
	seed := harness.Seed(t)
	freshCluster(t)
	createTopics(t)
	z := &zombie{t: t}
	z.fleet = newFleet(t, chaosFolder(t), freshArchive(t), 0, slices.Concat(chaosArgs, flushSoon)...)
	z.paused, z.other = z.fleet.add(), z.fleet.add()
	z.feed = newTraffic(t, seed, zombieSensors, chaosWindow, time.Now().Add(-10*time.Minute))
	z.feed.burst(t, zombieBacklog)
	z.reader = harness.NewReader(t, brokers(t))

	z.fleet.start(z.paused)
	z.reader.Until(t, "the middle of the backlog", func(o *harness.Outcomes) bool {
		return len(o.Readings) > zombieBacklog/5
	})
	z.fleet.pause(z.paused)
	if n := len(z.reader.Readings); n > zombieBacklog*4/5 {
		t.Fatalf("it had done %d readings when it was paused: there is no backlog any more", n)
	}
	z.fleet.start(z.other)
	z.done()
	z.fleet.kill(z.other)

	z.fleet.resume(z.paused)
	old := 0
	harness.Await(t, "the paused instance to write what it had buffered", func() bool {
		before := old
		old = oldValues(t)
		return old > 0 && old == before
	})
	t.Logf("of %d values in the changelogs the paused instance wrote %d behind newer ones", values(t), old)
	z.fleet.kill(z.paused)
	return z
}

// done waits until everything that was fed is processed.
func (z *zombie) done() {
	z.t.Helper()
	z.reader.Until(z.t, "the end", z.feed.model.Done)
}

// goOn feeds more of the same sensors, some of it for windows that were published long ago.
func (z *zombie) goOn(readings int) {
	z.t.Helper()
	z.feed.burst(z.t, readings)
	z.done()
}

func (z *zombie) wipe() {
	z.t.Helper()
	wipeState(z.t, z.fleet.state(z.paused))
	wipeState(z.t, z.fleet.state(z.other))
}

// compact has the brokers compact the tables at once, as they would after a day, and waits until they have.
func (z *zombie) compact() {
	z.t.Helper()
	alterTables(z.t, map[string]string{
		"min.compaction.lag.ms": "0", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "1000", "segment.bytes": "1048576",
	})
	before := values(z.t)
	harness.Await(z.t, "compaction", func() bool {
		z.goOn(zombieLittle) // a segment is compacted when there is a newer one
		return values(z.t) < before/4
	})
	z.t.Logf("compaction left %d of %d values", values(z.t), before)
}

// alterTables sets configs of the tables' topics.
func alterTables(t *testing.T, configs map[string]string) {
	t.Helper()
	var alter []kadm.AlterConfig
	for name, value := range configs {
		alter = append(alter, kadm.AlterConfig{Name: name, Value: &value})
	}
	altered, err := harness.Admin(t, brokers(t)).AlterTopicConfigs(t.Context(), alter, tables...)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range altered {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
	}
}

// eachValue reads the changelogs as they are.
func eachValue(t *testing.T, each func(r *kgo.Record)) {
	t.Helper()
	adm := harness.Admin(t, brokers(t))
	ends, err := adm.ListEndOffsets(t.Context(), tables...)
	if err != nil {
		t.Fatal(err)
	}
	left := make(map[string]map[int32]int64) // partitions that are not read to their end
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			if left[o.Topic] == nil {
				left[o.Topic] = make(map[int32]int64)
			}
			left[o.Topic][o.Partition] = o.Offset
		}
	})
	client := harness.Consumer(t, brokers(t), tables...)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("the changelogs cannot be read to their ends: %v", left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset < ends[r.Topic][r.Partition].Offset {
				each(r)
			}
			if r.Offset+1 >= left[r.Topic][r.Partition] {
				delete(left[r.Topic], r.Partition)
			}
		})
		maps.DeleteFunc(left, func(_ string, parts map[int32]int64) bool { return len(parts) == 0 })
	}
}

func values(t *testing.T) (n int) {
	t.Helper()
	eachValue(t, func(*kgo.Record) { n++ })
	return n
}

// oldValues counts the values in the changelogs that have applied less than one before them of the same key.
func oldValues(t *testing.T) (n int) {
	t.Helper()
	type key struct{ table, sensor string }
	newest := make(map[key]int64)
	eachValue(t, func(r *kgo.Record) {
		applied, _, err := store.SplitValue(r.Value)
		if err != nil {
			t.Fatalf("%s/%d/%d: %v", r.Topic, r.Partition, r.Offset, err)
		}
		k := key{r.Topic, string(r.Key)}
		if before, ok := newest[k]; ok && applied < before {
			n++
		}
		newest[k] = max(newest[k], applied)
	})
	return n
}
