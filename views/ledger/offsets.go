package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/processors"
)

// noted is an extent, and what else is read.
type noted struct {
	Extent
	loop []Span // what its group has not committed; empty with raw.keyed: true
}

// noteExtent asks for offsets in the order that Extent explains.
func (o *VerifyOptions) noteExtent(ctx context.Context, adm *kadm.Client) (n noted, err error) {
	t := &o.Ledger
	dedup, err := committed(ctx, adm, o.DedupGroup)
	if err != nil {
		return n, err
	}
	window, err := committed(ctx, adm, o.WindowGroup)
	if err != nil {
		return n, err
	}
	if !t.Keyed {
		if n.loop, err = spans(ctx, adm, o.LoopTopic, dedup); err != nil {
			return n, err
		}
		for p := range n.loop {
			n.loop[p].Start = min(max(n.loop[p].Start, n.loop[p].Committed), n.loop[p].End)
		}
	}
	if n.Events, err = spans(ctx, adm, t.EventsTopic, window); err != nil {
		return n, err
	}
	if n.Rejects, err = spans(ctx, adm, t.RejectsTopic, nil); err != nil {
		return n, err
	}
	if n.Raw, err = spans(ctx, adm, t.RawTopic, dedup); err != nil {
		return n, err
	}
	n.asCopy(dedup, window)
	n.ExpiredUntil, err = o.expiredUntil(ctx, adm, map[string][]Span{t.EventsTopic: n.Events, t.RejectsTopic: n.Rejects})
	return n, err
}

// asCopy proves topics to their ends where there are outcomes and no group has committed anything: topics that were
// copied from the cluster that made them, or whose groups were forgotten. Of traffic-raw that is as far as the last
// outcome of each partition, see boundByOutcomes.
func (n *noted) asCopy(dedup, window kadm.OffsetResponses) {
	outcomes := func(s Span) bool { return s.End > s.Start }
	if len(dedup) > 0 || len(window) > 0 || !slices.ContainsFunc(n.Events, outcomes) && !slices.ContainsFunc(n.Rejects, outcomes) {
		return
	}
	n.Copied = true
	for _, spans := range [][]Span{n.Raw, n.Events} {
		for p := range spans {
			spans[p].Committed = spans[p].End
		}
	}
	for p := range n.loop {
		n.loop[p].Start = n.loop[p].End
	}
}

// committed returns what a group has committed. A group that never committed anything has not begun: nothing is.
func committed(ctx context.Context, adm *kadm.Client, group string) (kadm.OffsetResponses, error) {
	offsets, err := adm.FetchOffsets(ctx, group)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("committed offsets of %s: %w", group, err)
	}
	return offsets, nil
}

// spans returns what a topic holds, up to its last stable offsets, by partition.
func spans(ctx context.Context, adm *kadm.Client, topic string, commits kadm.OffsetResponses) ([]Span, error) {
	ends, err := processors.TopicOffsets(adm.ListCommittedOffsets(ctx, topic))
	if err != nil {
		return nil, fmt.Errorf("end of %s: %w", topic, err)
	}
	starts, err := processors.TopicOffsets(adm.ListStartOffsets(ctx, topic))
	if err != nil {
		return nil, fmt.Errorf("start of %s: %w", topic, err)
	}
	if len(starts) != len(ends) {
		return nil, fmt.Errorf("%s has %d partitions, a moment ago it had %d", topic, len(starts), len(ends))
	}
	s := make([]Span, len(ends))
	for p, start := range starts {
		s[p] = Span{Start: start, End: max(ends[p], start)}
		if c, ok := commits.Lookup(topic, int32(p)); ok {
			s[p].Committed = max(c.At, 0)
			for _, h := range processors.ParseHoles(c.Metadata) {
				s[p].Unread = append(s[p].Unread, Unread{From: h.From, To: h.To, NoticedAt: h.At.UnixMilli()})
			}
		}
	}
	return s, nil
}

// expiredUntil finds the bound of Extent.ExpiredUntil: the latest first record of the partitions of which something was
// deleted. A partition without any record left was deleted longer ago than the retention of its topic; if that is
// unlimited, somebody deleted it by hand, and it cannot be told when.
func (o *VerifyOptions) expiredUntil(ctx context.Context, adm *kadm.Client, topics map[string][]Span) (int64, error) {
	var until int64
	first := make(map[string][]Span)
	for topic, partitions := range topics {
		first[topic] = make([]Span, len(partitions))
		for p, s := range partitions {
			switch {
			case s.Start == 0:
			case s.Start < s.End:
				first[topic][p] = s
			default:
				retention, err := retentionMillis(ctx, adm, topic)
				if err != nil {
					return 0, err
				}
				if retention < 0 {
					return math.MaxInt64, nil
				}
				until = max(until, o.Now().UnixMilli()-retention)
			}
		}
	}
	err := o.read(ctx, "first records", first, func(r *kgo.Record) (bool, error) {
		until = max(until, r.Timestamp.UnixMilli())
		return true, nil
	})
	return until, err
}

// retentionMillis is the retention by time of a topic, -1 where it is unlimited.
func retentionMillis(ctx context.Context, adm *kadm.Client, topic string) (int64, error) {
	const key = "retention.ms"
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("configuration of %s: %w", topic, err)
	}
	config, err := configs.On(topic, nil)
	if err == nil {
		err = config.Err
	}
	if err != nil {
		return 0, fmt.Errorf("configuration of %s: %w", topic, err)
	}
	for _, c := range config.Configs {
		if c.Key == key && c.Value != nil {
			ms, err := strconv.ParseInt(*c.Value, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("configuration of %s: %s: %w", topic, key, err)
			}
			return ms, nil
		}
	}
	return -1, nil
}
