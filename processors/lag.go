package processors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gantry/store"
)

// Input is one of the topics that a group reads.
type Input struct {
	Group goka.Group
	Topic string
}

// Offsets is a snapshot of how far the pipeline is.
type Offsets struct {
	At        time.Time                  // when it was begun
	Starts    map[string]map[int32]int64 // log starts by topic and partition
	Ends      map[string]map[int32]int64 // ends by topic and partition
	Committed map[Input]map[int32]int64  // next offset of each input, 0 where nothing was committed
}

// Lag returns how many records of the input are not done yet.
func (o *Offsets) Lag(in Input) int64 {
	var n int64
	for p, end := range o.Ends[in.Topic] {
		n += max(0, end-max(o.Committed[in][p], o.Starts[in.Topic][p]))
	}
	return n
}

// Reached tells whether the input is done at least up to these ends.
func (o *Offsets) Reached(in Input, ends map[int32]int64) bool {
	for p, end := range ends {
		if o.Committed[in][p] < end && end > o.Starts[in.Topic][p] {
			return false
		}
	}
	return true
}

// Monitor asks the brokers once a second how far the pipeline is: the lag that is shown, what readiness and the silence
// detector wait for. With Watch it looks after the topics too.
type Monitor struct {
	kafka     Kafka
	inputs    []Input
	topics    []string // more topics whose ends are wanted
	lag       *prometheus.GaugeVec
	watch     *topicWatch // nil: nobody wants to know
	condition *Condition

	mu      sync.Mutex
	last    *Offsets
	updated chan struct{}
}

const (
	monitorInterval = time.Second
	monitorPatience = 5 * time.Second // brokers that take longer to answer are said not to
)

// NewMonitor returns a monitor of these inputs, and of the ends of further topics.
func NewMonitor(k Kafka, inputs []Input, topics []string, log *slog.Logger, reg prometheus.Registerer) *Monitor {
	return &Monitor{
		kafka: k, inputs: inputs, topics: topics, updated: make(chan struct{}),
		condition: NewCondition("Kafka cannot be used", log.With("component", "monitor"), reg),
		lag: store.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "stream_processor_consumer_lag", Help: "Records of an input partition that are not committed yet.",
		}, []string{"topic", "partition"})),
	}
}

// Watch makes Run look after the topics of this list, each of which has so many partitions. It is called before Run.
func (m *Monitor) Watch(needs []Access, partitions int) {
	needs = slices.DeleteFunc(slices.Clone(needs), func(a Access) bool { return a.Resource != kmsg.ACLResourceTypeTopic })
	m.watch = &topicWatch{needs: needs, partitions: partitions}
}

// Condition is what is wrong with the brokers or the topics.
func (m *Monitor) Condition() *Condition { return m.condition }

// Run asks until ctx ends. It returns an error only for a topic that is no longer what it was, see Final.
func (m *Monitor) Run(ctx context.Context) error {
	adm, err := m.kafka.Admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	for {
		err := m.ask(ctx, adm)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			m.condition.Clear()
		case Final(err):
			m.condition.Fail(err)
			return err
		default:
			m.condition.Fail(m.place(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(monitorInterval):
		}
	}
}

// place names the brokers in the error of a client that did not reach them.
func (m *Monitor) place(err error) error {
	if ErrorTypeOf(err) == ErrorBroker && !errors.Is(err, errNoLeader) {
		return fmt.Errorf("the brokers at %v do not answer: %w", m.kafka.Brokers, err)
	}
	return err
}

// ask publishes a snapshot, and tells what is wrong with the topics. Topics first: offsets of a topic that was created
// again would be taken for those of the old one.
func (m *Monitor) ask(ctx context.Context, adm *kadm.Client) error {
	ctx, cancel := context.WithTimeout(ctx, monitorPatience)
	defer cancel()
	var wrong error
	if m.watch != nil {
		if wrong = m.watch.check(ctx, adm); Final(wrong) {
			return wrong
		}
	}
	o, err := m.snapshot(ctx, adm)
	if err == nil {
		m.publish(o)
	}
	if wrong != nil {
		return wrong
	}
	return err
}

// Latest returns the newest snapshot, nil before the first, and a channel that is closed when there is a newer one.
func (m *Monitor) Latest() (*Offsets, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.updated
}

func (m *Monitor) publish(o *Offsets) {
	seen := make(map[string]bool)
	for _, in := range m.inputs {
		if seen[in.Topic] { // the pipeline's own reader of a topic comes first
			continue
		}
		seen[in.Topic] = true
		for p, end := range o.Ends[in.Topic] {
			lag := max(0, end-max(o.Committed[in][p], o.Starts[in.Topic][p]))
			m.lag.WithLabelValues(in.Topic, strconv.Itoa(int(p))).Set(float64(lag))
		}
	}
	m.mu.Lock()
	m.last = o
	close(m.updated)
	m.updated = make(chan struct{})
	m.mu.Unlock()
}

func (m *Monitor) snapshot(ctx context.Context, adm *kadm.Client) (*Offsets, error) {
	o := &Offsets{At: time.Now(), Committed: make(map[Input]map[int32]int64)}
	names := append([]string(nil), m.topics...)
	// Commits before ends: what was appended in between is then not done yet. The other way round, an output could be
	// beyond the ends although the input that it came from counts as done.
	commits := make(map[goka.Group]kadm.OffsetResponses)
	for _, in := range m.inputs {
		names = append(names, in.Topic)
		if commits[in.Group] != nil {
			continue
		}
		resp, err := committedOffsets(ctx, adm, string(in.Group))
		if err != nil {
			return nil, err
		}
		commits[in.Group] = resp
	}
	var err error
	if o.Ends, err = listed(adm.ListCommittedOffsets(ctx, names...)); err != nil {
		return nil, err
	}
	if o.Starts, err = listed(adm.ListStartOffsets(ctx, names...)); err != nil {
		return nil, err
	}
	for _, in := range m.inputs {
		o.Committed[in] = make(map[int32]int64)
		for p := range o.Ends[in.Topic] {
			if c, ok := commits[in.Group].Lookup(in.Topic, p); ok && c.Err == nil && c.At >= 0 {
				o.Committed[in][p] = c.At
			}
		}
	}
	return o, nil
}

// committedOffsets returns what a group has committed; nothing where nobody has joined it yet.
func committedOffsets(ctx context.Context, adm *kadm.Client, group string) (kadm.OffsetResponses, error) {
	resp, err := adm.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("offsets of %s: %w", group, err)
	}
	return resp, nil
}

func listed(offsets kadm.ListedOffsets, err error) (map[string]map[int32]int64, error) {
	if err != nil {
		return nil, err
	}
	if err := offsets.Error(); err != nil {
		return nil, err
	}
	all := make(map[string]map[int32]int64, len(offsets))
	offsets.Each(func(o kadm.ListedOffset) {
		if all[o.Topic] == nil {
			all[o.Topic] = make(map[int32]int64)
		}
		all[o.Topic][o.Partition] = o.Offset
	})
	return all, nil
}

// TopicOffsets returns, by partition, what kadm has listed of one topic. It fails where a partition has no answer.
func TopicOffsets(offsets kadm.ListedOffsets, err error) ([]int64, error) {
	all, err := listed(offsets, err)
	if err != nil {
		return nil, err
	}
	for topic, partitions := range all {
		list := make([]int64, len(partitions))
		for p := range list {
			offset, ok := partitions[int32(p)]
			if !ok {
				return nil, fmt.Errorf("%s: partition %d of %d is unknown", topic, p, len(list))
			}
			list[p] = offset
		}
		return list, nil
	}
	return nil, nil
}
