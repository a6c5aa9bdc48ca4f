package processors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Retention of the logs. A replayed file of a week lies in traffic-raw with its own times as arrival times, so raw
// keeps twice that; what proves its outcomes is kept a week longer, so that the ledger outlives the longest outage.
const (
	rawRetention      = 14 * 24 * time.Hour
	outcomesRetention = 21 * 24 * time.Hour
	compactionLag     = 24 * time.Hour
	headersBytesMax   = 64 << 10
	outcomeBytesMax   = 2<<20 + headersBytesMax
)

// TopicSpec is a topic as Gantry needs it.
type TopicSpec struct {
	Name       string
	Partitions int32
	Configs    map[string]string
	// Carries names the topic whose messages this one carries onwards, with headers besides. What fits there must fit
	// here, so max.message.bytes is then that topic's and headersBytesMax, where this is more than Configs says.
	Carries string
}

// Specs returns every topic that an installation needs: inputs, outputs, tables and the loop. forever keeps the logs
// for good, for a laptop.
func (t Topics) Specs(forever bool) []TopicSpec {
	keep := func(d time.Duration) string {
		if forever {
			return "-1"
		}
		return strconv.FormatInt(d.Milliseconds(), 10)
	}
	log := func(name goka.Stream, retention time.Duration, more map[string]string) TopicSpec {
		c := map[string]string{"cleanup.policy": "delete", "retention.ms": keep(retention)}
		for k, v := range more {
			c[k] = v
		}
		return TopicSpec{Name: string(name), Partitions: int32(t.Partitions), Configs: c}
	}
	table := func(name goka.Table) TopicSpec {
		return TopicSpec{Name: string(name), Partitions: int32(t.Partitions), Configs: map[string]string{
			"cleanup.policy": "compact",
			// A paused instance may overwrite a newer value; recovery repairs that while both are in the log.
			"min.compaction.lag.ms": strconv.FormatInt(compactionLag.Milliseconds(), 10),
		}}
	}
	carrier := func(name goka.Stream) TopicSpec {
		s := log(name, outcomesRetention, map[string]string{messageBytesKey: strconv.Itoa(outcomeBytesMax)})
		s.Carries = string(t.Raw)
		return s
	}
	specs := []TopicSpec{
		log(t.Raw, rawRetention, nil),
		log(t.Events, outcomesRetention, nil),
		carrier(t.Rejects),
		table(DedupTable),
		table(WindowTable),
	}
	if !t.Keyed {
		specs = append(specs, carrier(DedupLoop))
	}
	return specs
}

// EnsureTopics creates what is missing, in one step that several processes may run at once, and waits until every
// partition has a leader. What exists is left as it is, with two exceptions: a wrong number of partitions is an error, and
// a max.message.bytes that is too small is raised, since one message that fits into traffic-raw and not into
// traffic-rejects would stop the pipeline.
func EnsureTopics(ctx context.Context, adm *kadm.Client, specs []TopicSpec) (created []string, err error) {
	brokers, err := adm.ListBrokers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list brokers: %w", err)
	}
	replication := int16(min(3, len(brokers)))
	existing, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	for _, s := range specs {
		if existing.Has(s.Name) {
			continue
		}
		configs := make(map[string]*string, len(s.Configs)+1)
		for k, v := range s.Configs {
			configs[k] = kadm.StringPtr(v)
		}
		if replication > 1 {
			configs[minInsyncKey] = kadm.StringPtr("2") // acks=all means nothing below two
		}
		resp, err := adm.CreateTopic(ctx, s.Partitions, replication, configs, s.Name)
		if err == nil {
			err = resp.Err
		}
		if errors.Is(err, kerr.TopicAlreadyExists) {
			continue // another process was faster
		}
		if err != nil {
			if errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) {
				err = fmt.Errorf("this user may not: run gantry topics create once as one who may, or grant CREATE on it: %w", err)
			}
			return created, fmt.Errorf("create topic %s: %w", s.Name, err)
		}
		created = append(created, s.Name)
	}
	if err := waitForLeaders(ctx, adm, specs); err != nil {
		return created, err
	}
	return created, raiseMessageBytes(ctx, adm, specs)
}

const (
	messageBytesKey = "max.message.bytes"
	minInsyncKey    = "min.insync.replicas"
)

func raiseMessageBytes(ctx context.Context, adm *kadm.Client, specs []TopicSpec) error {
	diffs, err := CheckTopics(ctx, adm, specs)
	if err != nil {
		return err
	}
	for _, d := range diffs {
		if d.What != messageBytesKey {
			continue
		}
		resp, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: messageBytesKey, Value: &d.value}}, d.Topic)
		if err == nil && len(resp) > 0 {
			err = resp[0].Err
		}
		if err != nil {
			return fmt.Errorf("raise %s of %s from %s to %s: %w (set it by hand if this user may not)",
				messageBytesKey, d.Topic, d.Have, d.value, err)
		}
	}
	return nil
}

