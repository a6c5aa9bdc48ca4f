package views

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/processors"
	"gantry/store"
	"gantry/store/archive"
	"gantry/views/api"
)

// Archiver feeds the archive: a goka view for each partition of traffic-events that this process owns. The consumer
// group gives ownership and visible lag; it carries no data, and where the archive goes on is written in the archive
// itself. So a commit that is lost or too old does no harm.
type Archiver struct {
	Kafka   processors.Kafka
	Topic   string
	FS      archive.FS
	Monitor Monitor // says where the log begins and ends
	Options archive.Options
	Logger  *slog.Logger
	Metrics prometheus.Registerer

	outage  *outage
	refused chan error // the archive is another topic's
	mu      sync.Mutex
	feeds   map[int32]*feed
	joined  bool // the group has said once what this process owns
	caught  bool // everything of that was read once up to where the log ended
}

// giveUpMax is how long giving up a partition waits for its feed, which flushes once more. It is less than the group's
// session lasts. A feed that hangs in the file system for longer is left behind: it can do no harm, since whoever takes
// the partition over contends with it for each commit, and what it has not archived is read again.
const giveUpMax = 5 * time.Second

// Run archives until ctx ends, and flushes then. Before that it returns only an archive.ErrForeign.
func (a *Archiver) Run(ctx context.Context) error {
	a.mu.Lock()
	a.feeds = make(map[int32]*feed)
	a.mu.Unlock()
	a.refused = make(chan error, 1)
	a.outage = newOutage(a.Logger.With("component", "archiver"), a.Options.Now)
	store.Register(a.Metrics, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stream_processor_archive_failing_seconds",
		Help: "For how long the archive of a partition of this process has not been writable; 0 while all are.",
	}, a.outage.seconds))
	// The callbacks run while NewClient has not returned yet; they have the client from the group.
	client, err := kgo.NewClient(append(a.Kafka.MemberOptions(processors.ArchiveGroup),
		kgo.ConsumeTopics(a.Topic),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), // goka is not in this group: partitions that stay are left alone
		kgo.OnPartitionsAssigned(func(_ context.Context, c *kgo.Client, parts map[string][]int32) {
			c.PauseFetchTopics(a.Topic) // before the first fetch: the data comes through views
			a.begin(ctx, c, parts[a.Topic])
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			a.end(parts[a.Topic])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			a.end(parts[a.Topic])
		}),
	)...)
	if err != nil {
		return fmt.Errorf("consumer group %s: %w", processors.ArchiveGroup, err)
	}
	var refused error
	select {
	case <-ctx.Done():
	case refused = <-a.refused:
	}
	a.end(a.owned())
	if err := a.Kafka.Leave(ctx, client, processors.ArchiveGroup); err != nil {
		a.Logger.Warn("the process has not left its group", "component", "archiver", "error", err)
	}
	client.Close() // gives up what was assigned meanwhile
	a.end(a.owned())
	return refused
}

// refuse ends Run. The first error does.
func (a *Archiver) refuse(err error) {
	select {
	case a.refused <- err:
	default:
	}
}

func (a *Archiver) begin(ctx context.Context, client *kgo.Client, parts []int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.joined = true
	for _, p := range parts {
		ctx, cancel := context.WithCancel(ctx)
		f := &feed{
			a: a, partition: p, client: client, cancel: cancel,
			done: make(chan struct{}), flushed: make(chan struct{}, 1),
			log: a.Logger.With("component", "archiver", "partition", p),
		}
		a.feeds[p] = f
		go f.run(ctx)
	}
}

func (a *Archiver) end(parts []int32) {
	a.mu.Lock()
	var ending []*feed
	for _, p := range parts {
		if f := a.feeds[p]; f != nil {
			ending = append(ending, f)
			delete(a.feeds, p)
		}
	}
	a.mu.Unlock()
	for _, f := range ending {
		f.cancel()
	}
	timeout := time.NewTimer(giveUpMax)
	defer timeout.Stop()
	for i, f := range ending {
		select {
		case <-f.done:
		case <-timeout.C:
			var left []int32
			for _, f := range ending[i:] {
				left = append(left, f.partition)
			}
			a.Logger.Warn("the archive's file system does not answer; its partitions are given up without a last flush, "+
				"and what it lacks is read again", "component", "archiver", "partitions", left)
			return
		}
	}
}

func (a *Archiver) owned() []int32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var parts []int32
	for p := range a.feeds {
		parts = append(parts, p)
	}
	return parts
}

// Role tells whether the archiver follows the log. It is ready once the group has said what this process owns and every
// partition of it is open, and was read once up to the end that the log had then. A backlog does not take that back,
// nor does a file system that is away: processing goes on, the views are served, and the details of the partitions and
// the metrics say what is wrong.
func (a *Archiver) Role() api.Role {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := api.Role{Name: "archive", Ready: a.joined}
	o, _ := a.Monitor.Latest()
	for _, p := range slices.Sorted(maps.Keys(a.feeds)) {
		part := a.feeds[p].progress(o)
		part.Ready = part.Ready || a.caught
		r.Ready = r.Ready && part.Ready
		r.Partitions = append(r.Partitions, part)
	}
	a.caught = a.caught || r.Ready
	return r
}
