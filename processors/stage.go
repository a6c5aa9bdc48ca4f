package processors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gantry/store"
)

// Handler decides what the records of a stage mean. It is called with the batches of one partition one after the other,
// and with those of different partitions at once.
type Handler interface {
	// Handle handles the whole batch of an input (by its place in Stage.Inputs) between l.Begin and l.End, and ends with
	// l.Handled, unless the batch is ahead. It returns an error only when the processor has to be built anew, or ctx's
	// when it ended while waiting.
	Handle(ctx context.Context, l *store.Lane, input int, b *Batch) error
	// New and Decode make the states of the stage's table.
	New() store.State
	Decode(state []byte) (store.State, error)
}

// Stage is one goka group of the pipeline.
type Stage struct {
	Group   goka.Group
	Inputs  []goka.Stream
	Loop    bool // the last input is the group's loop
	Outputs []goka.Stream
	Sends   []string // topics that it writes, beside its table and Large
	Large   []string // topics that carry raw messages onwards, which may be large
	Handler Handler

	// Ahead, where it is set, says that the first input is only routed to the loop, and which of its records overtake a
	// backlog there. The partitions of that input are then kept in step by record time, see Alignment.
	Ahead func(*kgo.Record) bool

	// Standby keeps the tables of partitions that other processes own current, so that taking one over, or joining the
	// group, costs no recovery.
	Standby bool

	Kafka    Kafka
	StateDir string // folder of all groups
	Logger   *slog.Logger
	Metrics  prometheus.Registerer

	state     atomic.Pointer[goka.Processor]
	group     atomic.Pointer[Group]
	condition atomic.Pointer[Condition]
}

// A processor that cannot work is tried again at least every backoffMax: what an operator has mended goes on soon.
const (
	backoffMin = time.Second
	backoffMax = 10 * time.Second
)

// Run keeps a processor running until ctx ends. A goka processor runs only once, so after a failure a new one is built,
// with a new engine, which reads its table and goes on from the committed offset. Errors that another start cannot mend
// are returned, see Final: state of other topics.
func (s *Stage) Run(ctx context.Context) error {
	log := s.Logger.With("component", "processor", "group", string(s.Group))
	condition := NewCondition(fmt.Sprintf("the group %s cannot work", s.Group), log, s.Metrics)
	s.condition.Store(condition)
	backoff := backoffMin
	store.RegisterMetrics(s.Metrics, string(s.Group))
	for {
		started := time.Now()
		err := s.once(ctx, log)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				log.Warn("stopped with an error; unfinished records will be read again", "error", err)
			}
			return nil
		}
		if Final(err) {
			condition.Fail(err)
			return err
		}
		if time.Since(started) > time.Minute {
			backoff = backoffMin
		}
		condition.Fail(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, backoffMax)
	}
}

