package processors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gantry/store"
)

// Conditions of topics that the brokers do not answer with an error of their own.
var (
	errNoLeader = errors.New("no broker leads it")
	errReplicas = errors.New("not enough replicas are in sync")
	errRefused  = errors.New("the user may not")
)

// topicWatch looks after the topics themselves. Clients do not tell enough: behind a topic that takes no records for
// want of replicas a producer waits without a word; a topic that was re-created begins at offset 0 again, where whoever
// reads it by its name takes new records for repeats, or passes over them.
type topicWatch struct {
	needs      []Access // of topics
	partitions int

	ids      map[string]kadm.TopicID // as first seen
	insync   map[string]int          // min.insync.replicas, as last told
	insyncAt time.Time
}

// insyncInterval is how often min.insync.replicas is asked for. An operator changes it once in a while.
const insyncInterval = 5 * time.Second

// check asks for the topics and returns what is wrong with them: Final errors where one is no longer what it was,
// others while it cannot be used. It returns nil for what the user may not ask.
func (w *topicWatch) check(ctx context.Context, adm *kadm.Client) error {
	names := make([]string, len(w.needs))
	for i, n := range w.needs {
		names[i] = n.Name
	}
	topics, err := adm.ListTopics(kadm.WithAuthorizedOps(ctx), names...)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	if now := time.Now(); now.Sub(w.insyncAt) >= insyncInterval {
		// Without an answer nothing is known to be wrong.
		w.insync, _ = topicNumbers(ctx, adm, minInsyncKey, names)
		w.insyncAt = now
	}
	return w.judge(topics)
}

// judge returns the worst of what is wrong: what is final first, then topics in the order of their use.
func (w *topicWatch) judge(topics kadm.TopicDetails) error {
	if w.ids == nil {
		w.ids = make(map[string]kadm.TopicID)
	}
	var first error
	for _, n := range w.needs {
		d, ok := topics[n.Name]
		if !ok {
			d.Err = kerr.UnknownTopicOrPartition
		}
		err := w.judgeTopic(n, d)
		if Final(err) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (w *topicWatch) judgeTopic(need Access, d kadm.TopicDetail) error {
	if d.Err != nil {
		return fmt.Errorf("topic %s: %w", need.Name, d.Err)
	}
	if was, known := w.ids[need.Name]; !known {
		w.ids[need.Name] = d.ID
	} else if was != d.ID {
		return fmt.Errorf("%w: topic %s was deleted and created again (id %v, was %v): %s",
			ErrTopicChanged, need.Name, d.ID, was, store.StartAnew)
	}
	if n := len(d.Partitions); n != w.partitions {
		return partitionsError(need.Name, n, w.partitions)
	}
	if err := mayUse(need, d.AuthorizedOperations); err != nil {
		return err
	}
	for _, p := range d.Partitions.Sorted() {
		switch least := w.insync[need.Name]; {
		case p.Leader < 0:
			return fmt.Errorf("partition %d of %s: %w", p.Partition, need.Name, errNoLeader)
		case slices.Contains(need.Operations, kmsg.ACLOperationWrite) && len(p.ISR) < least:
			return fmt.Errorf("partition %d of %s takes no records: %w: %d, min.insync.replicas is %d",
				p.Partition, need.Name, errReplicas, len(p.ISR), least)
		}
	}
	return nil
}

// partitionsError refuses a topic with another number of partitions than the installation has.
func partitionsError(topic string, have, want int) error {
	return fmt.Errorf("%w: topic %s has %d partitions, topics.partitions is %d: a sensor would move to another "+
		"partition than its state; set topics.partitions if it is wrong. If partitions were added, they cannot be taken "+
		"away: use new topics and groups", ErrTopicChanged, topic, have, want)
}

// mayUse says which operation the user lacks, of reading and writing: those that a client does not report by itself.
// Brokers that do not tell what a user may do are believed to let it.
func mayUse(need Access, may []kadm.ACLOperation) error {
	if len(may) == 0 || slices.Contains(may, kadm.OpAll) {
		return nil
	}
	for _, op := range []kadm.ACLOperation{kadm.OpRead, kadm.OpWrite} {
		if slices.Contains(need.Operations, op) && !slices.Contains(may, op) {
			return fmt.Errorf("%w %v topic %s", errRefused, op, need.Name)
		}
	}
	return nil
}
