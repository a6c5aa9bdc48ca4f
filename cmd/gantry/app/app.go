package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"gantry/cmd/gantry/config"
	"gantry/codecs"
	"gantry/codecs/registry"
	"gantry/processors"
	"gantry/processors/dedup"
	"gantry/processors/validate"
	"gantry/processors/window"
	"gantry/store/archive"
	"gantry/views"
	"gantry/views/api"
)

// Role is a part of the pipeline that a process can run.
type Role string

// The roles.
const (
	RoleDedup   Role = "dedup"
	RoleWindow  Role = "window"
	RoleServe   Role = "serve"
	RoleArchive Role = "archive"
)

// AllRoles lists them in the order of the data.
var AllRoles = []Role{RoleDedup, RoleWindow, RoleServe, RoleArchive}

// ParseRoles reads role names.
func ParseRoles(names []string) ([]Role, error) {
	var roles []Role
	for _, n := range names {
		r := Role(strings.TrimSpace(n))
		if !slices.Contains(AllRoles, r) {
			return nil, fmt.Errorf("role %q: allowed are %v", n, AllRoles)
		}
		if !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	if len(roles) == 0 {
		return nil, fmt.Errorf("no roles: allowed are %v", AllRoles)
	}
	return roles, nil
}

// Options of an App.
type Options struct {
	Config  config.Config
	Roles   []Role
	Dynamic bool // for brokers that live in this process, which nobody shares: no static members, no standby
	Forever bool // topics that are created keep their records for good
	Version string
	Logger  *slog.Logger
}

// App is one Gantry process.
type App struct {
	o        Options
	log      *slog.Logger
	kafka    processors.Kafka
	topics   processors.Topics
	registry *registry.Client
	metrics  *prometheus.Registry
	starting *processors.Condition // what Prepare waits for
	prepared atomic.Bool           // what follows is there
	schema   int32                 // id of the event schema

	monitor   *processors.Monitor
	dedup     *processors.Stage
	window    *processors.Stage
	directory *views.Directory
	tables    *views.Tables
	archiver  *views.Archiver
	caught    map[Role]*caughtUp

	archiveFS archive.FS
	hub       *api.Hub
	server    *api.Server
	listener  net.Listener
}

// KafkaOf returns the way to the brokers that a configuration describes.
func KafkaOf(c *config.Config) (processors.Kafka, error) {
	version, err := sarama.ParseKafkaVersion(c.Kafka.Version)
	if err != nil {
		return processors.Kafka{}, fmt.Errorf("kafka.version: %w", err)
	}
	tls, err := c.Kafka.TLS.Config()
	if err != nil {
		return processors.Kafka{}, err
	}
	return processors.Kafka{
		Brokers: c.Kafka.Brokers, Version: version, TLS: tls, ClientID: "gantry",
		BatchBytesMax: c.Kafka.BatchBytesMax,
		SASL: processors.SASL{
			Mechanism: c.Kafka.SASL.Mechanism, User: c.Kafka.SASL.User, Password: c.Kafka.SASL.Password,
		},
	}, nil
}

// TopicsOf returns the topics that a configuration names.
func TopicsOf(c *config.Config) processors.Topics {
	t := processors.DefaultTopics()
	t.Raw, t.Events, t.Rejects = goka.Stream(c.Topics.Raw), goka.Stream(c.Topics.Events), goka.Stream(c.Topics.Rejects)
	t.Partitions, t.Keyed = c.Topics.Partitions, c.Raw.Keyed
	return t
}

// RegistryOf returns a client of the schema registry.
func RegistryOf(c *config.Config) (*registry.Client, error) {
	o := registry.DefaultOptions()
	o.URL, o.User, o.Password = c.Registry.URL, c.Registry.User, c.Registry.Password
	return registry.NewClient(o)
}

// OpenArchive opens the archive of a configuration.
func OpenArchive(c *config.Archive) (archive.FS, error) {
	return archive.OpenAs(c.URL, archive.Kerberos{
		Principal: c.Kerberos.Principal, Keytab: c.Kerberos.Keytab, Config: c.Kerberos.Config,
		Namenode: c.Kerberos.Namenode, Protection: c.Kerberos.Protection,
	})
}

// WindowOptions returns the windows' rules.
func WindowOptions(c *config.Config) window.Options {
	w := c.Window
	return window.Options{
		Length: w.Length, Grace: w.Grace, IdleTimeout: w.IdleTimeout, Retention: w.Retention,
		DefaultInterval: w.DefaultInterval,
	}
}

// DedupOptions returns the rules of the dedup stage.
func DedupOptions(c *config.Config) dedup.Options {
	v := c.Validate
	return dedup.Options{
		Rules: validate.Options{
			Required: v.Required, SpeedMax: v.SpeedMax, VolumeMax: int64(v.VolumeMax),
			LatMin: v.LatMin, LatMax: v.LatMax, LonMin: v.LonMin, LonMax: v.LonMax,
			MaxAge: v.MaxAge, MaxAhead: v.MaxAhead, KnownSensorsOnly: v.KnownSensorsOnly,
		},
		WindowLength: c.Window.Length, WindowRetention: c.Window.Retention,
	}
}

// New takes the port and opens the archive. It talks to no broker and no registry: those may be away, see Prepare. It
// fails with everything it has opened closed.
func New(o Options) (_ *App, err error) {
	a := &App{o: o, log: o.Logger, topics: TopicsOf(&o.Config), metrics: prometheus.NewRegistry()}
	a.starting = processors.NewCondition("gantry cannot start", a.log, a.metrics)
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.kafka, err = KafkaOf(&o.Config); err != nil {
		return nil, err
	}
	if !o.Dynamic {
		a.kafka.Instance = o.Config.Instance
	}
	if a.registry, err = RegistryOf(&o.Config); err != nil {
		return nil, err
	}
	a.metrics.MustRegister(
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())

	// The port first: a second process on it should fail before it touches anything.
	if a.listener, err = net.Listen("tcp", o.Config.HTTP.Listen); err != nil {
		return nil, fmt.Errorf("http.listen: %w", err)
	}
	if o.Config.Archive.URL != "" && a.has(RoleArchive) {
		if a.archiveFS, err = OpenArchive(&o.Config.Archive); err != nil {
			return nil, fmt.Errorf("archive.url: %w", err)
		}
	}
	a.hub = api.NewHub(0)
	a.directory = views.NewDirectory(WindowOptions(&o.Config), a.topics.Partitions, a.hub, time.Now)
	a.directory.MetadataRequired = o.Config.Validate.KnownSensorsOnly
	return a, a.wireServer()
}

const (
	prepareTimeout    = 30 * time.Second // of one try: servers that take longer are tried again
	reachTimeout      = 5 * time.Second  // of its first step
	prepareBackoffMin = time.Second
	prepareBackoffMax = 5 * time.Second
)

// Prepare makes what is missing on the servers, topics, tables and subjects, and then the roles. It waits for servers
// that are away until ctx ends, and for a user that may not yet do what it must: it returns only errors that waiting
// does not mend. Calling it again does nothing.
func (a *App) Prepare(ctx context.Context) error {
	for backoff := prepareBackoffMin; !a.prepared.Load(); backoff = min(2*backoff, prepareBackoffMax) {
		err := a.prepareServers(ctx)
		switch {
		case err == nil:
			a.starting.Clear()
			a.wire()
			a.prepared.Store(true)
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case !mends(err):
			return err
		}
		a.starting.Fail(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff):
		}
	}
	return nil
}

