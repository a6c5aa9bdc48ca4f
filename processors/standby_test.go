package processors

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/store"
)

// process is a member with a counting stage.
type process struct {
	*Stage
	metrics *prometheus.Registry
	end     context.CancelCauseFunc
	done    chan error
}

// startProcess starts a static member of the dedup group, so that what looks at groups finds it.
func startProcess(t *testing.T, k Kafka, instance string, stand bool) *process {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	k.Instance = instance
	p := &process{
		Stage: countingStage(t, k, filepath.Join(t.TempDir(), instance)), metrics: prometheus.NewRegistry(), end: cancel,
		done: make(chan error, 1),
	}
	p.Group, p.Standby, p.Metrics = DedupGroup, stand, p.metrics
	go func() { p.done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel(nil)
		<-p.done
	})
	return p
}

// stop ends it with a cause, nil for a stop that keeps its place.
func (p *process) stop(t *testing.T, cause error) {
	t.Helper()
	p.end(cause)
	err := <-p.done
	p.done <- err
	if err != nil {
		t.Fatal(err)
	}
}

// recovered is how many records of the changelog were read while a partition waited.
func (p *process) recovered(t *testing.T) float64 {
	t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "stream_processor_recovered_records_total" {
			return f.Metric[0].Counter.GetValue()
		}
	}
	return 0
}

// sharedBroker has the topics of the dedup group, and an admin.
func sharedBroker(t *testing.T) (Kafka, *kadm.Client) {
	t.Helper()
	k := broker(t)
	adm, err := k.Admin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adm.Close)
	table := TopicSpec{Name: string(DedupTable), Partitions: 5, Configs: map[string]string{"cleanup.policy": "compact"}}
	if _, err := EnsureTopics(t.Context(), adm, []TopicSpec{table}); err != nil {
		t.Fatal(err)
	}
	return k, adm
}

func tableEnds(t *testing.T, adm *kadm.Client) map[int32]int64 {
	t.Helper()
	ends, err := listed(adm.ListEndOffsets(t.Context(), string(DedupTable)))
	if err != nil {
		t.Fatal(err)
	}
	return ends[string(DedupTable)]
}

// level waits until the process has, as owner or as standby, what is in the changelog, of which nothing is in flight.
func (p *process) level(t *testing.T, adm *kadm.Client) {
	t.Helper()
	eventually(t, "the standby is level with the changelog", func() bool {
		at := p.Followed()
		for part, end := range tableEnds(t, adm) {
			if !slices.Contains(p.Owned(), part) && at[part] != end {
				return false
			}
		}
		return true
	})
}

// A process that takes partitions over, or joins, reads nothing of the changelog that its standby has read, and without
// a standby all of it. Nothing is counted twice or lost on the way.
func TestTakeover(t *testing.T) {
	for _, stand := range []bool{true, false} {
		t.Run(fmt.Sprintf("standby %v", stand), func(t *testing.T) {
			k, adm := sharedBroker(t)
			const keys, each = 100, 60
			a := startProcess(t, k, "p-0", stand)
			eventually(t, "the first has all", func() bool { return len(a.Owned()) == 5 })
			produce(t, k, 0, keys*each/3, keys)
			verifyOut(t, k, keys, each/3)
			b := startProcess(t, k, "p-1", stand)
			eventually(t, "the second has some", func() bool {
				return shared([]*Stage{a.Stage, b.Stage}) && b.Recovered()
			})
			joined := b.recovered(t)
			produce(t, k, keys*each/3, keys*each*2/3, keys)
			verifyOut(t, k, keys, each*2/3)
			if stand {
				b.level(t, adm)
			}
			a.stop(t, ErrLeaving)
			eventually(t, "the second has all", func() bool { return len(b.Owned()) == 5 && b.Recovered() })
			took := b.recovered(t) - joined
			if stand && joined+took > 0 {
				t.Errorf("%v records were recovered at the start, %v at the takeover", joined, took)
			}
			if !stand && (joined == 0 || took == 0) {
				t.Errorf("%v and %v records were recovered without a standby: the test sees nothing", joined, took)
			}
			produce(t, k, keys*each*2/3, keys*each, keys)
			verifyOut(t, k, keys, each)
		})
	}
}

