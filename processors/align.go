package processors

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// alignStep is how far, in record time, a partition may be routed ahead of the slowest one.
const alignStep = 5 * time.Minute

// alignInterval is how often the brokers are asked for the other members' positions, which these commit every
// commitInterval. A backlog goes on by alignStep at least once in both, so an outage is caught up with at 300 times its
// own speed, and as fast as it can be read where one member has all partitions.
const alignInterval = 500 * time.Millisecond

// Alignment keeps the partitions of an un-keyed topic in step by record time, over all members of the group. The
// readings of one sensor lie in all of them; were a backlog read at a different speed from each, they would meet behind
// the loop hours apart, and the older ones would be late there.
//
// The position of a partition is the record time of the first record that is not routed yet. A record may be routed
// while its time is at most alignStep beyond the position of every other partition that has a backlog. Members learn of
// each other's positions by the metadata of the group's committed offsets; a position that changes without the offset
// is committed again.
//
// A position says what comes next and not what was routed last, so the partition with the lowest one is held by
// nobody: the members never all wait for each other, also where the record times leap. A partition with a backlog and
// without a position holds everybody, because what lies in it may be the oldest. That ends by itself: its owner is not
// held while it looks for its first record; where it has died, the partition gets another owner.
//
// What counts as a backlog is bound to arrival, for otherwise a producer whose clock is slow would hold the others for
// ever, its partition never being quite empty. Let ends be what the partitions held at some moment. A record below
// ends waits only for records below ends; when all of these are routed, the ends of now take their place. So a record
// waits for what arrived before it, or within an alignInterval after it.
type Alignment struct {
	kafka Kafka
	group string
	topic string
	ahead func(*kgo.Record) bool
	log   *slog.Logger
	now   func() time.Time
	wake  chan struct{}

	mu       sync.Mutex
	session  int
	tracks   map[int32]*track   // of the partitions that this member owns
	all      map[int32]progress // as the brokers said it last; nil before the first answer of the session
	previous map[int32]int64    // the ends of the answer before
	ends     map[int32]int64    // what is being caught up with
	changed  chan struct{}
}

// progress is how far a partition is routed.
type progress struct {
	next  int64 // first offset that is not routed yet
	end   int64 // behind the last record
	time  int64 // its position, epoch milliseconds
	known bool  // whether there is one
}

