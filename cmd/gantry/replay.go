package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/feed"
	"gantry/codecs"
)

// replayFlags are the flags of gantry replay.
type replayFlags struct {
	format, rebase, speed, wire string
	sensors, resume             bool
}

// replayResult is what gantry replay prints.
type replayResult struct {
	File      string `json:"file"`
	Format    string `json:"format"`
	Feed      string `json:"feed"` // the header gantry-feed, without the row
	ShiftMS   int64  `json:"shift_ms"`
	Rows      int64  `json:"rows"`
	Published int64  `json:"published"`
	Skipped   int64  `json:"skipped"` // published by an earlier replay that this one went on with
	Missing   int64  `json:"missing"` // "no data" in the file: no row
	First     string `json:"first_event_time"`
	Last      string `json:"last_event_time"` // as published
}

func (r replayResult) String() string {
	s := fmt.Sprintf("published %d of %d readings of %s (%s), %s to %s",
		r.Published, r.Rows, r.File, r.Format, r.First, r.Last)
	if r.Skipped > 0 {
		s += fmt.Sprintf("; %d were there", r.Skipped)
	}
	if r.Missing > 0 {
		s += fmt.Sprintf("; %d places hold no data", r.Missing)
	}
	return s
}

func newReplay(c *cli) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Publish a file of readings with its event times",
		Long: "Publishes the readings of a file to traffic-raw. The file is checked completely before the first is sent.\n" +
			"Formats: metr-la, portal, ndjson (a JSON reading a line), csv (sensor_id, timestamp, speed_mph, volume_vph,\n" +
			"occupancy_percent, latitude, longitude). Sensors that are not known yet are rejected: load them before\n" +
			"(gantry sensors load), or with --with-sensors.",
		Example: "  gantry replay los_speed.csv --with-sensors\n" +
			"  gantry replay loopdata_one_hour.csv --speed 60x --wire json\n" +
			"  gantry replay recording.ndjson --rebase none --resume",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.replay(cmd, args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.format, "format", "", "metr-la, portal, ndjson or csv (default: told from the file)")
	flags.StringVar(&f.rebase, "rebase", "now", "now: the last reading becomes now; none: event times stay")
	flags.StringVar(&f.speed, "speed", "max", "a multiple of the road's time like 60x, or max")
	flags.StringVar(&f.wire, "wire", "avro", "avro or json")
	flags.BoolVar(&f.sensors, "with-sensors", false, "publish the sensors that belong to the file first")
	flags.BoolVar(&f.resume, "resume", false, "go on where an earlier replay of this file stopped")
	return cmd
}

// options reads the flags; all that are wrong are reported together.
func (f replayFlags) options() (format feed.Format, o feed.ReplayOptions, err error) {
	var errs [4]error
	if f.format != "" {
		format, errs[0] = feed.ParseFormat(f.format)
	}
	o.Rebase, errs[1] = feed.ParseRebase(f.rebase)
	o.Speed, errs[2] = feed.ParseSpeed(f.speed)
	o.Wire, errs[3] = feed.ParseWire(f.wire)
	o.Resume = f.resume
	o.Clock = feed.SystemClock{}
	if err := errors.Join(errs[:]...); err != nil {
		return "", o, usageError{err}
	}
	return format, o, nil
}

func (c *cli) replay(cmd *cobra.Command, path string, flags replayFlags) error {
	format, o, err := flags.options()
	if err != nil {
		return err
	}
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	file, err := feed.ReadFile(path, format)
	if err != nil {
		return err
	}
	if flags.sensors {
		if o.Sensors, err = file.Sensors(); err != nil {
			return fmt.Errorf("the sensors of %s: %w", path, err)
		}
	}
	ctx := cmd.Context()
	o.Topic, o.WindowLength = l.Topics.Raw, l.Window.Length
	conn, schema, err := c.connect(ctx, &l.Config, o.Wire)
	if err != nil {
		return err
	}
	o.SchemaID = schema
	p, err := feed.NewReplay(ctx, conn, file, o)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := c.publish(ctx, p, file); err != nil {
		fmt.Fprintf(c.stderr, "%d of %d readings are published; gantry replay --resume goes on\n",
			p.Published.Load()+p.Skipped.Load(), file.Info.Rows)
		return err
	}
	result := replayResult{
		File: path, Format: string(file.Format), Feed: p.Feed().String(), ShiftMS: p.Feed().Shift,
		Rows: file.Info.Rows, Published: p.Published.Load(), Skipped: p.Skipped.Load(), Missing: file.Info.Missing,
		First: codecs.FormatTime(file.Info.First + p.Feed().Shift), Last: codecs.FormatTime(file.Info.Last + p.Feed().Shift),
	}
	return c.print(result, result.String())
}

func (c *cli) publish(ctx context.Context, p *feed.Publisher, file *feed.File) error {
	src, err := file.Open()
	if err != nil {
		return err
	}
	defer src.Close()
	stop := c.progress("publishing "+filepath.Base(file.Path), "readings", file.Info.Rows,
		func() int64 { return p.Published.Load() + p.Skipped.Load() })
	defer stop()
	return p.Publish(ctx, src)
}
