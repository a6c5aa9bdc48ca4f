package processors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/store"
)

// standby follows the changelogs of the partitions that this process does not own, so that taking one over reads its
// tail alone. goka has a hot standby, which does not fit: its Setup waits until the partitions of others are read, so
// every rebalance would pause our own for them; an error in one of them stops the processor; and it declares the end of
// their recovery, which is where a lane begins.
//
// While a partition is handed over nobody follows it: release, which the group calls before goka sets its partitions
// up, returns when no record is being applied any more and the folders of what is assigned are closed. What is not
// assigned stays open, and follow reads on. Each follow has a client of its own: what a client has buffered of a
// partition that was taken off it and given back might begin behind a gap.
//
// What it costs is a copy of all tables in each process, and the reading of all changelogs.
//
// It never stops the processor. A partition that cannot be followed costs whoever takes it over a longer recovery.
type standby struct {
	kafka      Kafka
	adm        *kadm.Client
	topic      string
	partitions int32
	open       func(partition int32) (*store.Standby, error)
	log        *slog.Logger
	trouble    *Condition // it does not follow all that it should

	stop    context.CancelFunc
	stopped chan struct{}            // closed when nobody follows
	tables  map[int32]*store.Standby // the follower's; while there is none, the group's
	closing sync.WaitGroup           // clients

	mu    sync.Mutex
	next  map[int32]int64 // of each table, as of the last records applied; nil before the tables were opened
	ends  map[int32]int64 // that ahead reads up to
	moved chan struct{}   // closed when next has changed
}

// standbyRetry is how soon a partition that could not be followed is tried again.
const standbyRetry = 10 * time.Second

func newStandby(
	k Kafka, adm *kadm.Client, topic string, partitions int, open func(int32) (*store.Standby, error), log *slog.Logger,
	reg prometheus.Registerer,
) *standby {
	return &standby{
		kafka: k, adm: adm, topic: topic, partitions: int32(partitions), open: open, log: log,
		trouble: NewCondition(fmt.Sprintf("the standby of %s cannot follow all of it", topic), log, reg),
		tables:  make(map[int32]*store.Standby), moved: make(chan struct{}),
	}
}

// ahead follows everything and returns when it was read up to the ends of now. A process that joins its group after
// that begins with tables that are there, while those that have the partitions work on. It returns early when ctx ends.
func (s *standby) ahead(ctx context.Context) error {
	ends, err := listed(s.adm.ListEndOffsets(ctx, s.topic))
	if err != nil {
		return fmt.Errorf("end of the changelog: %w", err)
	}
	s.mu.Lock()
	s.ends = ends[s.topic]
	s.mu.Unlock()
	started := time.Now()
	s.follow(ctx, nil)
	for {
		s.mu.Lock()
		next, moved := s.next, s.moved
		s.mu.Unlock()
		reached := next != nil
		for p, n := range next { // a partition that could not be opened is not waited for
			reached = reached && n >= ends[s.topic][p]
		}
		if reached {
			s.log.Info("tables read ahead", "took", time.Since(started).String())
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		}
	}
}

// follow keeps every partition current but the owned ones, until release, or until ctx ends.
func (s *standby) follow(ctx context.Context, owned []int32) {
	var parts []int32
	for p := range s.partitions {
		if !slices.Contains(owned, p) {
			parts = append(parts, p)
		}
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.stopped = make(chan struct{})
	go func() {
		defer close(s.stopped)
		for ctx.Err() == nil {
			s.openAll(parts)
			s.read(ctx, len(parts))
		}
	}()
}

// halt returns when nobody follows.
func (s *standby) halt() {
	if s.stop != nil {
		s.stop()
		<-s.stopped
	}
}

// release stops following and closes the tables of these partitions.
func (s *standby) release(parts []int32) {
	s.halt()
	for _, p := range parts {
		s.drop(p)
	}
}

// close ends it. The group calls it when no rebalance can come any more.
func (s *standby) close() {
	s.halt()
	s.release(slices.Collect(maps.Keys(s.tables)))
	s.closing.Wait()
}

// position returns, by partition that is followed, the changelog offset that is read next.
func (s *standby) position() map[int32]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.next)
}

