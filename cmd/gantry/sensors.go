package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/feed"
	"gantry/codecs"
)

func newSensors(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sensors",
		Short: "Load, list and remove sensor metadata",
		Long: "Sensor metadata travels in the same log as the readings and takes effect at its place there: load it before\n" +
			"the readings.",
		Example: "  gantry sensors load sensors.csv\n  gantry sensors remove 773869",
	}
	group(cmd)
	cmd.AddCommand(newSensorsLoad(c), newSensorsList(c), newSensorsRemove(c))
	return cmd
}

// sensorsResult is what gantry sensors load and remove print.
type sensorsResult struct {
	Topic     string `json:"topic"`
	Published int    `json:"published"`
}

func newSensorsLoad(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE.csv",
		Short: "Publish the metadata of the sensors in a file",
		Long: "Publishes sensor metadata from CSV with the columns sensor_id, latitude, longitude, and optionally freeway,\n" +
			"direction, lanes, length_mi, interval_s. Nothing is published if a row has a mistake.",
		Example: "  gantry sensors load sensors.csv\n  gantry sensors load graph_sensor_locations.csv --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sensors, err := feed.LoadSensors(args[0])
			if err != nil {
				return err
			}
			return c.metadata(cmd, len(sensors), func(ctx context.Context, p *feed.Publisher) error {
				return p.PublishSensors(ctx, sensors)
			})
		},
	}
}

func newSensorsRemove(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ID...",
		Short:   "Publish that sensors are no longer known",
		Example: "  gantry sensors remove 773869\n  gantry sensors remove 773869 767541",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, id := range args {
				if id == "" || len(id) > codecs.SensorIDBytesMax {
					return usagef("sensor id %q: allowed are 1 to %d bytes", id, codecs.SensorIDBytesMax)
				}
			}
			return c.metadata(cmd, len(args), func(ctx context.Context, p *feed.Publisher) error {
				return p.RemoveSensors(ctx, args)
			})
		},
	}
}

// metadata publishes n records to traffic-raw.
func (c *cli) metadata(cmd *cobra.Command, n int, publish func(context.Context, *feed.Publisher) error) error {
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	conn, err := c.brokers(ctx, &l.Config)
	if err != nil {
		return err
	}
	p, err := feed.NewPublisher(ctx, conn, feed.PublishOptions{Topic: l.Topics.Raw, Clock: feed.SystemClock{}})
	if err != nil {
		return err
	}
	defer p.Close()
	if err := publish(ctx, p); err != nil {
		return fmt.Errorf("publish to %s: %w", l.Topics.Raw, err)
	}
	return c.print(sensorsResult{Topic: l.Topics.Raw, Published: n},
		fmt.Sprintf("published %d records of sensor metadata to %s", n, l.Topics.Raw))
}
