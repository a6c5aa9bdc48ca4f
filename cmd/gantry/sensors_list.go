package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/dedup"
	"gantry/store"
)

func newSensorsList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the sensors that the pipeline knows",
		Long: "Prints the metadata that the dedup group holds, as it stands in its table. What was loaded a moment ago may not\n" +
			"be there yet: it takes effect at its place in the log.",
		Example: "  gantry sensors list\n  gantry sensors list --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.listSensors(cmd) },
	}
}

// sensorList is what gantry sensors list prints.
type sensorList struct {
	Sensors []codecs.Sensor `json:"sensors"`
}

func (l sensorList) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SENSOR\tLATITUDE\tLONGITUDE\tFREEWAY\tDIRECTION\tLANES\tLENGTH_MI\tINTERVAL_S")
	for _, s := range l.Sensors {
		fmt.Fprintf(w, "%s\t%v\t%v\t%s\t%s\t%s\t%s\t%s\n", s.SensorID, s.Latitude, s.Longitude,
			orDash(s.Freeway), orDash(s.Direction), orDash(s.Lanes), orDash(s.LengthMi), orDash(s.IntervalS))
	}
	fmt.Fprintf(w, "%d sensors\n", len(l.Sensors))
	_ = w.Flush() // into a string
	return strings.TrimRight(b.String(), "\n")
}

func orDash[T any](v codecs.Null[T]) string {
	if !v.Valid {
		return "-"
	}
	return fmt.Sprint(v.V)
}

func (c *cli) listSensors(cmd *cobra.Command) error {
	_, k, adm, err := c.admin(cmd)
	if err != nil {
		return err
	}
	defer adm.Close()
	sensors, err := readSensors(cmd.Context(), k, adm)
	if err != nil {
		return err
	}
	list := sensorList{Sensors: sensors}
	return c.print(list, list.String())
}

// readSensors reads the dedup group's table to its present end.
func readSensors(ctx context.Context, k processors.Kafka, adm *kadm.Client) ([]codecs.Sensor, error) {
	table := string(processors.DedupTable)
	ends, err := adm.ListEndOffsets(ctx, table)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("the table %s: %w (gantry topics create makes it)", table, err)
	}
	left := make(map[int32]int64)
	from := make(map[int32]kgo.Offset)
	for p, o := range ends[table] {
		if o.Offset > 0 {
			left[p], from[p] = o.Offset, kgo.NewOffset().AtStart()
		}
	}
	values := make(map[string][]byte)
	client, err := kgo.NewClient(append(k.Options(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{table: from}))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := processors.FetchErr(fetches); err != nil {
			return nil, fmt.Errorf("read %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			keepNewer(values, string(r.Key), r.Value)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return sensorsOf(values)
}

// keepNewer keeps the value that has applied more, as every reader of a table must.
func keepNewer(values map[string][]byte, key string, value []byte) {
	if value == nil {
		delete(values, key)
		return
	}
	if have, ok := values[key]; ok {
		a, _, errA := store.SplitValue(have)
		b, _, errB := store.SplitValue(value)
		if errA == nil && errB == nil && a > b {
			return
		}
	}
	values[key] = value
}

func sensorsOf(values map[string][]byte) ([]codecs.Sensor, error) {
	sensors := []codecs.Sensor{}
	for id, value := range values {
		_, enc, err := store.SplitValue(value)
		if err != nil {
			return nil, fmt.Errorf("sensor %q: %w", id, err)
		}
		state, err := dedup.DecodeState(enc)
		if err != nil {
			return nil, fmt.Errorf("sensor %q: %w", id, err)
		}
		if s, ok := state.Sensor(id); ok {
			sensors = append(sensors, s)
		}
	}
	slices.SortFunc(sensors, func(a, b codecs.Sensor) int { return cmp.Compare(a.SensorID, b.SensorID) })
	return sensors, nil
}