// mends tells whether waiting can mend an error of the start: servers come back, rights are granted. What the servers
// say for good is for the operator, who sees a process that ends.
func mends(err error) bool {
	if errors.Is(err, registry.ErrUnavailable) {
		return true
	}
	kind := processors.ErrorTypeOf(err)
	return kind != processors.ErrorProcessor && !processors.Final(err)
}

func (a *App) prepareServers(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	soon, cancelSoon := context.WithTimeout(ctx, reachTimeout)
	defer cancelSoon()
	if err := a.kafka.Reachable(soon); err != nil {
		return err
	}
	if err := a.kafka.CheckAccess(ctx, a.access()); err != nil {
		return err
	}
	adm, err := a.kafka.Admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	specs := a.topics.Specs(a.o.Forever)
	created, err := processors.EnsureTopics(ctx, adm, specs)
	if err != nil {
		return err
	}
	if len(created) > 0 {
		a.log.Info("topics created", "topics", created)
	}
	if a.schema, err = ensureSubjects(ctx, a.registry, a.topics); err != nil {
		return err
	}
	diffs, err := processors.CheckTopics(ctx, adm, specs)
	for _, d := range diffs {
		a.log.Warn("a topic is not as it should be; see gantry topics check",
			"topic", d.Topic, "what", d.What, "have", d.Have, "want", d.Want)
	}
	return err
}

