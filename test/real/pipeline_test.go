package real

import (
	"testing"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/test/harness"
)

// running is a pipeline in this process.
type running struct {
	*app.App
	*harness.Running
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
	t.Helper()
	return &running{App: a, Running: harness.Background(t, "the pipeline", a.Run)}
}
