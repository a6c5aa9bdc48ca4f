package store

import (
	"fmt"
	"slices"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
)

// watcher is another process that keeps a standby of the partition.
type watcher struct {
	w       *world
	disk    *disk
	standby *Standby
}

func (w *world) watch(d *disk) {
	opts := DefaultOptions()
	opts.Table, opts.FlushInterval = topicTable, time.Hour
	opts.openDB = func(int32) (*leveldb.DB, error) { return d.db, nil }
	engine := NewEngine(opts, &instance{})
	engine.omit = w.omit | w.watcherOmit
	s, err := engine.OpenStandby(0)
	must(w.t, err)
	w.watcher = &watcher{w: w, disk: d, standby: s}
}

// follow applies the next record of the changelog, if there is one.
func (x *watcher) follow() bool {
	next := x.standby.Next()
	log := x.w.logs[topicTable]
	if next >= int64(len(log)) {
		return false
	}
	must(x.w.t, x.standby.Apply(log[next].key, []byte(log[next].value), next))
	return true
}

// step does one random thing. Its choices are not taken from the world's, so that a schedule is the same with and
// without it.
func (x *watcher) step() {
	switch x.w.watching.IntN(6) {
	case 0, 1, 2:
		x.follow()
	case 3:
		must(x.w.t, x.standby.table.Flush())
	case 4: // killed and started again
		x.stop()
		x.w.watch(x.disk)
	}
}

// stop ends it as kill -9 does.
func (x *watcher) stop() {
	x.standby.table.Abandon()
}

// promote lets the standby's process own the partition, from where it happens to be: behind what is in flight, or
// level with it.
func (w *world) promote() {
	x := w.watcher
	if w.watching.IntN(2) == 0 {
		must(w.t, x.standby.table.Flush()) // as its Close does; else its process dies and comes back
	}
	x.stop()
	w.start(x.disk)
}

var standbyFaults = []fault{
	{"crash, the standby takes over", func(w *world) {
		d := w.owner.disk
		w.crash()
		w.promote()
		w.watch(d) // the dead one comes back and stands by
	}},
	{"paused, the standby takes over", func(w *world) {
		w.pause()
		w.promote()
		w.watch(w.newDisk())
	}},
	{"paused, overtaken by the standby, stands by itself, takes over again", func(w *world) {
		first := w.owner
		w.pause()
		w.promote()
		w.watch(w.newDisk())
		for range 40 {
			w.step()
		}
		w.watcher.stop()
		w.wake(first)
		w.watch(first.disk)
		for range 40 {
			w.step()
		}
		w.crash()
		w.promote()
		w.watch(w.newDisk())
	}},
	{"paused, taken over, woken, the standby takes over before the repair", func(w *world) {
		first := w.owner
		w.pause()
		w.start(w.newDisk())
		w.others = slices.DeleteFunc(w.others, func(i *instance) bool { return i == first })
		for range 60 {
			w.step()
		}
		first.closeRound()
		for first.deliver(topicOut) || first.ack(topicOut) {
		}
		first.lane.sendReleased()
		w.wake(first)
		for range w.watching.IntN(40) {
			w.watcher.step()
		}
		w.crash()
		w.promote()
		w.watch(w.newDisk())
	}},
	{"the standby takes over, and over from the one that takes over from it", func(w *world) {
		for range 3 {
			d := w.owner.disk
			w.crash()
			w.promote()
			w.watch(d)
			for range 20 {
				w.step()
			}
		}
	}},
}

// checkStandby lets the standby read to the end of the changelog and take over: it must hold what the owner does.
func (w *world) checkStandby(want map[string]*counter) error {
	for w.watcher.follow() {
	}
	must(w.t, w.watcher.standby.table.Flush())
	if at, end := w.watcher.standby.Next(), int64(len(w.logs[topicTable])); at != end {
		return fmt.Errorf("standby: it is at %d, the changelog ends at %d", at, end)
	}
	w.crash()
	w.promote()
	w.watch(w.newDisk())
	w.settle()
	return w.compare("standby", want)
}
