package app

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"gantry/cmd/gantry/config"
	"gantry/store/archive"
)

// SettledAfter is how long after its end an hour of the archive is complete, where the pipeline keeps up; see
// archive.Settling.
func SettledAfter(c *config.Config) time.Duration {
	return c.Window.Retention + c.Window.Grace + c.Window.IdleTimeout
}

// Published asks the brokers for the first offset of each partition that was published at or after a time; where there
// is none, for its end.
func Published(ctx context.Context, adm *kadm.Client, topic string) func(time.Time) ([]int64, error) {
	return func(at time.Time) ([]int64, error) {
		listed, err := adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)
		return byPartition(topic, listed, err)
	}
}

// Ends asks the brokers for the end of each partition.
func Ends(ctx context.Context, adm *kadm.Client, topic string) ([]int64, error) {
	listed, err := adm.ListEndOffsets(ctx, topic)
	return byPartition(topic, listed, err)
}

func byPartition(topic string, listed kadm.ListedOffsets, err error) ([]int64, error) {
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", topic, err)
	}
	offsets := make([]int64, len(listed[topic]))
	for p := range offsets {
		l, ok := listed.Lookup(topic, int32(p))
		if !ok {
			return nil, fmt.Errorf("offsets of %s: partition %d of %d is unknown", topic, p, len(offsets))
		}
		offsets[p] = l.Offset
	}
	return offsets, nil
}

// ReasonsUnsettled fills in why hours of a status are not sealed yet.
func ReasonsUnsettled(s *archive.Settling, status *archive.Status) error {
	for i := range status.Hours {
		h := &status.Hours[i]
		if h.State == archive.StateSealed {
			continue
		}
		why, err := s.Unsettled(h.Hour)
		if err != nil {
			return err
		}
		if h.Why = why; why == "" {
			h.Why = "gantry archive compact would seal it"
		}
	}
	return nil
}
