package real

import (
	"context"
	"testing"
	"time"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/test/harness"
)

// running is a pipeline in this process.
type running struct {
	*app.App
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, c config.Config) *running {
	t.Helper()
	a, err := app.New(app.Options{Config: c, Roles: app.AllRoles, Version: "test", Logger: harness.LogTo(t)})
	if err != nil {
		t.Fatal(err)
	}
	return runApp(t, a)
}

func runApp(t *testing.T, a *app.App) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{App: a, t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- a.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

// stop ends the pipeline as SIGTERM does. It is no error that it has been stopped already.
func (r *running) stop() {
	r.t.Helper()
	if r.ended == nil {
		return
	}
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("the pipeline ended with %v", err)
		}
	case <-time.After(harness.StopPatience):
		r.t.Errorf("the pipeline has not stopped within %v", harness.StopPatience)
	}
	r.ended = nil
}