// once builds and runs one processor.
func (s *Stage) once(ctx context.Context, log *slog.Logger) error {
	dir := filepath.Join(s.StateDir, string(s.Group))
	if err := s.Kafka.Reachable(ctx); err != nil {
		return err
	}
	if err := s.Kafka.CheckAccess(ctx, s.access()); err != nil {
		return err
	}
	adm, err := s.Kafka.Admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	partitions, replicas, err := s.bind(ctx, adm, dir)
	if err != nil {
		return err
	}
	table := string(goka.GroupTable(s.Group))
	opts := store.DefaultOptions()
	batchBytes, err := s.sizes(ctx, adm, &opts)
	if err != nil {
		return err
	}
	transport, err := store.NewKafkaTransport(batchBytes, s.Large, opts.RecordBytesMax, s.Kafka.Options()...)
	if err != nil {
		return fmt.Errorf("producer: %w", err)
	}
	var align *Alignment
	if s.Ahead != nil {
		align = NewAlignment(s.Kafka, s.Group, s.Inputs[0], s.Ahead, log)
	}
	group := NewGroup(s.Kafka, s.Group, align, log, s.Metrics)
	group.begun = s.condition.Load().Clear
	group.lost = s.lost(log)
	opts.Group, opts.Table, opts.Dir = string(s.Group), table, dir
	opts.Inputs = len(s.Inputs)
	opts.New, opts.Decode = s.Handler.New, s.Handler.Decode
	opts.Mark = func(input int, p int32, next int64) { group.Mark(string(s.Inputs[input]), p, next) }
	opts.TableEnd = func(p int32) (int64, error) { return endOffset(ctx, adm, table, p) }
	opts.Logger, opts.Metrics = s.Logger, s.Metrics
	engine := store.NewEngine(opts, transport)
	defer engine.Close()
	if s.Standby {
		group.stand = newStandby(s.Kafka, adm, table, partitions, engine.OpenStandby, log, s.Metrics)
	}

	proc, err := goka.NewProcessor(s.Kafka.Brokers, s.graph(engine, group),
		goka.WithClientID(s.Kafka.ClientID),
		goka.WithLogger(gokaLog{log}),
		goka.WithHasher(NewHasher), // FNV, the default, places keys elsewhere than the input's writers do
		goka.WithTopicManagerBuilder(s.Kafka.TopicManager(replicas)),
		goka.WithConsumerSaramaBuilder(s.Kafka.Consumer()),
		goka.WithConsumerGroupBuilder(group.Builder()),
		goka.WithProducerBuilder(engine.ProducerBuilder()),
		goka.WithStorageBuilder(engine.StorageBuilder()),
		goka.WithUpdateCallback(s.recovering()),
		goka.WithNilHandling(goka.NilProcess), // a batch has no value of its own
		goka.WithPartitionChannelSize(2),
	)
	if err != nil {
		return fmt.Errorf("processor: %w", err)
	}
	s.state.Store(proc)
	s.group.Store(group)
	defer s.state.Store(nil)

	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-engine.Ended(): // while no callback runs, the processor must end too
			cancel()
			return
		case <-runCtx.Done():
		}
		// A callback that is blocked in Emit, since the brokers are away, would keep goka from stopping.
		select {
		case <-engine.Ended():
		case <-time.After(opts.DrainTimeout):
			engine.Fail(store.ErrClosed)
		}
	}()
	err = proc.Run(runCtx)
	if cause := engine.Err(); cause != nil {
		return cause
	}
	return err
}

// sizes asks for what the topics take, each time anew: an operator may have changed it, and this be the reason for the
// try. It sets the largest record, and returns the largest batch for the topics that are not large. Where a topic that
// carries messages onwards has come to take less than they may be, the stage waits: it would have to cut them.
func (s *Stage) sizes(ctx context.Context, adm *kadm.Client, opts *store.Options) (batchBytes int, err error) {
	small := append([]string{string(goka.GroupTable(s.Group))}, s.Sends...)
	source := string(s.Inputs[0])
	limits, err := messageLimits(ctx, adm, slices.Concat(small, s.Large, []string{source}))
	if err != nil {
		return 0, err
	}
	if len(s.Large) > 0 {
		opts.RecordBytesMax = store.RecordBytesMax(messageBytes(limits, s.Large))
	}
	for _, topic := range s.Large {
		limit, known := limits[topic]
		if need := limits[source] + headersBytesMax; known && limit < need {
			return 0, fmt.Errorf("%w: max.message.bytes of %s is %d, and messages of %s need %d there with their headers",
				store.ErrRecordSize, topic, limit, source, need)
		}
	}
	return messageBytes(limits, small), nil
}

// access is what the brokers must allow.
func (s *Stage) access() []Access {
	const read, write = kmsg.ACLOperationRead, kmsg.ACLOperationWrite
	var needs []Access
	for i, in := range s.Inputs {
		if s.Loop && i == len(s.Inputs)-1 {
			needs = append(needs, topicAccess(string(in), read, write))
			continue
		}
		needs = append(needs, topicAccess(string(in), read))
	}
	for _, out := range slices.Concat(s.Sends, s.Large) {
		needs = append(needs, topicAccess(string(out), write))
	}
	return append(needs, topicAccess(string(goka.GroupTable(s.Group)), read, write),
		Access{kmsg.ACLResourceTypeGroup, string(s.Group), []kmsg.ACLOperation{read}})
}

