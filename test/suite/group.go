package suite

import (
	"testing"

	"golang.org/x/sync/errgroup"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/feed"
	"gantry/processors"
	"gantry/test/harness"
)

// Group: three processes share the partitions of a group; one leaves in the middle, another joins later. Partitions move
// with their tables, and the results are those of one process.
func (s *Suite) Group(t *testing.T) {
	s.parallel(t)
	u := s.Reference(t)
	servers := s.Install(t, t.TempDir()).Servers(t)
	defer servers.Close()

	members := make([]*member, 4)
	var together errgroup.Group // on a fresh cluster, where all of them create the topics
	for i := range 3 {
		together.Go(func() (err error) {
			members[i], err = join(t, servers)
			return err
		})
	}
	if err := together.Wait(); err != nil {
		t.Fatal(err)
	}
	shared(t, servers, 3)
	file, err := feed.ReadFile(u.Path, "")
	if err != nil {
		t.Fatal(err)
	}
	feeding := publish(t, servers, file)

	readings := len(u.Outcomes.Readings)
	harness.Follow(t, servers.Brokers, func(o *harness.Outcomes) bool { return len(o.Readings) >= readings/4 })
	members[0].Stop()
	seen := harness.Follow(t, servers.Brokers, func(o *harness.Outcomes) bool {
		return len(o.Readings) >= readings/2
	})
	if members[3], err = join(t, servers); err != nil {
		t.Fatal(err)
	}
	if u.Complete(seen) {
		t.Error("the replay is over: nobody came or went in the middle")
	}
	shared(t, servers, 3)
	harness.Follow(t, servers.Brokers, u.Complete)
	if err := <-feeding; err != nil {
		t.Errorf("feed: %v", err)
	}
	for i, m := range members {
		m.Stop()
		n := m.app.Counts()
		t.Logf("member %d handled %d records, %d of them again, and published windows: %v", i, n.Read, n.Repeat,
			n.WindowsPublished)
		if n.Read == 0 && i < 3 { // on a slow machine the replay may be over before the last one has its partitions
			t.Errorf("member %d had nothing to do", i)
		}
	}
	o, report := read(t, servers)
	Clean(t, report)
	u.Same(t, o)
}

// shared waits until so many members share the partitions of traffic-raw.
func shared(t *testing.T, servers *Servers, members int) {
	t.Helper()
	adm := harness.Admin(t, servers.Brokers)
	harness.Await(t, "the members of the group", func() bool {
		described, err := adm.DescribeGroups(t.Context(), string(processors.DedupGroup))
		if err != nil {
			return false
		}
		with := 0
		for _, m := range described[string(processors.DedupGroup)].Members {
			if a, ok := m.Assigned.AsConsumer(); ok && len(a.Topics) > 0 {
				with++
			}
		}
		return with == members
	})
}

// member is a process of the group, without the views and the archive.
type member struct {
	app *app.App
	*harness.Running
}

func join(t *testing.T, s *Servers) (*member, error) {
	c := Settings()
	c.Kafka.Brokers, c.Registry.URL, c.State.Dir = s.Brokers, s.RegistryURL, t.TempDir()
	a, err := app.New(app.Options{
		Config: c, Roles: []app.Role{app.RoleDedup, app.RoleWindow}, Dynamic: true, Forever: true, Logger: harness.LogTo(t),
	})
	if err != nil {
		return nil, err
	}
	return &member{app: a, Running: harness.Background(t, "a member", a.Run)}, nil
}

// publish replays a file in the background, as JSON, in a few seconds.
func publish(t *testing.T, s *Servers, file *feed.File) (ended chan error) {
	t.Helper()
	conn := processors.Kafka{Brokers: s.Brokers}.Options()
	sensors, err := file.Sensors()
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := feed.NewReplay(t.Context(), conn, file, feed.ReplayOptions{
		Topic: harness.RawTopic, Wire: feed.WireJSON, Speed: 1200, Rebase: feed.RebaseNone,
		WindowLength: Settings().Window.Length, Sensors: sensors, Clock: feed.SystemClock{},
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
