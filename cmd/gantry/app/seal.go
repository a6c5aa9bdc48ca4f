package app

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"gantry/cmd/gantry/config"
	"gantry/processors"
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
		offsets, err := processors.TopicOffsets(adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic))
		if err != nil {
			return nil, fmt.Errorf("offsets of %s: %w", topic, err)
		}
		return offsets, nil
	}
}

// Ends asks the brokers for the end of each partition.
func Ends(ctx context.Context, adm *kadm.Client, topic string) ([]int64, error) {
	ends, err := processors.TopicOffsets(adm.ListEndOffsets(ctx, topic))
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", topic, err)
	}
	return ends, nil
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
