package views

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
	"golang.org/x/sync/errgroup"

	"gantry/processors"
	"gantry/views/api"
)

// viewed are the tables that have a view, in the order of the data.
var viewed = []goka.Table{processors.DedupTable, processors.WindowTable}

// Tables runs views of the tables and fills a directory from them.
type Tables struct {
	Directory *Directory
	// WindowsOnly leaves the sensors' metadata and the publishing of changes out: a process that serves nobody needs the
	// directory for silences alone.
	WindowsOnly bool
	Kafka       processors.Kafka
	Monitor     Monitor
	Logger      *slog.Logger

	mu      sync.Mutex
	views   map[goka.Table]map[int32]*tableView
	starts  map[goka.Table]map[int32]int64 // where the changelogs began when the views started
	targets map[goka.Table]map[int32]int64 // ends that each view must have read to be caught up
	ready   bool
}

// Run follows the tables until ctx ends.
func (t *Tables) Run(ctx context.Context) error {
	updates := map[goka.Table]func(string, []byte) error{processors.WindowTable: t.Directory.updateWindow}
	if !t.WindowsOnly {
		updates[processors.DedupTable] = t.Directory.updateDedup
	}
	t.mu.Lock()
	t.views = make(map[goka.Table]map[int32]*tableView)
	for table := range updates {
		t.views[table] = make(map[int32]*tableView)
	}
	t.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	for table, update := range updates {
		g.Go(func() error {
			return processors.RunView(ctx, processors.ViewOptions{
				Kafka: t.Kafka, Topic: table, Logger: t.Logger.With("component", "view", "topic", string(table)),
				Storage: func(_ string, p int32) (storage.Storage, error) {
					v := newTableView(p, update)
					t.mu.Lock()
					t.views[table][p] = v
					t.mu.Unlock()
					return v, nil
				},
			})
		})
	}
	g.Go(func() error { return t.catchUp(ctx) })
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("views: %w", err)
	}
	return nil
}

// catchUp waits until the views have read what was in the changelogs when they started. goka's own word is not enough:
// it takes a closed consumer for a finished recovery.
func (t *Tables) catchUp(ctx context.Context) error {
	for {
		o, updated := t.Monitor.Latest()
		if o != nil && t.reached(o) {
			if !t.WindowsOnly {
				t.Directory.goLive()
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-updated:
		}
	}
}

func (t *Tables) reached(o *processors.Offsets) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.targets == nil {
		t.starts = make(map[goka.Table]map[int32]int64)
		t.targets = make(map[goka.Table]map[int32]int64)
		for table := range t.views {
			t.starts[table], t.targets[table] = o.Starts[string(table)], o.Ends[string(table)]
		}
	}
	for table, ends := range t.targets {
		for p, end := range ends {
			if t.views[table][p] == nil || t.at(table, p) < end {
				return false
			}
		}
	}
	t.ready = true
	return true
}

// at returns how far a view is: its next offset, and not before the changelog's first. The caller holds t.mu.
func (t *Tables) at(table goka.Table, p int32) int64 {
	start := t.starts[table][p]
	if v := t.views[table][p]; v != nil {
		return max(start, v.next())
	}
	return start
}

// Next returns the next offset that each partition of a view reads.
func (t *Tables) Next(table goka.Table) map[int32]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := make(map[int32]int64)
	for p, v := range t.views[table] {
		next[p] = v.next()
	}
	return next
}

// Role tells how far the views are.
func (t *Tables) Role() api.Role {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := api.Role{Name: api.RoleServe, Ready: t.ready}
	for _, table := range viewed {
		for _, p := range slices.Sorted(maps.Keys(t.targets[table])) {
			end, at := t.targets[table][p], t.at(table, p)
			r.Partitions = append(r.Partitions, api.Partition{
				Partition: p, Ready: at >= end, Start: t.starts[table][p], Offset: at, End: end, Detail: string(table),
			})
		}
	}
	return r
}
