package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
	"gantry/codecs"
	"gantry/store"
)

// DevOptions describe everything in one process, fed by a file or by the simulator.
type DevOptions struct {
	Config config.Config
	// Fixed tells whether the user has set a key. What is not set adapts to the laptop: a port that is taken gives way
	// to a free one, and the bounds of the rules to the file's sensors.
	Fixed   func(key string) bool
	Data    string
	Input   *feed.File // nil: the simulator
	Sim     feed.SimulateOptions
	Rebase  feed.Rebase
	Speed   feed.Speed
	Wire    feed.Wire
	Version string
	Logger  *slog.Logger
}

// Dev is a Gantry with its own Kafka, registry and archive folder. What it keeps is in one folder, so that the next
// start goes on where this one stopped.
type Dev struct {
	*App
	o        DevOptions
	embedded *Embedded
	feeder   *feed.Publisher
	source   feed.Source

	Total int64       // rows of the input; 0 with the simulator
	Fed   atomic.Bool // the input has been published to its end
}

// NewDev starts the servers and prepares the pipeline and its feed.
func NewDev(ctx context.Context, o DevOptions) (_ *Dev, err error) {
	d := &Dev{o: o}
	defer func() {
		if err != nil {
			d.shut()
			err = d.explain(err)
		}
	}()
	c := &d.o.Config
	if d.embedded, err = d.startServers(c); err != nil {
		return nil, err
	}
	c.Kafka.Brokers, c.Registry.URL = d.embedded.Kafka.ListenAddrs(), d.embedded.Registry.URL()
	if !o.Fixed("state.dir") {
		c.State.Dir = filepath.Join(o.Data, "state")
	}
	if !o.Fixed("archive.url") {
		dir, err := filepath.Abs(filepath.Join(o.Data, "archive"))
		if err != nil {
			return nil, err
		}
		c.Archive.URL = "file://" + filepath.ToSlash(dir)
	}
	var sensors []codecs.Sensor
	if o.Input != nil {
		d.Total = o.Input.Info.Rows
		if sensors, err = o.Input.Sensors(); err != nil {
			return nil, fmt.Errorf("the sensors of %s: %w", o.Input.Path, err)
		}
		d.widen(c, sensors)
	}
	if d.App, err = d.newApp(c); err != nil {
		return nil, err
	}
	soon, cancel := context.WithTimeout(ctx, devStartTimeout)
	defer cancel()
	if err := d.App.Prepare(soon); err != nil {
		return nil, err
	}
	if err := d.newFeed(ctx, sensors); err != nil {
		return nil, err
	}
	return d, nil
}

// devStartTimeout bounds the wait for the embedded servers, which are in this process: they are there, or broken.
const devStartTimeout = time.Minute

func (d *Dev) newApp(c *config.Config) (*App, error) {
	o := Options{
		Config: *c, Roles: AllRoles, Dynamic: true, Forever: true, Version: d.o.Version, Logger: d.o.Logger,
	}
	a, err := New(o)
	if errors.Is(err, syscall.EADDRINUSE) && !d.o.Fixed("http.listen") {
		o.Config.HTTP.Listen = "127.0.0.1:0"
		a, err = New(o)
	}
	return a, err
}

// startServers takes the ports of the configuration, so that the other commands find the servers without being told.
func (d *Dev) startServers(c *config.Config) (*Embedded, error) {
	if err := store.RequireSpace(d.o.Data); err != nil {
		return nil, err
	}
	o := EmbeddedOptions{Dir: d.o.Data, KafkaAddr: c.Kafka.Brokers[0], RegistryAddr: "127.0.0.1:0"}
	if addr, ok := hostPort(c.Registry.URL); ok {
		o.RegistryAddr = addr
	}
	if !d.o.Fixed("kafka.brokers") && taken(o.KafkaAddr) {
		o.KafkaAddr = "127.0.0.1:0"
	}
	if !d.o.Fixed("registry.url") && taken(o.RegistryAddr) {
		o.RegistryAddr = "127.0.0.1:0"
	}
	return StartEmbedded(o)
}

func taken(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return true
	}
	_ = l.Close()
	return false
}

// widen makes the bounds hold the file's sensors, by a margin, where the user has not set them: a file from another
// city should not be rejected as a whole.
func (d *Dev) widen(c *config.Config, sensors []codecs.Sensor) {
	const margin = 0.1 // degrees
	for _, key := range []string{"validate.latMin", "validate.latMax", "validate.lonMin", "validate.lonMax"} {
		if d.o.Fixed(key) {
			return
		}
	}
	v := &c.Validate
	for _, s := range sensors {
		v.LatMin, v.LatMax = math.Min(v.LatMin, s.Latitude-margin), math.Max(v.LatMax, s.Latitude+margin)
		v.LonMin, v.LonMax = math.Min(v.LonMin, s.Longitude-margin), math.Max(v.LonMax, s.Longitude+margin)
	}
}

