package window

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gantry/codecs"
)

var update = flag.Bool("update", false, "write the golden scripts anew")

// The scripts in testdata tell stories of one sensor, with what each event publishes below it, after ">". A line is
//
//	options [length=5m] [grace=1m] [retention=70m] [interval=30s]
//	reading TIME [speed=…] [volume=…] [occupancy=…] [interval=…] [flags=A,B] [lat=…] [lon=…] [sequence=…]
//	silence AS_OF [watermark=TIME]      (otherwise the sensor's)
//	windows                             (shows what is remembered)
//	encode                              (goes on with the state encoded and decoded)
//
// with times as 15:04:05.000 of one day in UTC, and the next sequence where none is given.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, want) {
				t.Errorf("run with -update, and read the difference; got:\n%s", got)
			}
		})
	}
}

// runScript returns the script with its outputs written anew.
func runScript(t *testing.T, script string) []byte {
	var out bytes.Buffer
	o := DefaultOptions()
	s := new(State)
	publish := func(w *codecs.WindowAggregate, ordinal int64) {
		fmt.Fprintf(&out, "> #%d %s\n", ordinal, describe(w))
	}
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		switch words[0] {
		case "options":
			scriptOptions(t, &o, words[1:])
		case "reading":
			r := scriptReading(t, s.Sequence()+1, words[1:])
			if outcome := s.ApplyReading(&r, &o, publish); outcome != Applied {
				fmt.Fprintf(&out, "> %v\n", outcome)
			}
		case "silence":
			if x := scriptSilence(t, s, words[1:]); !s.ApplySilence(&x, &o, publish) {
				fmt.Fprintln(&out, "> the sensor has moved")
			}
		case "windows":
			for _, w := range s.Windows("s1", &o) {
				fmt.Fprintf(&out, "> %s\n", describe(&w))
			}
		case "encode":
			var err error
			if s, err = DecodeState(s.AppendTo(nil)); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("what is %q?", line)
		}
	}
	return out.Bytes()
}

func scriptOptions(t *testing.T, o *Options, words []string) {
	fields := map[string]*time.Duration{
		"length": &o.Length, "grace": &o.Grace, "retention": &o.Retention, "interval": &o.DefaultInterval,
	}
	for _, word := range words {
		name, text, _ := strings.Cut(word, "=")
		d, err := time.ParseDuration(text)
		if err != nil || fields[name] == nil {
			t.Fatalf("option %q: %v", word, err)
		}
		*fields[name] = d
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
}

func scriptReading(t *testing.T, sequence int64, words []string) codecs.Reading {
	at := scriptTime(t, words[0])
	r := codecs.Reading{
		SensorID: "s1", Timestamp: at, ReceivedAt: at, Sequence: sequence, Latitude: 34, Longitude: -118,
	}
	for _, word := range words[1:] {
		name, text, _ := strings.Cut(word, "=")
		if name == "flags" {
			for flag := range strings.SplitSeq(text, ",") {
				bit, ok := codecs.FlagBit(flag)
				if !ok {
					t.Fatalf("no flag %q", flag)
				}
				r.Flags |= 1 << bit
			}
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%q: %v", word, err)
		}
		switch name {
		case "speed":
			r.SpeedMPH = codecs.Some(v)
		case "volume":
			r.VolumeVPH = codecs.Some(int32(v))
		case "occupancy":
			r.Occupancy = codecs.Some(v)
		case "interval":
			r.IntervalS = codecs.Some(int32(v))
		case "lat":
			r.Latitude = v
		case "lon":
			r.Longitude = v
		case "sequence":
			r.Sequence = int64(v)
		default:
			t.Fatalf("what is %q?", word)
		}
	}
	return r
}

func scriptSilence(t *testing.T, s *State, words []string) codecs.SensorSilence {
	x := codecs.SensorSilence{SensorID: "s1", AsOf: scriptTime(t, words[0])}
	x.Watermark, _ = s.Watermark()
	for _, word := range words[1:] {
		text, ok := strings.CutPrefix(word, "watermark=")
		if !ok {
			t.Fatalf("what is %q?", word)
		}
		x.Watermark = scriptTime(t, text)
	}
	return x
}

// scriptDay is the midnight that the times of a script count from.
const scriptDay = noon - 12*60*minute

func scriptTime(t *testing.T, text string) int64 {
	at, err := time.Parse(time.TimeOnly, text)
	if err != nil {
		t.Fatal(err)
	}
	return scriptDay + at.Sub(at.Truncate(24*time.Hour)).Milliseconds()
}

// describe writes a window on one line.
func describe(w *codecs.WindowAggregate) string {
	clock := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.TimeOnly) }
	null := func(v codecs.Null[float64]) string {
		if !v.Valid {
			return "null"
		}
		return strconv.FormatFloat(v.V, 'g', 6, 64)
	}
	reason := string(w.CloseReason)
	if reason == "" {
		reason = "open"
	}
	text := fmt.Sprintf("%s-%s revision %d %s: n %d/%d speed %s in %s..%s variance %s flow %s harmonic %s volume %s "+
		"occupancy %s at %v,%v",
		clock(w.WindowStart), clock(w.WindowEnd), w.Revision, reason, w.MessageCount, w.ExpectedCount, null(w.AvgSpeed),
		null(w.MinSpeed), null(w.MaxSpeed), null(w.SpeedVariance), null(w.FlowWeightedSpeed), null(w.HarmonicSpeed),
		null(w.AvgVolume), null(w.AvgOccupancy), w.Latitude, w.Longitude)
	for bit, n := range w.FlagCounts {
		if n > 0 {
			text += fmt.Sprintf(" %s=%d", codecs.FlagName(bit), n)
		}
	}
	return text
}
