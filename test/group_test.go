package test

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/feed"
	"gantry/processors"
	"gantry/test/harness"
)

// Three processes share the partitions of a group; one leaves in the middle, another joins later. Partitions move with
// their tables, and the results are those of one process.
func TestGroup(t *testing.T) {
	t.Parallel()
	u := reference(t)
	e := embedded(t, t.TempDir())
	defer e.Close()

	members := make([]*member, 4)
	var together errgroup.Group // on a fresh cluster, where all of them create the topics
	for i := range 3 {
		together.Go(func() (err error) {
			members[i], err = join(t, e)
			return err
		})
	}
	if err := together.Wait(); err != nil {
		t.Fatal(err)
	}
	file, err := feed.ReadFile(u.path, "")
	if err != nil {
		t.Fatal(err)
	}
	feeding := publish(t, e, file)

	readings := len(u.outcomes.Readings)
	harness.Follow(t, e.Kafka.ListenAddrs(), func(o *harness.Outcomes) bool { return len(o.Readings) >= readings/4 })
	members[0].leave(t)
	seen := harness.Follow(t, e.Kafka.ListenAddrs(), func(o *harness.Outcomes) bool {
		return len(o.Readings) >= readings/2
	})
	if members[3], err = join(t, e); err != nil {
		t.Fatal(err)
	}
	if u.complete(seen) {
		t.Error("the replay is over: nobody came or went in the middle")
	}
	harness.Follow(t, e.Kafka.ListenAddrs(), u.complete)
	if err := <-feeding; err != nil {
		t.Errorf("feed: %v", err)
	}
	for i, m := range members {
		m.leave(t)
		n := m.app.Counts()
		t.Logf("member %d handled %d records, %d of them again, and published windows: %v", i, n.Read, n.Repeat,
			n.WindowsPublished)
		if n.Read == 0 {
			t.Errorf("member %d had nothing to do", i)
		}
	}
	o, report := read(t, e)
	clean(t, report)
	u.same(t, o)
}

// member is a process of the group, without the views and the archive.
type member struct {
	app    *app.App
	cancel context.CancelFunc
	ended  chan error
}

func join(t *testing.T, e *app.Embedded) (*member, error) {
	c := settings()
	c.Kafka.Brokers, c.Registry.URL, c.State.Dir = e.Kafka.ListenAddrs(), e.Registry.URL(), t.TempDir()
	a, err := app.New(t.Context(), app.Options{
		Config: c, Roles: []app.Role{app.RoleDedup, app.RoleWindow}, Dynamic: true, Forever: true, Logger: harness.LogTo(t),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{app: a, cancel: cancel, ended: make(chan error, 1)}
	go func() { m.ended <- a.Run(ctx) }()
	t.Cleanup(func() { m.leave(t) })
	return m, nil
}

func (m *member) leave(t *testing.T) {
	t.Helper()
	if m.ended == nil {
		return
	}
	m.cancel()
	select {
	case err := <-m.ended:
		if err != nil {
			t.Errorf("a member ended with %v", err)
		}
	case <-time.After(harness.StopPatience):
		t.Errorf("a member has not stopped within %v", harness.StopPatience)
	}
	m.ended = nil
}

// publish replays a file in the background, as JSON, in a few seconds.
func publish(t *testing.T, e *app.Embedded, file *feed.File) (ended chan error) {
	t.Helper()
	conn := processors.Kafka{Brokers: e.Kafka.ListenAddrs()}.Options()
	sensors, err := file.Sensors()
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := feed.NewReplay(t.Context(), conn, file, feed.ReplayOptions{
		Topic: harness.RawTopic, Wire: feed.WireJSON, Speed: 1800, Rebase: feed.RebaseNone,
		WindowLength: settings().Window.Length, Sensors: sensors, Clock: feed.SystemClock{},
	})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() {
		defer publisher.Close()
		defer rows.Close()
		ended <- publisher.Publish(t.Context(), rows)
	}()
	return ended
}