func (s *Stage) graph(e *store.Engine, group *Group) *goka.GroupGraph {
	edges := []goka.Edge{goka.Persist(noCodec{})}
	for i, in := range s.Inputs {
		if s.Loop && i == len(s.Inputs)-1 {
			edges = append(edges, goka.Loop(noCodec{}, s.callback(e, group, i)))
			continue
		}
		edges = append(edges, goka.Input(in, noCodec{}, s.callback(e, group, i)))
	}
	for _, out := range s.Outputs {
		edges = append(edges, goka.Output(out, noCodec{}))
	}
	return goka.DefineGroup(s.Group, edges...)
}

// callback hands a batch to the handler. An error ends the processor: ctx.Fail panics inside goka, which reports it.
// (During a rebalance goka would commit the failed message; the session's MarkOffset does nothing, so it does not.)
func (s *Stage) callback(e *store.Engine, group *Group, input int) goka.ProcessCallback {
	return func(ctx goka.Context, _ any) {
		// goka may go on with what it has queued after the session's end, behind a batch that was given up because of
		// it. Were that handled, its offset would be marked, and the batch before it be lost.
		if ctx.Context().Err() != nil {
			return
		}
		b, err := group.Take(string(ctx.Topic()), ctx.Partition(), ctx.Offset())
		if err == nil {
			var l *store.Lane
			if l, err = e.Lane(ctx.Partition()); err == nil {
				err = s.Handler.Handle(ctx.Context(), l, input, b)
			}
		}
		if err == nil {
			group.Handled(b)
		}
		if err != nil && ctx.Context().Err() == nil {
			ctx.Fail(err)
		}
	}
}

// recovering counts what goka reads of a changelog while the partition waits for it.
func (s *Stage) recovering() goka.UpdateCallback {
	records := store.Register(s.Metrics, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "stream_processor_recovered_records_total", ConstLabels: prometheus.Labels{"group": string(s.Group)},
		Help: "Records of the changelog that were read while their partition waited for its table.",
	}))
	return func(ctx goka.UpdateContext, t storage.Storage, key string, value []byte) error {
		records.Inc()
		return goka.DefaultUpdate(ctx, t, key, value)
	}
}

// Recovered tells whether the processor runs: its tables are read, its partitions are consumed.
func (s *Stage) Recovered() bool {
	p := s.state.Load()
	return p != nil && p.Recovered()
}

// Trouble says what keeps the stage from its work, "" while nothing does.
func (s *Stage) Trouble() string {
	if c := s.condition.Load(); c != nil {
		if t := c.Trouble(); t != "" {
			return t
		}
	}
	if g := s.group.Load(); g != nil {
		return g.Trouble()
	}
	return ""
}

// lost returns what is called for records that were deleted before they were read: they have no outcome, and no one
// else may ever notice.
func (s *Stage) lost(log *slog.Logger) func(topic string, partition int32, from, to int64) {
	records := store.Register(s.Metrics, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stream_processor_records_lost_total", Help: "Records of an input that were deleted before they were read.",
	}, []string{"topic"}))
	for _, in := range s.Inputs {
		records.WithLabelValues(string(in))
	}
	return func(topic string, partition int32, from, to int64) {
		records.WithLabelValues(topic).Add(float64(to - from))
		Errors(s.Metrics).WithLabelValues(ErrorLost).Inc()
		log.Error("records were deleted before they were read: they have no outcome; raise the topic's retention, and "+
			"restore them from their source if they are needed",
			"topic", topic, "partition", partition, "from", from, "to", to, "records", to-from)
	}
}

