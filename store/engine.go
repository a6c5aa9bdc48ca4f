package store

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Errors that end an engine. The processor is built anew after any of them; that is all a caller has to do.
var (
	// ErrOvertaken: somebody else has written to a partition of the table that this process owns, a paused instance
	// that woke up, say. The partition has to be recovered from the changelog.
	ErrOvertaken = errors.New("another instance has written to this table")
	// ErrRecordSize: a record is larger than its topic takes. It is tried again with the topic's settings of then.
	ErrRecordSize = errors.New("a topic does not take a record")
	// ErrClosed: the engine was closed.
	ErrClosed = errors.New("the engine is closed")
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
	// TableEnd returns the end offset of a partition of the changelog. It is asked when a table is opened, to prove that
	// recovery has read all that there was.
	TableEnd func(partition int32) (int64, error)

	Linger         time.Duration // a round is closed this often
	FlushInterval  time.Duration // acknowledged values reach LevelDB this often
	DrainTimeout   time.Duration // how long a stop waits for acknowledgements
	CellsMax       int           // states held in memory per partition
	RecordBytesMax int           // a larger record is refused before it is sent

	Logger  *slog.Logger
	Metrics prometheus.Registerer

	now    func() time.Time // the clock of ages
	manual bool             // Stepped: somebody else closes rounds and sends what they release
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
		RecordBytesMax: RecordBytesMax(batchBytesMax),
		now:            time.Now,
	}
}

// Transport sends records. Send may block while too much is in flight. The acknowledgement, of success or of final
// failure, comes on another goroutine, in order within a partition; it does not block. Close is called once; it drops
// what is not sent yet and makes a blocked Send return.
type Transport interface {
	Send(r *kgo.Record, acked func(*kgo.Record, error))
	Close()
}

// Engine is the producer, the storage and the commit of one group in this process; see the package comment.
//
// Locks are taken in the order lane, queue, then whatever Mark takes. The engine's own and a table's are held for a map
// access and nothing else. An acknowledgement takes no lane's lock, which a blocked Send may hold, and Fail takes none.
type Engine struct {
	opts      Options
	transport Transport
	log       *slog.Logger
	metrics   *metrics
	pool      sync.Pool
	onAck     func(*kgo.Record, error) // acked, bound once: a method value allocates
	omit      omit

	failed atomic.Pointer[error]
	ended  chan struct{}  // closed by Fail
	silent chan struct{}  // closed when the transport is
	work   sync.WaitGroup // the goroutines of lanes that may be blocked in Send

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
		silent:  make(chan struct{}),
		lanes:   make(map[int32]*Lane),
	}
	e.onAck = e.acked
	e.metrics.oldest.engine.Store(e)
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

// Fail stops the engine at its first error. It closes the transport, so that what is buffered there does not follow a
// record that failed, and so that a blocked Send returns. It does not wait for that: an acknowledgement may call it.
func (e *Engine) Fail(err error) {
	if !e.failed.CompareAndSwap(nil, &err) {
		return
	}
	if !errors.Is(err, ErrClosed) {
		e.metrics.failures.Inc()
	}
	close(e.ended)
	go func() {
		e.transport.Close()
		close(e.silent)
	}()
}

// Close stops the engine and its transport. Partitions that goka has not closed before are given up, as by a crash.
func (e *Engine) Close() {
	e.Fail(ErrClosed)
	<-e.silent
	e.mu.Lock()
	lanes := slices.Collect(maps.Values(e.lanes))
	e.mu.Unlock()
	for _, l := range lanes {
		if err := l.table.Close(); err != nil {
			e.log.Warn("state not closed; it is recovered from the changelog", "partition", l.part, "error", err)
		}
	}
	e.work.Wait()
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