func (d *Dev) newFeed(ctx context.Context, sensors []codecs.Sensor) (err error) {
	c := &d.App.o.Config
	conn := d.App.kafka.Options()
	rawSchema, err := d.App.registry.EnsureSubject(ctx, d.App.topics.RawSubject(), codecs.RawSchema)
	if err != nil {
		return err
	}
	if d.o.Input != nil {
		if d.source, err = d.o.Input.Open(); err != nil {
			return err
		}
		d.feeder, err = feed.NewReplay(ctx, conn, d.o.Input, feed.ReplayOptions{
			Topic: c.Topics.Raw, Wire: d.o.Wire, SchemaID: rawSchema, Speed: d.o.Speed, Rebase: d.o.Rebase,
			WindowLength: c.Window.Length, Resume: true, Sensors: sensors, Clock: feed.SystemClock{},
		})
		return err
	}
	sim := d.o.Sim
	sim.Limits, sim.Start = c.Validate, time.Now()
	s, err := feed.NewSimulation(sim)
	if err != nil {
		return err
	}
	d.source = s
	d.feeder, err = feed.NewPublisher(ctx, conn, feed.PublishOptions{
		Topic: c.Topics.Raw, Feed: feed.Identity{ID: s.ID()}, Wire: d.o.Wire, SchemaID: rawSchema, Live: true,
		Clock: feed.SystemClock{},
	})
	if err != nil {
		return err
	}
	return d.feeder.PublishSensors(ctx, s.Sensors())
}

// Published is the number of rows of the input that are on traffic-raw, with those of earlier starts.
func (d *Dev) Published() int64 { return d.feeder.Published.Load() + d.feeder.Skipped.Load() }

// Brokers and RegistryURL are where the embedded servers listen; Data is the folder that keeps everything.
func (d *Dev) Brokers() []string   { return d.App.o.Config.Kafka.Brokers }
func (d *Dev) RegistryURL() string { return d.App.o.Config.Registry.URL }
func (d *Dev) ArchiveURL() string  { return d.App.o.Config.Archive.URL }

// Config is the configuration that the process works with.
func (d *Dev) Config() config.Config { return d.App.o.Config }

// Run runs the pipeline and its feed until ctx ends; then the feed stops first, the pipeline next, the servers last.
func (d *Dev) Run(ctx context.Context) error {
	defer d.shut()
	return d.explain(d.run(ctx))
}

func (d *Dev) run(ctx context.Context) error {
	appCtx, stopApp := context.WithCancel(context.WithoutCancel(ctx))
	defer stopApp()
	ended := make(chan error, 1)
	go func() { ended <- d.App.Run(appCtx) }()

	feedCtx, stopFeed := context.WithCancel(ctx)
	defer stopFeed()
	fed := make(chan error, 1)
	go func() {
		err := d.feeder.Publish(feedCtx, d.source)
		if err == nil {
			d.Fed.Store(true)
		}
		fed <- err
	}()
	for {
		select {
		case err := <-ended: // before it was told to
			stopFeed()
			return err
		case err := <-fed:
			fed = nil
			if err != nil && ctx.Err() == nil {
				stopApp()
				return errors.Join(fmt.Errorf("feed: %w", err), <-ended)
			}
		case <-ctx.Done():
			stopFeed()
			if fed != nil {
				<-fed
			}
			stopApp()
			return <-ended
		}
	}
}

// explain says that the disk is full where that is behind an error: the embedded Kafka has no answer for what it cannot
// write but that it does not know. What it has acknowledged is on the disk, so that a start with more space goes on.
func (d *Dev) explain(err error) error {
	if !errors.Is(err, kerr.UnknownServerError) {
		return err
	}
	if full := store.RequireSpace(d.o.Data); full != nil {
		return fmt.Errorf("the disk is full; free space and start it again, it goes on where it was: %w (%w)", full, err)
	}
	return err
}

func (d *Dev) shut() {
	if d.feeder != nil {
		d.feeder.Close()
	}
	if d.source != nil {
		_ = d.source.Close()
	}
	if d.App != nil {
		d.App.close()
	}
	if d.embedded != nil {
		d.embedded.Close()
	}
}