// standbyEngine returns an engine of the dedup group, to open standbys with.
func standbyEngine(t *testing.T, k Kafka) *store.Engine {
	t.Helper()
	opts := store.DefaultOptions()
	opts.Group, opts.Table, opts.Dir = string(DedupGroup), string(DedupTable), t.TempDir()
	transport, err := store.NewKafkaTransport(1_000_000, nil, opts.RecordBytesMax, k.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	engine := store.NewEngine(opts, transport)
	t.Cleanup(engine.Close)
	return engine
}

// A partition that cannot be opened costs itself its standby, and nothing else.
func TestStandbyFails(t *testing.T) {
	k, adm := sharedBroker(t)
	const keys, each, broken = 50, 20, 2
	a := startProcess(t, k, "p-0", false)
	produce(t, k, 0, keys*each, keys)
	verifyOut(t, k, keys, each)
	a.stop(t, nil)

	engine := standbyEngine(t, k)
	s := newStandby(k, adm, string(DedupTable), 5, func(p int32) (*store.Standby, error) {
		if p == broken {
			return nil, errors.New("no space left on device")
		}
		return engine.OpenStandby(p)
	}, logger(t), nil)
	defer s.close()
	if err := s.ahead(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := s.position()
	for p, end := range tableEnds(t, adm) {
		if next, ok := at[p]; ok == (p == broken) || ok && next != end {
			t.Errorf("partition %d: %d, %v; the changelog ends at %d", p, next, ok, end)
		}
	}
}

// A changelog with a batch that is not unpacked costs its partition the standby; it is asked for again after a while, and
// not at once and for ever.
func TestStandbyBeforeHugeBatch(t *testing.T) {
	k, adm := sharedBroker(t)
	const broken = 2
	crowd := make([]*kgo.Record, 20_000)
	for i := range crowd {
		crowd[i] = &kgo.Record{Topic: string(DedupTable), Partition: broken, Key: []byte("hostile")}
	}
	packedTogether(t, k, crowd)
	k.BatchBytesMax = 1 << 20
	reg := prometheus.NewRegistry()
	s := newStandby(k, adm, string(DedupTable), 5, standbyEngine(t, k).OpenStandby, logger(t), reg)
	defer s.close()
	if err := s.ahead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.position()[broken]; ok || len(s.position()) != 4 {
		t.Errorf("it follows %v", s.position())
	}
	if trouble := s.trouble.Trouble(); !strings.Contains(trouble, "kafka.batchBytesMax") {
		t.Errorf("trouble: %q", trouble)
	}
	var m dto.Metric
	if err := Errors(reg).WithLabelValues(ErrorBatch).Write(&m); err != nil || m.GetCounter().GetValue() != 1 {
		t.Errorf("it was met %v times, %v", m.GetCounter().GetValue(), err)
	}
}

// instances lists who is in the dedup group, by name.
func instances(t *testing.T, adm *kadm.Client) (names []string) {
	t.Helper()
	members, _, err := Members(t.Context(), adm)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		names = append(names, m.Instance)
	}
	return names
}

// A process that stops keeps its place, so that its restart moves nothing; one that leaves, or is removed, gives its
// partitions to the others. One that runs cannot be removed.
func TestLeave(t *testing.T) {
	k, adm := sharedBroker(t)
	a, b, c := startProcess(t, k, "p-0", true), startProcess(t, k, "p-1", true), startProcess(t, k, "p-2", true)
	eventually(t, "three have some", func() bool { return shared([]*Stage{a.Stage, b.Stage, c.Stage}) })

	c.stop(t, ErrLeaving)
	if got := instances(t, adm); slices.Contains(got, "p-2") {
		t.Errorf("members are %v after p-2 has left", got)
	}
	eventually(t, "two have all", func() bool { return shared([]*Stage{a.Stage, b.Stage}) })

	had := a.Owned()
	a.stop(t, nil)
	if got := instances(t, adm); !slices.Contains(got, "p-0") {
		t.Errorf("members are %v after p-0 was stopped", got)
	}
	moved, err := RemoveMember(t.Context(), adm, "p-0")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range moved {
		if want := (Move{Group: string(DedupGroup), Partition: had[i], To: "p-1"}); m != want {
			t.Errorf("moved %+v, want %+v", m, want)
		}
	}
	eventually(t, "one has all", func() bool { return len(b.Owned()) == 5 })

	if _, err := RemoveMember(t.Context(), adm, "p-1"); !errors.Is(err, ErrRuns) {
		t.Errorf("removed a process that runs: %v", err)
	}
	eventually(t, "it has all again", func() bool { return len(b.Owned()) == 5 })
	if _, err := RemoveMember(t.Context(), adm, "p-9"); !errors.Is(err, ErrNoMember) {
		t.Errorf("removed a process that is not there: %v", err)
	}
}
