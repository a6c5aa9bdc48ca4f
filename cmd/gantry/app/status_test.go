package app

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
)

// A process catches up with what lay before it when it started, although nobody asks whether it is ready: whoever asks
// first, hours later, under load, does not set the mark anew.
func TestRolesCatchUpUnasked(t *testing.T) {
	c := config.Default()
	c.Kafka.Brokers, c.Registry.URL, c.HTTP.Listen = []string{"127.0.0.1:0"}, "http://127.0.0.1:0", "127.0.0.1:0"
	o := DevOptions{
		Config: c, Fixed: func(string) bool { return false }, Data: t.TempDir(),
		Sim: feed.DefaultSimulateOptions(), Wire: feed.WireJSON, Logger: slog.New(slog.DiscardHandler),
	}
	d, err := NewDev(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	done := func() bool {
		for _, c := range d.caught {
			c.mu.Lock()
			done := c.done
			c.mu.Unlock()
			if !done {
				return false
			}
		}
		return true
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("a role has not caught up within a minute")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
