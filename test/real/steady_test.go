package real

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/test/harness"
)

// pauses measures how long no reading comes out of a partition of traffic-events, by when the pipeline sent it.
type pauses struct {
	last    map[int32]time.Time
	longest map[int32]time.Duration // since the last reset
}

func (p *pauses) see(r *kgo.Record) {
	if codecs.Kind(harness.Header(r, codecs.HeaderKind)) != codecs.KindReading {
		return
	}
	if last, ok := p.last[r.Partition]; ok {
		p.longest[r.Partition] = max(p.longest[r.Partition], r.Timestamp.Sub(last))
	}
	p.last[r.Partition] = r.Timestamp
}

func newPauses() *pauses {
	p := &pauses{last: make(map[int32]time.Time)}
	p.reset()
	return p
}

func (p *pauses) reset() { p.longest = make(map[int32]time.Duration) }

// since tells whether each of n partitions has given readings for so long behind a moment.
func (p *pauses) since(moment time.Time, n int, long time.Duration) bool {
	for _, at := range p.last {
		if at.Sub(moment) < long {
			return false
		}
	}
	return len(p.last) == n
}

// steady feeds readings at a steady rate, at the time of each, until it is stopped.
type steady struct {
	model  *harness.Model // complete when ended has been received from
	ended  chan error
	cancel context.CancelFunc
}

const (
	steadySensors  = 200
	steadyInterval = time.Second // of each sensor
	steadyWindow   = 10 * time.Second
)

// steadyArgs make a gantry run close the windows of a steady feed.
func steadyArgs() []string {
	return []string{"--window.length", steadyWindow.String(), "--window.grace", "1s", "--window.idleTimeout", "2s"}
}

// flows waits until two readings of each sensor, on average, have come since.
func flows(t *testing.T, r *harness.Reader, what string) {
	t.Helper()
	n := len(r.Readings)
	r.Until(t, "readings "+what, func(o *harness.Outcomes) bool { return len(o.Readings) > n+2*steadySensors })
}

// feedSteadily feeds 200 readings a second.
func feedSteadily(t *testing.T, seed uint64) *steady {
	t.Helper()
	return feedAt(t, seed, steadySensors)
}

// feedAt feeds so many readings a second, of as many sensors.
func feedAt(t *testing.T, seed uint64, rate int) *steady {
	t.Helper()
	client := rawClient(t, kgo.ProducerLinger(0))
	ctx, cancel := context.WithCancel(t.Context())
	s := &steady{model: harness.NewModel(steadyWindow), ended: make(chan error, 1), cancel: cancel}
	sensors := make([]codecs.Sensor, rate)
	records := make([]*kgo.Record, rate)
	for i := range sensors {
		sensors[i] = codecs.Sensor{SensorID: fmt.Sprintf("s%05d", i), Latitude: 34, Longitude: -118 - float64(i%1000)/1000}
		records[i] = sensorRecord(&sensors[i])
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer client.Close()
		s.ended <- s.run(ctx, client, sensors, rand.New(rand.NewPCG(seed, 1)))
	}()
	t.Cleanup(cancel)
	return s
}

func (s *steady) run(ctx context.Context, client *kgo.Client, sensors []codecs.Sensor, random *rand.Rand) error {
	failed := make(chan error, 1) // the first error
	tick := time.NewTicker(steadyInterval / time.Duration(len(sensors)))
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % len(sensors) {
		select {
		case <-ctx.Done():
			return client.Flush(context.WithoutCancel(ctx))
		case err := <-failed:
			return err
		case <-tick.C:
		}
		now := time.Now().UnixMilli()
		r := codecs.RawReading{
			SensorID: sensors[i].SensorID, Timestamp: codecs.Some(now), SpeedMPH: codecs.Some(float64(random.IntN(700)) / 9),
			VolumeVPH: codecs.Some(random.Int64N(2000)), Latitude: codecs.Some(sensors[i].Latitude),
			Longitude: codecs.Some(sensors[i].Longitude),
		}
		s.model.Add(r, now)
		record := &kgo.Record{Key: []byte(r.SensorID), Value: codecs.AppendRawJSON(nil, &r)}
		client.Produce(context.WithoutCancel(ctx), record, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
}
