package race

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/test/harness"
)

// checkPatience bounds the reading of all outputs, on a machine that is busy with other things.
const checkPatience = 10 * time.Minute

// checkStreams has the generator's side read what the Kafka Streams job wrote, in its own format.
func checkStreams(r *rig, tr *truth) string {
	r.t.Helper()
	file := filepath.Join(r.state, "truth.json")
	if err := os.WriteFile(file, tr.json, 0o644); err != nil {
		r.t.Fatal(err)
	}
	p := r.java("check", "Check", "--truth", file)
	select {
	case <-p.Exited:
	case <-time.After(checkPatience):
		r.t.Fatalf("Check has not ended within %v", checkPatience)
	}
	var said struct{ Check, Differences string }
	if err := json.Unmarshal(p.Out.Bytes(), &said); err != nil {
		r.t.Fatalf("Check said %q: %v", p.Out.Bytes(), err)
	}
	if said.Check != "ok" {
		return said.Differences
	}
	return ""
}

// checkGantry has the ledger prove what Gantry wrote, and compares it with the generator's truth.
func checkGantry(r *rig, tr *truth) string {
	r.t.Helper()
	return r.verify(tr) + checkOutcomes(r, tr)
}

// checkGantryArchive compares the archive as well.
func checkGantryArchive(r *rig, tr *truth) string {
	r.t.Helper()
	return r.verify(tr, "--archive") + checkOutcomes(r, tr)
}

func (r *rig) verify(tr *truth, args ...string) (differences string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), checkPatience)
	defer cancel()
	code, out, errs := harness.RunContext(ctx, r.t, r.t.TempDir(), nil,
		slices.Concat([]string{"verify", "--json"}, r.gantryFlags(), args)...)
	var report struct {
		Totals struct {
			Records, Accepted, Windows int64
			RejectedBy                 map[string]int64 `json:"rejected_by"`
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
		return fmt.Sprintf("gantry verify ended with %d: %s%.4000s; ", code, errs, out)
	}
	totals := report.Totals
	return differ("records", tr.Readings, totals.Records) +
		differ("accepted", tr.Accepted+tr.Late, totals.Accepted) +
		differ("duplicates", tr.Duplicates, totals.RejectedBy["duplicate"]) +
		differ("out of range", tr.Invalid, totals.RejectedBy["speed_range"]) +
		differ("windows", tr.RevisedWindows, totals.Windows)
}

// checkOutcomes reads what Gantry or stock goka wrote, repeats left out by their identity, and compares it with the
// truth.
func checkOutcomes(r *rig, tr *truth) string {
	r.t.Helper()
	o := r.outcomes("traffic-events", "traffic-windows", "traffic-rejects")
	windows, windowed, speedSum := o.closed()
	differences := differ("readings", tr.Accepted+tr.Late, o.readings) +
		differ("duplicates", tr.Duplicates, o.duplicates) +
		differ("invalid", tr.Invalid, int64(len(o.rejects))-o.duplicates) +
		differ("windows", tr.RevisedWindows, windows) +
		differ("windowed", tr.RevisedWindowed, windowed)
	if math.Abs(speedSum-tr.RevisedSpeedSum) > 1e-6*max(1, tr.RevisedSpeedSum) {
		differences += fmt.Sprintf("speed sum: true %f, found %f; ", tr.RevisedSpeedSum, speedSum)
	}
	return differences
}

// checkCopies counts what the ceiling copied.
func checkCopies(r *rig, tr *truth) string {
	r.t.Helper()
	return differ("first copies", tr.Readings, r.ends([]string{"traffic-events"})) +
		differ("second copies", tr.Readings, r.ends([]string{"traffic-windows"}))
}

func differ(what string, want, found int64) string {
	if want == found {
		return ""
	}
	return fmt.Sprintf("%s: true %d, found %d; ", what, want, found)
}

// outcomes are what a reader of Gantry's formats finds.
type outcomes struct {
	readings   int64
	duplicates int64
	rejects    map[string]struct{} // by source
	windows    map[harness.WindowKey]lastRevision
	sequences  map[string]int64
}

type lastRevision struct {
	revision, readings int32
	speed              float64 // 0 where there is none
}

// closed are the windows, the readings in them and the sum of their mean speeds.
func (o *outcomes) closed() (windows, windowed int64, speedSum float64) {
	for _, w := range o.windows {
		windows++
		windowed += int64(w.readings)
		speedSum += w.speed
	}
	return windows, windowed, speedSum
}

// outcomes reads topics up to their ends.
func (r *rig) outcomes(topics ...string) *outcomes {
	r.t.Helper()
	ends, err := r.adm.ListEndOffsets(r.t.Context(), topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	var left int64
	for _, o := range ends.Offsets() {
		for _, p := range o {
			left += p.At
		}
	}
	client := harness.Consumer(r.t, []string{r.brokers}, topics...)
	defer client.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), checkPatience)
	defer cancel()
	o := &outcomes{
		rejects: make(map[string]struct{}), windows: make(map[harness.WindowKey]lastRevision),
		sequences: make(map[string]int64),
	}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			r.t.Fatalf("%d records were not read within %v", left, checkPatience)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			left--
			if err := o.add(record); err != nil {
				r.t.Fatalf("%s/%d/%d: %v", record.Topic, record.Partition, record.Offset, err)
			}
		})
	}
	return o
}

func (o *outcomes) add(r *kgo.Record) error {
	if r.Topic == "traffic-rejects" {
		source := harness.Header(r, codecs.HeaderSource)
		if _, repeat := o.rejects[source]; !repeat && harness.Header(r, codecs.HeaderReason) == "duplicate" {
			o.duplicates++
		}
		o.rejects[source] = struct{}{}
		return nil
	}
	var e codecs.Event
	if err := codecs.DecodeEvent(r.Value, &e); err != nil {
		return err
	}
	switch e.Kind {
	case codecs.KindReading:
		if last := o.sequences[e.Reading.SensorID]; e.Reading.Sequence == last+1 {
			o.sequences[strings.Clone(e.Reading.SensorID)] = last + 1
			o.readings++
		}
	case codecs.KindWindow:
		key := harness.WindowKey{Sensor: e.Window.SensorID, Start: e.Window.WindowStart}
		if e.Window.Revision > o.windows[key].revision {
			key.Sensor = strings.Clone(key.Sensor)
			o.windows[key] = lastRevision{e.Window.Revision, e.Window.MessageCount, e.Window.AvgSpeed.V}
		}
	}
	return nil
}
