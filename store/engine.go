package store

import (
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Errors that end an engine. The processor is built anew after any of them; that is all a caller has to do.
var (
	// ErrOvertaken: somebody else has written to a partition of the table that this process owns, a paused instance
	// that woke up, say. The partition has to be recovered from the changelog.
	ErrOvertaken = errors.New("another instance has written to this table")
	// ErrClosed: the engine was closed.
	ErrClosed = errors.New("the engine is closed")
	// errGokaEmit refuses goka's own way of emitting, which knows no rounds.
	errGokaEmit = errors.New("outputs and values go through the lane, not through the goka context")
)

// Options configure an Engine.
type Options struct {
	Group  string
	Table  string // the changelog topic
	Inputs int    // number of input topics of the group
	Dir    string // state folder of the group; a folder per partition below it

	New    func() State
	Decode func([]byte) (State, error) // the bytes may be kept by nobody
	// Mark is told that everything before next of an input's partition is done. It must not block.
	Mark func(input int, partition int32, next int64)
	// TableEnd returns the end offset of a partition of the changelog, to prove that recovery has read all of it.
	TableEnd func(partition int32) (int64, error)

	Linger         time.Duration // a round is closed this often
	FlushInterval  time.Duration // acknowledged values reach LevelDB this often
	DrainTimeout   time.Duration // how long a stop waits for acknowledgements
	CellsMax       int           // states held in memory per partition
	RecordBytesMax int           // a larger record is refused before it is sent

	Logger  *slog.Logger
	Metrics prometheus.Registerer

	manual bool // a test closes rounds and sends what they release, step by step
	openDB func(partition int32) (*leveldb.DB, error)
}

// DefaultOptions returns the settings that do not depend on the group.
func DefaultOptions() Options {
	return Options{
		Inputs:         1,
		Linger:         100 * time.Millisecond,
		FlushInterval:  50 * time.Millisecond,
		DrainTimeout:   3 * time.Second,
		CellsMax:       100_000,
		RecordBytesMax: largeBatchBytesMax - batchOverhead,
	}
}

// Transport sends records. Send may block while too much is in flight. The acknowledgement, of success or of final
// failure, comes on another goroutine, in order within a partition; it must not block.
type Transport interface {
	Send(r *kgo.Record, acked func(*kgo.Record, error))
	Close()
}

// Output is a record on its way to Kafka. It is pooled: it belongs to the engine from Emit on.
type Output = record

type record struct {
	kgo.Record        // first, so that the acknowledgement finds the record around it
	round      *round // the round that waits for it
	cell       *Cell  // set on a table record
	key        []byte // memory of Key
	buf        []byte // memory of what the writer built in Buffer
	headers    [8]kgo.RecordHeader
}

// SetKey copies the key. nil is a null key, which differs from an empty one.
func (r *record) SetKey(key []byte) {
	if key == nil {
		r.Key = nil
		return
	}
	r.key = append(r.key[:0], key...)
	r.Key = r.key
}

// SetKeyString copies the key.
func (r *record) SetKeyString(key string) {
	r.key = append(r.key[:0], key...)
	r.Key = r.key
}

// Buffer returns an empty buffer to build the value and the headers' values in. Own gives it back, grown; it is used
// again after the acknowledgement.
func (r *record) Buffer() []byte { return r.buf[:0] }

// Own keeps the buffer with the record. Value and headers may be slices of it.
func (r *record) Own(b []byte) { r.buf = b }

// AddHeader appends a header.
func (r *record) AddHeader(key string, value []byte) {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: value})
}

// Engine is the producer, the storage and the commit of one group in this process; see the package comment.
type Engine struct {
	opts      Options
	transport Transport
	log       *slog.Logger
	metrics   *metrics
	pool      sync.Pool
	omit      omit

	failed atomic.Pointer[error]
	ended  chan struct{}
	endIt  sync.Once

	mu    sync.Mutex
	lanes map[int32]*Lane
}

// NewEngine returns an engine that sends through the transport and owns it.
func NewEngine(opts Options, t Transport) *Engine {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		opts: opts, transport: t,
		log:     opts.Logger.With("component", "store", "group", opts.Group),
		metrics: newMetrics(opts.Metrics, opts.Group),
		ended:   make(chan struct{}),
		lanes:   make(map[int32]*Lane),
	}
	e.pool.New = func() any { return new(record) }
	return e
}

