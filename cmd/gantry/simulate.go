package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/feed"
)

func newSimulate(c *cli) *cobra.Command {
	o := feed.DefaultSimulateOptions()
	o.Rate = 0 // a flag that is not set follows the number of sensors
	var wire string
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Publish the readings of synthetic sensors, and say what must become of them",
		Long: "Publishes synthetic sensors, and then their readings as time passes. At the end, or when it is stopped, it\n" +
			"prints the truth as JSON: how many messages were sent, how many of them are accepted, and how many rejected\n" +
			"for which reason. Rates are shares of the readings; a reading has one defect at most.",
		Example: "  gantry simulate --for 10m\n" +
			"  gantry simulate --sensors 1000 --rate 500 --seed 7 --duplicates 0.01 --for 1h\n" +
			"  gantry simulate --invalid 0 --missing 0 --late 0 --duplicates 0 --conflicts 0",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("rate") {
				o.Rate = float64(o.Sensors) / 30
			}
			return c.simulate(cmd, o, wire)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Sensors, "sensors", o.Sensors, "number of sensors")
	flags.Float64Var(&o.Rate, "rate", 0, "readings per second of all sensors together (default: one per sensor in 30 s)")
	flags.DurationVar(&o.For, "for", 0, "how long (default: until it is stopped)")
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "the same seed gives the same readings at the same time")
	flags.Float64Var(&o.Duplicates, "duplicates", o.Duplicates, "share that is sent twice")
	flags.Float64Var(&o.Conflicts, "conflicts", o.Conflicts, "share that is sent again with another speed")
	flags.Float64Var(&o.Invalid, "invalid", o.Invalid, "share with a speed above validate.speedMax")
	flags.Float64Var(&o.Missing, "missing", o.Missing, "share without a speed")
	flags.Float64Var(&o.Late, "late", o.Late, "share that is older than validate.maxAge")
	flags.StringVar(&wire, "wire", "avro", "avro or json")
	return cmd
}

func (c *cli) simulate(cmd *cobra.Command, o feed.SimulateOptions, wireName string) error {
	wire, err := feed.ParseWire(wireName)
	if err = errors.Join(err, o.Validate()); err != nil {
		return usageError{err}
	}
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	conn, schema, err := c.connect(ctx, &l.Config, wire)
	if err != nil {
		return err
	}
	o.Limits, o.Start = l.Validate, time.Now()
	sim, err := feed.NewSimulation(o)
	if err != nil {
		return err
	}
	truth := sim.Truth()
	p, err := feed.NewPublisher(ctx, conn, feed.PublishOptions{
		Topic: l.Topics.Raw, Feed: feed.Identity{ID: sim.ID()}, Wire: wire, SchemaID: schema, Live: true,
		Clock: feed.SystemClock{}, Sent: truth.Add,
	})
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.PublishSensors(ctx, sim.Sensors()); err != nil {
		return fmt.Errorf("publish the sensors: %w", err)
	}
	stop := c.progress("simulating", "messages", 0, p.Published.Load)
	err = p.Publish(ctx, sim)
	stop()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil // being stopped is how a simulation without end ends
	}
	return errors.Join(err, c.printTruth(truth))
}

// printTruth prints JSON in either case: it is made to be compared by a program.
func (c *cli) printTruth(truth *feed.Truth) error {
	e := json.NewEncoder(c.stdout)
	e.SetIndent("", "  ")
	return e.Encode(truth)
}
