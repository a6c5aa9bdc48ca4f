package test

import (
	"testing"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/feed"
	"gantry/test/harness"
	"gantry/test/suite"
)

// developing describes a dev on free ports.
func developing(t *testing.T, data string) app.DevOptions {
	free := map[string]bool{"kafka.brokers": true, "registry.url": true, "http.listen": true}
	c := suite.Settings()
	c.Kafka.Brokers, c.Registry.URL = []string{"127.0.0.1:0"}, "http://127.0.0.1:0"
	return app.DevOptions{
		Config: c, Fixed: func(key string) bool { return free[key] }, Data: data, Wire: feed.WireAvro,
		Logger: harness.LogTo(t),
	}
}

// replaying describes a dev that replays a file at its own times. Those lie in the past, so that every window is over
// once its sensor is silent.
func replaying(t *testing.T, path, data string) app.DevOptions {
	t.Helper()
	o := developing(t, data)
	o.Rebase = feed.RebaseNone
	var err error
	if o.Input, err = feed.ReadFile(path, ""); err != nil {
		t.Fatal(err)
	}
	return o
}

// simulating describes a dev that is fed by the simulator, with rate readings a second.
func simulating(t *testing.T, data string, sensors int, rate float64) app.DevOptions {
	o := developing(t, data)
	o.Sim = feed.DefaultSimulateOptions()
	o.Sim.Sensors, o.Sim.Rate = sensors, rate
	return o
}

// running is a dev that runs until it is stopped.
type running struct {
	*app.Dev
	*harness.Running
}

func start(t *testing.T, o app.DevOptions) *running {
	t.Helper()
	d, err := app.NewDev(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return &running{Dev: d, Running: harness.Background(t, "dev", d.Run)}
}

func embedded(t *testing.T, data string) *app.Embedded {
	t.Helper()
	e, err := app.StartEmbedded(app.EmbeddedOptions{
		Dir: data, KafkaAddr: "127.0.0.1:0", RegistryAddr: "127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
