package main

import (
	"context"
	"os"
	"os/signal"

	"gantry/processors"
)

// leaveSignals tell gantry run to stop for good; none where the system has no signals for users.
var leaveSignals []os.Signal

// withLeaving returns a context that ends with processors.ErrLeaving at such a signal.
func withLeaving(ctx context.Context) (leaving context.Context, stop func()) {
	leaving, leave := context.WithCancelCause(ctx)
	if len(leaveSignals) == 0 {
		return leaving, func() { leave(nil) }
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, leaveSignals...)
	go func() {
		select {
		case <-signals:
			leave(processors.ErrLeaving)
		case <-leaving.Done():
		}
	}()
	return leaving, func() {
		signal.Stop(signals)
		leave(nil)
	}
}