// Err returns what stopped the engine, nil while it works.
func (e *Engine) Err() error {
	if p := e.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Ended is closed when the engine has stopped; Err says why.
func (e *Engine) Ended() <-chan struct{} { return e.ended }

// Fail stops the engine at its first error.
func (e *Engine) Fail(err error) {
	if !e.failed.CompareAndSwap(nil, &err) {
		return
	}
	if !errors.Is(err, ErrClosed) {
		e.metrics.failures.Inc()
	}
	e.endIt.Do(func() { close(e.ended) })
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.lanes {
		l.q.idle.Broadcast()
	}
}

// Close stops the engine and its transport. Partitions that goka has not closed before are given up, as by a crash.
func (e *Engine) Close() {
	e.Fail(ErrClosed)
	e.transport.Close()
	e.mu.Lock()
	lanes := make([]*Lane, 0, len(e.lanes))
	for _, l := range e.lanes {
		lanes = append(lanes, l)
	}
	e.mu.Unlock()
	for _, l := range lanes {
		_ = l.table.Close()
	}
}

// Lane returns the partition's lane, which exists while goka has its table open and recovered.
func (e *Engine) Lane(partition int32) (*Lane, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.lanes[partition]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("partition %d of %s is not open", partition, e.opts.Group)
}

func (e *Engine) newRecord(topic string, partition int32) *record {
	r := e.pool.Get().(*record)
	r.Topic, r.Partition = topic, partition
	r.Headers = r.headers[:0]
	return r
}

func (e *Engine) send(r *record) {
	if e.Err() != nil {
		return
	}
	if n := recordBytes(&r.Record); n > e.opts.RecordBytesMax {
		e.Fail(fmt.Errorf("a record of %d bytes for %s is larger than %d bytes: it would fail behind others in flight",
			n, r.Topic, e.opts.RecordBytesMax))
		return
	}
	e.metrics.inFlight.Inc()
	e.transport.Send(&r.Record, e.acked)
}

// acked runs on the transport's goroutine. It takes no lock that a blocked Send may hold.
func (e *Engine) acked(kr *kgo.Record, err error) {
	r := outer(kr)
	e.metrics.inFlight.Dec()
	if err != nil && !e.omit.has(omitStop) {
		e.Fail(fmt.Errorf("send to %s/%d: %w", r.Topic, r.Partition, err))
		return // its round is never released
	}
	round := r.round
	if r.cell == nil {
		e.recycle(r)
		round.outputAcked()
		return
	}
	if err := round.lane.table.acked(r.cell.key, r.Value, r.Offset); err != nil {
		e.Fail(fmt.Errorf("partition %d of %s: %w", round.lane.part, e.opts.Table, err))
		return
	}
	e.metrics.changelogBytes.Add(float64(len(r.Value)))
	e.recycle(r)
	round.tableAcked()
}

// recycle makes a record ready for reuse: it keeps the memory of key and buffer. A table value belongs to the table.
func (e *Engine) recycle(r *record) {
	*r = record{key: r.key, buf: r.buf}
	e.pool.Put(r)
}

// ProducerBuilder gives goka the engine as its producer, so that nothing can leave past the rounds.
func (e *Engine) ProducerBuilder() goka.ProducerBuilder {
	return func([]string, string, func() hash.Hash32) (goka.Producer, error) { return refuse{}, nil }
}

// refuse is the goka producer of a group whose outputs go through lanes: an emit that bypasses the order is an error.
type refuse struct{}

func (refuse) Emit(topic string, _ string, _ []byte) *goka.Promise {
	promise, finish := goka.NewPromiseWithFinisher()
	finish(nil, fmt.Errorf("emit to %s: %w", topic, errGokaEmit))
	return promise
}

func (p refuse) EmitWithHeaders(topic, key string, value []byte, _ goka.Headers) *goka.Promise {
	return p.Emit(topic, key, value)
}

func (refuse) Close() error { return nil }

var _ goka.Producer = refuse{}

// omit takes a mechanism out, so that a test can show that it is needed. Only tests set it.
type omit uint

const (
	omitBarrier    omit = 1 << iota // state does not wait for outputs
	omitOrder                       // offsets are marked as rounds complete
	omitStop                        // the engine goes on after an error
	omitMerge                       // recovery takes the last value instead of the one that applied more
	omitContiguous                  // the stored offset jumps over records of others
	omitRewrite                     // keys whose last record is an old value are not written again
)

func (o omit) has(m omit) bool { return o&m != 0 }