// Marked returns how far an input partition of this process is done, if it owns it.
func (s *Stage) Marked(topic string, partition int32) (next int64, ok bool) {
	if g := s.group.Load(); g != nil {
		return g.Marked(topic, partition)
	}
	return 0, false
}

// Owned returns the partitions that this process has.
func (s *Stage) Owned() []int32 {
	if g := s.group.Load(); g != nil {
		return g.owned(string(s.Inputs[0]))
	}
	return nil
}

// Followed returns, by partition that another process owns and this one follows, the offset of the group's table that it
// reads next.
func (s *Stage) Followed() map[int32]int64 {
	if g := s.group.Load(); g != nil && g.stand != nil {
		return g.stand.position()
	}
	return nil
}

// Progress returns how far each table partition is recovered, as a share from 0 to 1.
func (s *Stage) Progress(ctx context.Context) map[int32]float64 {
	p := s.state.Load()
	if p == nil {
		return nil
	}
	progress := make(map[int32]float64)
	if g := s.group.Load(); g != nil && !p.Recovered() && g.stand != nil {
		progress = g.stand.progress()
	}
	for part, st := range p.StatsWithContext(ctx).Group {
		if st == nil || st.TableStats == nil {
			continue
		}
		r := st.TableStats.Recovery
		switch {
		case st.TableStats.Status == goka.PartitionRunning:
			progress[part] = 1
		case r.Hwm > 0:
			progress[part] = min(1, float64(r.Offset)/float64(r.Hwm))
		default:
			progress[part] = 0
		}
	}
	return progress
}

// bind ties the state folder to the cluster and to the topics that the state is made from. It returns the numbers of
// partitions and replicas of the table.
func (s *Stage) bind(ctx context.Context, adm *kadm.Client, dir string) (partitions, replicas int, err error) {
	if err := store.RequireSpace(dir); err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	meta, err := adm.BrokerMetadata(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("cluster id: %w", err)
	}
	table := string(goka.GroupTable(s.Group))
	names := []string{table}
	for _, in := range s.Inputs {
		names = append(names, string(in))
	}
	topics, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return 0, 0, fmt.Errorf("topic ids: %w", err)
	}
	b := store.Binding{ClusterID: meta.Cluster, TopicIDs: make(map[string]string)}
	for _, n := range names {
		d := topics[n]
		if d.Err != nil {
			return 0, 0, fmt.Errorf("topic %s: %w", n, d.Err)
		}
		b.TopicIDs[n] = d.ID.String()
	}
	of := topics[table].Partitions
	return len(of), of.NumReplicas(), store.Bind(dir, b)
}

func endOffset(ctx context.Context, adm *kadm.Client, topic string, partition int32) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	o, ok := ends.Lookup(topic, partition)
	if !ok {
		return 0, fmt.Errorf("partition %d of %s is not listed", partition, topic)
	}
	return o.Offset, o.Err
}

// noCodec stands where goka wants a codec: batches have no value, and values do not pass through goka.
type noCodec struct{}

func (noCodec) Encode(any) ([]byte, error) { return nil, errors.New("values go through the lane") }
func (noCodec) Decode([]byte) (any, error) { return nil, nil }

// gokaLog forwards goka's log.
type gokaLog struct{ log *slog.Logger }

func (l gokaLog) Printf(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l gokaLog) Println(args ...any)               { l.log.Debug(fmt.Sprintln(args...)) }
func (l gokaLog) Print(args ...any)                 { l.log.Debug(fmt.Sprint(args...)) }
func (l gokaLog) Fatal(args ...any)                 { l.Panic(args...) }
func (l gokaLog) Fatalf(format string, args ...any) { l.Panicf(format, args...) }
func (l gokaLog) Fatalln(args ...any)               { l.Panic(args...) }
func (l gokaLog) Panic(args ...any)                 { panic(fmt.Sprint(args...)) }
func (l gokaLog) Panicf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (l gokaLog) Panicln(args ...any)               { panic(fmt.Sprintln(args...)) }
