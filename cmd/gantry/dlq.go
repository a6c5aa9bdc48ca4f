package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/codecs"
	"gantry/codecs/registry"
	"gantry/processors/validate"
	"gantry/views/deadletter"
)

func newDLQ(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Look at rejected messages, and send them through again",
		Long: "The messages of traffic-rejects: what was rejected, by reason, sensor and time, what became of it, and how it\n" +
			"is sent through the pipeline again, once.",
		Example: "  gantry dlq list --reason unknown_sensor\n  gantry dlq show traffic-raw/3/1742\n" +
			"  gantry dlq redrive --reason unknown_sensor",
	}
	group(cmd)
	cmd.AddCommand(newDLQList(c), newDLQShow(c), newDLQRedrive(c))
	return cmd
}

// dlqFilter are the flags that say which rejects are meant.
type dlqFilter struct {
	reasons              []string
	sensor, since, until string
}

func (f *dlqFilter) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.reasons, "reason", nil, "rejected for one of these reasons")
	flags.StringVar(&f.sensor, "sensor", "", "of this sensor: the id in the message, or else its key")
	flags.StringVar(&f.since, "since", "", "first received at this time or later: RFC 3339, or how long ago (90m)")
	flags.StringVar(&f.until, "until", "", "first received before this time")
}

// filter reads the flags; all that are wrong are reported together.
func (f *dlqFilter) filter(now time.Time) (deadletter.Filter, error) {
	o := deadletter.Filter{Sensor: f.sensor}
	var errs []error
	for _, text := range f.reasons {
		reason, err := validate.ParseReason(text)
		errs = append(errs, err)
		o.Reasons = append(o.Reasons, reason)
	}
	moment := func(name, text string) int64 {
		if text == "" {
			return 0
		}
		ms, err := parseMoment(text, now)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", name, err))
		}
		return ms
	}
	o.Since, o.Until = moment("since", f.since), moment("until", f.until)
	if o.Until != 0 && o.Since >= o.Until {
		errs = append(errs, fmt.Errorf("--since %s is not before --until %s", f.since, f.until))
	}
	if err := errors.Join(errs...); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// parseMoment reads RFC 3339, or a duration before now. The result is epoch milliseconds.
func parseMoment(text string, now time.Time) (int64, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago).UnixMilli(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, fmt.Errorf("%q is neither RFC 3339 (2026-11-24T09:00:00Z) nor how long ago (90m)", text)
	}
	return t.UnixMilli(), nil
}

// references reads the arguments that name rejects.
func references(args []string, rejectsTopic string) ([]codecs.Source, error) {
	var sources []codecs.Source
	var errs []error
	for _, arg := range args {
		s, err := deadletter.ParseReference(arg, rejectsTopic)
		sources, errs = append(sources, s), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, usageError{err}
	}
	return sources, nil
}

// registryPatience is how long a message waits for the schema that it was written with.
const registryPatience = 5 * time.Second

// deadLetters are the rejects of a configuration, opened for a command.
type deadLetters struct {
	*deadletter.Queue
	quiet  func() // ends the progress, before a result is printed
	schema *registry.Client
}

func (d *deadLetters) close() {
	d.quiet()
	d.Close()
	d.schema.Close()
}

func (c *cli) deadLetters(ctx context.Context, cfg *config.Config) (*deadLetters, error) {
	conn, err := c.brokers(ctx, cfg)
	if err != nil {
		return nil, err
	}
	client, err := app.RegistryOf(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	o := deadletter.DefaultOptions()
	o.Topics, o.Client = app.TopicsOf(cfg), conn
	o.Decoder = deadletter.NewDecoder(client, registryPatience)
	d := &deadLetters{schema: client}
	o.Progress, d.quiet = c.stages("records")
	if d.Queue, err = deadletter.Open(ctx, o); err != nil {
		client.Close()
		return nil, err
	}
	return d, nil
}

// rejectJSON is a reject in the results of the commands.
type rejectJSON struct {
	Partition  int32               `json:"partition"` // on traffic-rejects
	Offset     int64               `json:"offset"`
	Source     string              `json:"source"`
	Reason     string              `json:"reason"`
	SensorID   string              `json:"sensor_id"` // the id in the message, or else its key
	ReceivedAt string              `json:"received_at"`
	Timestamp  codecs.Null[string] `json:"timestamp"` // null where the message has none, or cannot be decoded
	Detail     string              `json:"detail"`
	Redriven   codecs.Null[string] `json:"redriven"` // where to, on traffic-raw
	RedriveOf  string              `json:"redrive_of,omitempty"`
	Origin     string              `json:"origin,omitempty"` // the first reject, where it was redriven
	Waived     string              `json:"waived,omitempty"`
	Abridged   bool                `json:"abridged,omitempty"`
}

func newRejectJSON(j *deadletter.Reject, redriven *codecs.Source) rejectJSON {
	r := rejectJSON{
		Partition: j.At.Partition, Offset: j.At.Offset, Source: j.Source.String(), Reason: j.Reason.String(),
		SensorID: j.SensorID(), ReceivedAt: codecs.FormatTime(j.ReceivedAt), Detail: j.Detail, Abridged: j.Abridged,
	}
	if t := j.Reading.Timestamp; t.Valid {
		r.Timestamp = codecs.Some(codecs.FormatTime(t.V))
	}
	if redriven != nil {
		r.Redriven = codecs.Some(redriven.String())
	}
	if j.Redrive != nil {
		r.RedriveOf, r.Origin = j.Redrive.String(), j.Origin.String()
		if j.Waive != validate.ReasonNone {
			r.Waived = j.Waive.String()
		}
	}
	return r
}