// NewAlignment returns the alignment of the topic's partitions. Records for which ahead is true are not aligned: they
// overtake a backlog.
func NewAlignment(
	k Kafka, group goka.Group, topic goka.Stream, ahead func(*kgo.Record) bool, log *slog.Logger,
) *Alignment {
	return &Alignment{
		kafka: k, group: string(group), topic: string(topic), ahead: ahead, log: log, now: time.Now,
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// bound returns the record time up to which the partition self may be routed, where the others have to be routed up to
// ends first.
func bound(self int32, all map[int32]progress, ends map[int32]int64) int64 {
	limit := int64(math.MaxInt64)
	for p, x := range all {
		switch {
		case p == self || x.next >= ends[p]:
		case !x.known:
			return math.MinInt64
		default:
			limit = min(limit, x.time+alignStep.Milliseconds())
		}
	}
	return limit
}

// inStep returns how many records may be routed: those below end up to the record time first, the others up to then.
// A time beyond now, that of a producer whose clock is fast, counts as now.
func inStep(records []*kgo.Record, end, first, then, now int64) int {
	for i, r := range records {
		limit := then
		if r.Offset < end {
			limit = first
		}
		if min(r.Timestamp.UnixMilli(), now) > limit {
			return i
		}
	}
	return len(records)
}

// begin starts a session with these partitions. What was known before may be out of date.
func (a *Alignment) begin(partitions []int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.session++
	a.tracks = make(map[int32]*track, len(partitions))
	for _, p := range partitions {
		a.tracks[p] = &track{scanned: -1}
	}
	a.all, a.previous, a.ends = nil, nil, nil
	a.changes()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// changes wakes everybody who waits on Changed. The caller holds a.mu.
func (a *Alignment) changes() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// Changed returns a channel that is closed when a batch that could not pass should be tried again.
func (a *Alignment) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// pass returns how many records of the batch may be routed now, and counts them as handed on. ok is false where the
// batch has to wait.
func (a *Alignment) pass(b *Batch) (n int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tracks[b.Partition]
	if t == nil {
		return 0, false
	}
	if len(b.Records) > 0 && t.wait(b.Records[0].Timestamp.UnixMilli()) {
		a.changes() // others may have waited for this
	}
	if a.all == nil {
		return 0, false
	}
	for _, own := range a.tracks {
		if own.scanned < 0 {
			return 0, false
		}
	}
	all, latest := a.current()
	first, then := bound(b.Partition, all, a.ends), bound(b.Partition, all, latest)
	n = inStep(b.Records, a.ends[b.Partition], first, then, a.now().UnixMilli())
	if n == 0 && len(b.Records) > 0 {
		return 0, false
	}
	t.hand(b, n)
	return n, true
}

// current returns the progress of all partitions, of the own ones as it is now, and their ends.
func (a *Alignment) current() (all map[int32]progress, ends map[int32]int64) {
	all, ends = make(map[int32]progress, len(a.all)), make(map[int32]int64, len(a.all))
	for p, x := range a.all {
		if t := a.tracks[p]; t != nil {
			x.next = max(x.next, t.routed)
			x.time, x.known = t.position(x.next)
		}
		all[p], ends[p] = x, x.end
	}
	return all, ends
}

// routed notes that the handler has sent a batch to the loop.
func (a *Alignment) routed(b *Batch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tracks[b.Partition]; t != nil {
		t.routed = max(t.routed, b.Last()+1)
		a.changes()
	}
}

// base returns the first offset of an own partition that was not routed before the session.
func (a *Alignment) base(p int32) (next int64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, ok := a.all[p]
	return x.next, ok
}

const metadataPrefix = "record_time_ms="

// metadata returns what is to be committed beside next, so that the other members know the partition's position.
func (a *Alignment) metadata(p int32, next int64) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tracks[p]
	if t == nil {
		return ""
	}
	t.committed(next)
	ms, ok := t.position(next)
	if !ok {
		return ""
	}
	return metadataPrefix + strconv.FormatInt(ms, 10)
}

func parseMetadata(s string) (ms int64, ok bool) {
	s, ok = metadataField(s, metadataPrefix)
	if !ok {
		return 0, false
	}
	ms, err := strconv.ParseInt(s, 10, 64)
	return ms, err == nil
}

// watch asks the brokers until ctx ends.
func (a *Alignment) watch(ctx context.Context) {
	adm, err := a.kafka.Admin()
	if err != nil {
		a.log.Error("partitions cannot be kept in step, nothing is routed", "error", err)
		return
	}
	defer adm.Close()
	tick := time.NewTicker(alignInterval)
	defer tick.Stop()
	failing := false
	for {
		a.mu.Lock()
		session := a.session
		a.mu.Unlock()
		all, err := a.ask(ctx, adm)
		switch {
		case err == nil:
			failing = false
			a.learn(session, all)
		case ctx.Err() == nil && !failing:
			failing = true
			a.log.Warn("the brokers do not say how far the group is; routing waits", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-tick.C:
		}
	}
}

// ask reads committed offsets, with the positions, before the ends: a partition seems to have a backlog rather than
// none.
func (a *Alignment) ask(ctx context.Context, adm *kadm.Client) (map[int32]progress, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	committed, err := committedOffsets(ctx, adm, a.group)
	if err != nil {
		return nil, err
	}
	starts, err := listed(adm.ListStartOffsets(ctx, a.topic))
	if err != nil {
		return nil, err
	}
	ends, err := listed(adm.ListCommittedOffsets(ctx, a.topic))
	if err != nil {
		return nil, err
	}
	all := make(map[int32]progress, len(ends[a.topic]))
	for p, end := range ends[a.topic] {
		x := progress{next: starts[a.topic][p], end: end}
		if c, ok := committed.Lookup(a.topic, p); ok && c.Err == nil && c.At >= 0 {
			x.next = max(x.next, c.At)
			x.time, x.known = parseMetadata(c.Metadata)
		}
		all[p] = x
	}
	return all, nil
}

// learn takes an answer that was asked for in this session.
func (a *Alignment) learn(session int, all map[int32]progress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if session != a.session {
		return
	}
	if a.all != nil {
		a.previous = make(map[int32]int64, len(a.all))
		for p, x := range a.all {
			a.previous[p] = x.end
		}
	}
	a.all = all
	current, ends := a.current()
	if a.ends == nil || reached(current, a.ends) {
		a.ends = ends
	}
	a.changes()
}

func reached(all map[int32]progress, ends map[int32]int64) bool {
	for p, x := range all {
		if x.next < ends[p] {
			return false
		}
	}
	return true
}