// access is what the brokers must allow for the roles of this process.
func (a *App) access() []processors.Access {
	return a.topics.Access(processors.Uses{
		Dedup: a.has(RoleDedup), Window: a.has(RoleWindow), Archive: a.archiveFS != nil, Serve: a.has(RoleServe),
	})
}

func (a *App) has(r Role) bool { return slices.Contains(a.o.Roles, r) }

func (a *App) close() {
	if a.listener != nil {
		_ = a.listener.Close()
	}
	if a.archiveFS != nil {
		_ = a.archiveFS.Close()
	}
	if a.registry != nil {
		a.registry.Close()
	}
}

// quietTime is how long a server may take to answer before the user hears that it is waited for.
const quietTime = 2 * time.Second

// Reach calls reachable, which waits for a server, until ctx ends. It calls waiting once if that takes long.
func Reach(ctx context.Context, reachable func(context.Context) error, waiting func(err error)) error {
	soon, cancel := context.WithTimeout(ctx, quietTime)
	err := reachable(soon)
	cancel()
	if err == nil || ctx.Err() != nil || errors.Is(err, processors.ErrMisconfigured) {
		return err
	}
	waiting(err)
	return reachable(ctx)
}

// EnsureSubjects registers both schemas where they are absent and returns the id of the event schema. It waits for a
// registry that does not answer until ctx ends.
func EnsureSubjects(
	ctx context.Context, client *registry.Client, t processors.Topics, log *slog.Logger,
) (events int32, err error) {
	for waited := false; ; waited = true {
		events, err = ensureSubjects(ctx, client, t)
		if err == nil || !errors.Is(err, registry.ErrUnavailable) {
			return events, err
		}
		if !waited {
			log.Warn("the schema registry does not answer; waiting", "error", err)
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func ensureSubjects(ctx context.Context, client *registry.Client, t processors.Topics) (events int32, err error) {
	if _, err := client.EnsureSubject(ctx, t.RawSubject(), codecs.RawSchema); err != nil {
		return 0, err
	}
	return client.EnsureSubject(ctx, t.EventsSubject(), codecs.EventSchema)
}

// Address is where HTTP is served.
func (a *App) Address() string { return a.listener.Addr().String() }

// PageURL is where the live page is.
func (a *App) PageURL() string {
	scheme := "http"
	if a.o.Config.HTTP.TLS.Cert != "" {
		scheme = "https"
	}
	return scheme + "://" + a.Address() + "/"
}

// Metrics is the registry of everything that the process counts.
func (a *App) Metrics() *prometheus.Registry { return a.metrics }

// wire makes the roles.
func (a *App) wire() {
	c := &a.o.Config
	inputs := views.PipelineInputs(a.topics)
	archived := processors.Input{Group: processors.ArchiveGroup, Topic: string(a.topics.Events)}
	a.monitor = processors.NewMonitor(a.kafka, append(inputs, archived),
		[]string{string(processors.DedupTable), string(processors.WindowTable)}, a.log, a.metrics)
	a.monitor.Watch(a.access(), a.topics.Partitions)
	if a.has(RoleDedup) {
		a.dedup = dedup.NewHandler(dedup.HandlerOptions{
			Topics: a.topics, Rules: DedupOptions(c), Schemas: a.registry, EventSchema: a.schema,
			Logger: a.log, Metrics: a.metrics,
		}).Stage()
		a.dedup.Kafka, a.dedup.StateDir, a.dedup.Standby = a.kafka, c.State.Dir, c.State.Standby && !a.o.Dynamic
	}
	if a.has(RoleWindow) {
		a.window = window.NewHandler(window.HandlerOptions{
			Topics: a.topics, Rules: WindowOptions(c), EventSchema: a.schema, Logger: a.log, Metrics: a.metrics,
		}).Stage()
		a.window.Kafka, a.window.StateDir, a.window.Standby = a.kafka, c.State.Dir, c.State.Standby && !a.o.Dynamic
	}
	if a.has(RoleServe) || a.has(RoleWindow) {
		a.tables = &views.Tables{
			Directory: a.directory, WindowsOnly: !a.has(RoleServe), Kafka: a.kafka, Monitor: a.monitor, Logger: a.log,
		}
	}
	if a.has(RoleServe) {
		a.metrics.MustRegister(views.NewCollector(a.directory))
	}
	if a.archiveFS != nil {
		o := archive.DefaultOptions()
		o.FlushInterval, o.FlushRows, o.Version = c.Archive.FlushInterval, c.Archive.FlushRows, a.o.Version
		o.ProgressInterval = max(o.ProgressInterval, o.FlushInterval)
		o.Bound(a.topics.Partitions)
		o.Logger, o.Metrics = a.log, archive.NewMetrics(a.metrics, time.Now)
		if c, ok := a.archiveFS.(prometheus.Collector); ok {
			a.metrics.MustRegister(c)
		}
		a.archiver = &views.Archiver{
			Kafka: a.kafka, Topic: string(a.topics.Events), FS: a.archiveFS, Monitor: a.monitor, Options: o,
			Logger: a.log, Metrics: a.metrics,
		}
	}
	a.caught = map[Role]*caughtUp{RoleDedup: {}, RoleWindow: {}}
}

func (a *App) wireServer() (err error) {
	o := api.DefaultOptions()
	o.Directory, o.Changes, o.Readiness, o.Pipeline = a.directory, a.hub, a, a
	o.Metrics = promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{})
	o.Tokens = a.o.Config.HTTP.Tokens
	o.Logger = a.log
	if o.TLS, err = a.o.Config.HTTP.TLS.Config(); err != nil {
		return err
	}
	a.server, err = api.New(o)
	return err
}

// Run serves HTTP, prepares the roles and runs them until ctx ends. It returns when everything has stopped. Where ctx ends
// with processors.ErrLeaving, or leaveOnStop is set, the process leaves its groups. An error is one that a restart of the
// process does not mend by itself.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	if a.o.Config.LeaveOnStop {
		leaving, leave := context.WithCancelCause(context.WithoutCancel(ctx))
		defer leave(nil)
		defer context.AfterFunc(ctx, func() { leave(processors.ErrLeaving) })()
		ctx = leaving
	}
	g, ctx := errgroup.WithContext(ctx)
	run := func(f func(context.Context) error) { g.Go(func() error { return f(ctx) }) }
	run(func(ctx context.Context) error { return a.server.Run(ctx, a.listener) })
	run(func(ctx context.Context) error {
		if err := a.Prepare(ctx); err != nil {
			return err
		}
		a.runRoles(run)
		return nil
	})
	err := g.Wait()
	if errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// runRoles starts what the process does with run.
func (a *App) runRoles(run func(func(context.Context) error)) {
	run(a.monitor.Run)
	run(a.measure)
	run(a.watchRoles)
	if a.dedup != nil {
		run(a.dedup.Run)
	}
	if a.window != nil {
		run(a.window.Run)
		silences := &views.Silences{
			Directory: a.directory, Monitor: a.monitor, Kafka: a.kafka, Topics: a.topics, EventSchema: a.schema,
			Owns:     func(p int32) bool { return slices.Contains(a.window.Owned(), p) },
			ViewNext: func() map[int32]int64 { return a.tables.Next(processors.WindowTable) },
			Logger:   a.log,
		}
		run(silences.Run)
	}
	if a.tables != nil {
		run(a.tables.Run)
	}
	if a.archiver != nil {
		run(a.archiver.Run)
	}
}
