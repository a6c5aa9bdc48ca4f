package processors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"gantry/store"
)

// Conditions of topics that the brokers do not answer with an error of their own.
var (
	errNoLeader = errors.New("no broker leads it")
	errReplicas = errors.New("not enough replicas are in sync")
	errRefused  = errors.New("the user may not")
)

// TopicUse is what a process does with a topic.
type TopicUse struct {
	Topic       string
	Read, Write bool
}

// topicWatch looks after the topics themselves. Clients do not tell enough: behind a topic that takes no records for
// want of replicas a producer waits without a word; a topic that was re-created begins at offset 0 again, where whoever
// reads it by its name takes new records for repeats, or passes over them.
type topicWatch struct {
	uses       []TopicUse
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
	names := make([]string, len(w.uses))
	for i, u := range w.uses {
		names[i] = u.Topic
	}
	topics, err := adm.ListTopics(kadm.WithAuthorizedOps(ctx), names...)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	if now := time.Now(); now.Sub(w.insyncAt) >= insyncInterval {
		w.insync, w.insyncAt = minInsync(ctx, adm, names), now
	}
	return w.judge(topics)
}

// minInsync returns min.insync.replicas by topic; nothing of a topic whose settings this user may not see.
func minInsync(ctx context.Context, adm *kadm.Client, topics []string) map[string]int {
	least := make(map[string]int)
	configs, err := adm.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return least
	}
	for _, rc := range configs {
		for _, c := range rc.Configs {
			if n, err := strconv.Atoi(c.MaybeValue()); c.Key == "min.insync.replicas" && err == nil {
				least[rc.Name] = n
			}
		}
	}
	return least
}

// judge returns the worst of what is wrong: what is final first, then topics in the order of their use.
func (w *topicWatch) judge(topics kadm.TopicDetails) error {
	if w.ids == nil {
		w.ids = make(map[string]kadm.TopicID)
	}
	var first error
	for _, u := range w.uses {
		d, ok := topics[u.Topic]
		if !ok {
			d.Err = kerr.UnknownTopicOrPartition
		}
		err := w.judgeTopic(u, d)
		if Final(err) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (w *topicWatch) judgeTopic(u TopicUse, d kadm.TopicDetail) error {
	if d.Err != nil {
		return fmt.Errorf("topic %s: %w", u.Topic, d.Err)
	}
	if was, known := w.ids[u.Topic]; !known {
		w.ids[u.Topic] = d.ID
	} else if was != d.ID {
		return fmt.Errorf("%w: topic %s was deleted and created again (id %v, was %v): %s",
			ErrTopicChanged, u.Topic, d.ID, was, store.StartAnew)
	}
	if n := len(d.Partitions); n != w.partitions {
		return partitionsError(u.Topic, n, w.partitions)
	}
	if err := mayUse(u, d.AuthorizedOperations); err != nil {
		return err
	}
	for _, p := range d.Partitions.Sorted() {
		switch least := w.insync[u.Topic]; {
		case p.Leader < 0:
			return fmt.Errorf("partition %d of %s: %w", p.Partition, u.Topic, errNoLeader)
		case u.Write && len(p.ISR) < least:
			return fmt.Errorf("partition %d of %s takes no records: %w: %d, min.insync.replicas is %d",
				p.Partition, u.Topic, errReplicas, len(p.ISR), least)
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

// mayUse says which operation the user lacks. Brokers that do not tell what a user may do are believed to let it.
func mayUse(u TopicUse, may []kadm.ACLOperation) error {
	if len(may) == 0 {
		return nil
	}
	for _, need := range []struct {
		op     kadm.ACLOperation
		wanted bool
	}{{kadm.OpRead, u.Read}, {kadm.OpWrite, u.Write}} {
		if need.wanted && !slices.Contains(may, need.op) && !slices.Contains(may, kadm.OpAll) {
			return fmt.Errorf("%w %v topic %s", errRefused, need.op, u.Topic)
		}
	}
	return nil
}
