package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/feed"
)

// devFlags are the flags of gantry dev.
type devFlags struct {
	input, format, data, http, rebase, speed, wire string
	sensors                                        int
	rate                                           float64
	seed                                           uint64
}

func newDev(c *cli) *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in this process, with embedded servers, and a live page",
		Long: "Starts an embedded Kafka, an embedded schema registry and a local archive folder, feeds them from a file or\n" +
			"from the simulator, and runs the whole pipeline on them. What it keeps is in --data: started again, it goes on\n" +
			"where it was. The other commands find it at the default addresses: try gantry verify in another terminal.",
		Example: "  gantry dev\n  gantry dev --input los_speed.csv\n  gantry dev --sensors 1000 --rate 500",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.dev(cmd, f) },
	}
	flags := cmd.Flags()
	sim := feed.DefaultSimulateOptions()
	flags.StringVar(&f.input, "input", "", "file of readings (default: the simulator)")
	flags.StringVar(&f.format, "format", "", "metr-la, portal, ndjson or csv (default: told from the file)")
	flags.StringVar(&f.data, "data", "gantry-data", "folder that keeps everything")
	flags.StringVar(&f.http, "http", "", "address of the live page (default http.listen)")
	flags.StringVar(&f.rebase, "rebase", "now", "now: the last reading of the file becomes now; none: event times stay")
	flags.StringVar(&f.speed, "speed", "max", "a multiple of the road's time like 60x, or max")
	flags.StringVar(&f.wire, "wire", "avro", "avro or json")
	flags.IntVar(&f.sensors, "sensors", sim.Sensors, "simulated sensors")
	flags.Float64Var(&f.rate, "rate", 0, "simulated readings per second (default: each sensor every 30 s)")
	flags.Uint64Var(&f.seed, "seed", sim.Seed, "seed of the simulation")
	return cmd
}

// options reads the flags; what is wrong is reported together.
func (f *devFlags) options(l *config.Loaded) (o app.DevOptions, err error) {
	o = app.DevOptions{Config: l.Config, Data: f.data, Sim: feed.DefaultSimulateOptions()}
	o.Fixed = func(key string) bool { return l.Origin(key) != config.OriginDefault }
	var errs [4]error
	var format feed.Format
	if f.format != "" {
		format, errs[0] = feed.ParseFormat(f.format)
	}
	o.Rebase, errs[1] = feed.ParseRebase(f.rebase)
	o.Speed, errs[2] = feed.ParseSpeed(f.speed)
	o.Wire, errs[3] = feed.ParseWire(f.wire)
	o.Sim.Sensors, o.Sim.Seed, o.Sim.Rate = f.sensors, f.seed, f.rate
	if f.rate == 0 {
		o.Sim.Rate = float64(f.sensors) / 30
	}
	if err := errors.Join(errs[:]...); err != nil {
		return o, usageError{err}
	}
	if f.input != "" {
		if o.Input, err = feed.ReadFile(f.input, format); err != nil {
			return o, err
		}
	} else if err := o.Sim.Validate(); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

func (c *cli) dev(cmd *cobra.Command, f devFlags) error {
	if f.http != "" { // a short name of the key, checked with all the others
		if err := cmd.Flags().Set("http.listen", f.http); err != nil {
			return usageError{err}
		}
	}
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	o, err := f.options(l)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.data, 0o755); err != nil {
		return err
	}
	// The log goes to a file: the terminal shows what happens to the readings.
	logFile, err := os.OpenFile(filepath.Join(f.data, "gantry.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logFile.Close()
	o.Logger, o.Version = c.logger(logFile, c.stderr), versionText()
	ctx := cmd.Context()
	d, err := app.NewDev(ctx, o)
	if err != nil {
		return err
	}
	c.banner(d, f)
	stop := c.watchDev(ctx, d)
	err = d.Run(ctx)
	stop()
	if err == nil {
		fmt.Fprintf(c.stderr, "stopped; start it again with --data %s and it goes on where it was\n", f.data)
	}
	return err
}

func (c *cli) banner(d *app.Dev, f devFlags) {
	what := "the simulator"
	if f.input != "" {
		what = fmt.Sprintf("%s (%d readings)", f.input, d.Total)
	}
	fmt.Fprintf(c.stderr, `gantry dev
  live page  %s
  kafka      %s
  registry   %s
  archive    %s
  fed by     %s
  log        %s
`, d.PageURL(), d.Brokers()[0], d.RegistryURL(), d.ArchiveURL(), what, filepath.Join(f.data, "gantry.log"))
}

// watchDev shows what becomes of the readings: the feed's bar on a terminal, and a line of counts from time to time.
func (c *cli) watchDev(ctx context.Context, d *app.Dev) (stop func()) {
	stopBar := func() {}
	say := func(line string) { fmt.Fprintln(c.stderr, line) }
	if d.Total > 0 { // a simulation has no end that a bar could approach
		bar := c.reporter("feeding", "readings", d.Total)
		stopBar, say = bar.Watch(d.Published), bar.Print
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := time.NewTicker(statusEvery)
		defer every.Stop()
		for fed := false; ; {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
			if d.Fed.Load() && !fed {
				fed = true
				stopBar()
				say(fmt.Sprintf("the file is published: %d readings", d.Published()))
			}
			say(statusLine(d.App))
		}
	}()
	return func() {
		cancel()
		<-done
		stopBar()
		say(statusLine(d.App))
	}
}

const statusEvery = 10 * time.Second

// statusLine is the pipeline in one line.
func statusLine(a *app.App) string {
	n := a.Counts()
	var windows, rejected int64
	for _, v := range n.WindowsPublished {
		windows += v
	}
	reasons := ""
	for _, r := range validateReasons() {
		if v := n.Rejected[r]; v > 0 {
			rejected += v
			reasons += fmt.Sprintf(" %s %d", r, v)
		}
	}
	if reasons != "" {
		reasons = " (" + reasons[1:] + ")"
	}
	lag := "?"
	if n.Lag.Valid {
		lag = fmt.Sprint(n.Lag.V)
	}
	return fmt.Sprintf("read %d, accepted %d, rejected %d%s, sensors %d, repeats %d, windows published %d, lag %s",
		n.Read, n.Accepted, rejected, reasons, n.Sensor, n.Repeat, windows, lag)
}

// logger writes everything to a log, and warnings to the user too.
func (c *cli) logger(log, user io.Writer) *slog.Logger {
	return slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}),
		slog.NewTextHandler(user, &slog.HandlerOptions{Level: slog.LevelWarn}),
	))
}