// progress returns how much of what ahead reads up to is read, as a share from 0 to 1.
func (s *standby) progress() map[int32]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	shares := make(map[int32]float64, len(s.ends))
	for p, end := range s.ends {
		shares[p] = 1
		if end > 0 {
			shares[p] = min(1, float64(s.next[p])/float64(end))
		}
	}
	return shares
}

// publish changes next, and tells who waits for that.
func (s *standby) publish(change func(next map[int32]int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[int32]int64, len(s.next))
	maps.Copy(next, s.next)
	change(next)
	s.next = next
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *standby) openAll(parts []int32) {
	for _, p := range parts {
		if s.tables[p] != nil {
			continue
		}
		t, err := s.open(p)
		if err != nil {
			s.trouble.Fail(fmt.Errorf("partition %d: %w", p, err))
			continue
		}
		s.tables[p] = t
	}
	s.publish(func(next map[int32]int64) {
		for p, t := range s.tables {
			next[p] = t.Next()
		}
	})
}

// drop closes a partition's table.
func (s *standby) drop(p int32) {
	t := s.tables[p]
	if t == nil {
		return
	}
	delete(s.tables, p)
	s.publish(func(next map[int32]int64) { delete(next, p) })
	if err := t.Close(); err != nil {
		s.log.Warn("a standby was not closed; the partition is recovered from further back", "partition", p, "error", err)
	}
}

// read applies records until ctx ends, or until it is time to try again what of the wanted partitions is missing.
func (s *standby) read(ctx context.Context, wanted int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	retry := time.AfterFunc(standbyRetry, cancel)
	defer retry.Stop()
	if len(s.tables) == wanted {
		retry.Stop()
	}
	if len(s.tables) == 0 {
		<-ctx.Done()
		return
	}
	client, err := s.reader()
	if err != nil {
		s.trouble.Fail(err)
		retry.Reset(standbyRetry)
		<-ctx.Done()
		return
	}
	defer s.closing.Go(client.Close) // it says good-bye to the brokers; nobody has to wait for that
	// A partition that cannot be followed is not fetched either until it is tried again: whoever waits for all of them
	// does not wait for it, and its batches are not unpacked in vain.
	giveUp := func(p int32, err error) {
		s.trouble.Fail(fmt.Errorf("partition %d: %w", p, err))
		client.PauseFetchPartitions(map[string][]int32{s.topic: {p}})
		s.drop(p)
		retry.Reset(standbyRetry)
	}
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return // what was fetched comes again
		}
		failed := false
		fetches.EachError(func(_ string, p int32, err error) {
			switch {
			case errors.Is(err, errUnpackLater):
			case errors.Is(err, ErrBatchTooLarge):
				giveUp(p, err)
			default:
				failed = true
				s.trouble.Fail(fmt.Errorf("partition %d: %w", p, err))
			}
		})
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if err := s.apply(f); err != nil {
				giveUp(f.Partition, err)
			}
		})
		if !failed && len(s.tables) == wanted {
			s.trouble.Clear()
		}
	}
}

// reader returns a consumer that begins where the tables are.
func (s *standby) reader() (*kgo.Client, error) {
	from := make(map[int32]kgo.Offset, len(s.tables))
	for p, t := range s.tables {
		from[p] = kgo.NewOffset().At(t.Next())
	}
	client, err := kgo.NewClient(append(s.kafka.Options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: from}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // where the beginning of the changelog was deleted
		kgo.FetchMaxBytes(fetchBytesMax),
		kgo.FetchMaxPartitionBytes(fetchPartition),
		kgo.FetchMaxWait(fetchWait),
	)...)
	if err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	return client, nil
}

func (s *standby) apply(f kgo.FetchTopicPartition) error {
	t := s.tables[f.Partition]
	if t == nil || len(f.Records) == 0 {
		return nil
	}
	for _, r := range f.Records {
		if err := t.Apply(string(r.Key), r.Value, r.Offset); err != nil {
			return err
		}
	}
	s.publish(func(next map[int32]int64) { next[f.Partition] = t.Next() })
	return nil
}