func waitForLeaders(ctx context.Context, adm *kadm.Client, specs []TopicSpec) error {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	for {
		problem := error(nil)
		topics, err := adm.ListTopics(ctx, names...)
		if err != nil {
			problem = err
		}
		for _, s := range specs {
			if err != nil {
				break
			}
			d := topics[s.Name]
			if d.Err != nil {
				problem = fmt.Errorf("topic %s: %w", s.Name, d.Err)
				continue
			}
			if n := len(d.Partitions); n != int(s.Partitions) {
				return partitionsError(s.Name, n, int(s.Partitions))
			}
			for _, p := range d.Partitions {
				if p.Leader < 0 || p.Err != nil {
					problem = fmt.Errorf("partition %d of %s has no leader", p.Partition, s.Name)
				}
			}
		}
		if problem == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), problem)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Difference is something about a topic that is not as Gantry needs it.
type Difference struct {
	Topic string `json:"topic"`
	What  string `json:"what"`
	Have  string `json:"have"`
	Want  string `json:"want"`
	Fatal bool   `json:"fatal"` // readings could be lost or misplaced

	value string // to set, of a setting that is too low
}

// CheckTopics reports every difference between the topics and what they should be.
func CheckTopics(ctx context.Context, adm *kadm.Client, specs []TopicSpec) ([]Difference, error) {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	topics, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	have := make(map[string]map[string]string)
	for _, rc := range configs {
		if rc.Err != nil {
			continue
		}
		have[rc.Name] = make(map[string]string)
		for _, c := range rc.Configs {
			have[rc.Name][c.Key] = c.MaybeValue()
		}
	}
	var diffs []Difference
	for _, s := range specs {
		d, ok := topics[s.Name]
		if !ok || d.Err != nil {
			diffs = append(diffs, Difference{Topic: s.Name, What: "topic", Have: "missing", Want: "present", Fatal: true})
			continue
		}
		if n := len(d.Partitions); n != int(s.Partitions) {
			diffs = append(diffs, Difference{
				Topic: s.Name, What: "partitions", Have: strconv.Itoa(n), Want: strconv.Itoa(int(s.Partitions)), Fatal: true,
			})
		}
		if have[s.Name] != nil {
			diffs = append(diffs, compareConfigs(s, have)...)
		}
	}
	return diffs, nil
}

// compareConfigs compares the settings of one topic; have holds those of all topics.
func compareConfigs(s TopicSpec, have map[string]map[string]string) []Difference {
	var diffs []Difference
	for _, k := range slices.Sorted(maps.Keys(s.Configs)) {
		want, got := s.Configs[k], have[s.Name][k]
		if carried, err := strconv.Atoi(have[s.Carries][k]); k == messageBytesKey && err == nil {
			if carried += headersBytesMax; !atLeast(want, strconv.Itoa(carried)) {
				want = strconv.Itoa(carried)
			}
		}
		switch k {
		case "cleanup.policy":
			if got != want {
				diffs = append(diffs, Difference{Topic: s.Name, What: k, Have: got, Want: want, Fatal: true})
			}
		default: // more is as good
			if !atLeast(got, want) {
				diffs = append(diffs, Difference{
					Topic: s.Name, What: k, Have: got, Want: "at least " + want, Fatal: k == messageBytesKey, value: want,
				})
			}
		}
	}
	return diffs
}

// messageBytes returns the largest message that all of these topics take. Of a topic that this user may not ask about it
// believes what EnsureTopics would have made it.
func messageBytes(limits map[string]int, topics []string) int {
	least := math.MaxInt32
	for _, t := range topics {
		limit, known := limits[t]
		if !known {
			limit = outcomeBytesMax
		}
		least = min(least, limit)
	}
	return least
}

// topicNumbers returns a setting that is a number by topic; nothing of a topic that this user may not ask about.
func topicNumbers(ctx context.Context, adm *kadm.Client, setting string, topics []string) (map[string]int, error) {
	configs, err := adm.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	numbers := make(map[string]int)
	for _, rc := range configs {
		for _, c := range rc.Configs {
			if n, err := strconv.Atoi(c.MaybeValue()); c.Key == setting && err == nil {
				numbers[rc.Name] = n
			}
		}
	}
	return numbers, nil
}

// atLeast compares numbers in which -1 means without limit.
func atLeast(got, want string) bool {
	g, err := strconv.ParseInt(got, 10, 64)
	if err != nil {
		return false
	}
	w, _ := strconv.ParseInt(want, 10, 64)
	return g == -1 || w != -1 && g >= w
}
