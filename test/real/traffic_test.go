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

// traffic is what sensors send, with everything that makes verdicts and windows hard: readings that are late, too old,
// sent twice, sent twice with other values, out of range or not there.
type traffic struct {
	model  *harness.Model // not to be read while it is live
	sent   int            // messages, likewise
	rate   int            // readings a second
	seed   uint64
	start  time.Time // of the first reading
	next   int       // number of the next one
	quiet  bool      // every other sensor sends nothing
	placed string    // stands before a sensor's name in the keys of its readings, which then are not keyed by sensor
	client *kgo.Client
	failed chan error // the first error
	cancel context.CancelFunc
	ended  chan error
}

// trafficInterval is the time between two readings of a sensor: there is a sensor for each reading of a second.
const trafficInterval = time.Second

// newTraffic publishes the sensors.
func newTraffic(t *testing.T, seed uint64, rate int, window time.Duration, start time.Time) *traffic {
	t.Helper()
	client := rawClient(t, kgo.ProducerLinger(5*time.Millisecond))
	t.Cleanup(client.Close)
	var sensors []*kgo.Record
	for i := range rate {
		s := codecs.Sensor{SensorID: trafficSensor(i), Latitude: 34, Longitude: trafficLongitude(i)}
		sensors = append(sensors, sensorRecord(&s))
	}
	if err := client.ProduceSync(t.Context(), sensors...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return &traffic{
		model: harness.NewModel(window), rate: rate, seed: seed, start: start, client: client,
		failed: make(chan error, 1),
	}
}

func trafficSensor(i int) string { return fmt.Sprintf("s%05d", i) }

func trafficLongitude(i int) float64 { return -118 - float64(i%1000)/2000 }

// burst sends the next n readings at once.
func (f *traffic) burst(t *testing.T, n int) {
	t.Helper()
	for range n {
		f.send(t.Context(), time.Now())
	}
	if err := f.flush(t.Context()); err != nil {
		t.Fatalf("feed: %v", err)
	}
}

// live sends readings at their time until stop.
func (f *traffic) live(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	f.cancel, f.ended = cancel, make(chan error, 1)
	go func() { f.ended <- f.run(ctx) }()
}

// stop ends live; every message is acknowledged then.
func (f *traffic) stop(t *testing.T) {
	t.Helper()
	f.cancel()
	if err := <-f.ended; err != nil {
		t.Fatalf("feed: %v", err)
	}
}

func (f *traffic) run(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return f.flush(context.WithoutCancel(ctx))
		case err := <-f.failed:
			return err
		case <-tick.C:
		}
		for now := time.Now(); !f.time(f.next).After(now); {
			f.send(context.WithoutCancel(ctx), now)
		}
	}
}

func (f *traffic) flush(ctx context.Context) error {
	if err := f.client.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-f.failed:
		return err
	default:
		return nil
	}
}

// send sends the messages of the next turn.
func (f *traffic) send(ctx context.Context, now time.Time) {
	for _, r := range f.readings(f.next) {
		f.model.Add(r, now.UnixMilli())
		f.sent++
		f.client.Produce(ctx, &kgo.Record{
			Key: []byte(f.placed + r.SensorID), Value: codecs.AppendRawJSON(nil, &r), Timestamp: now,
		}, f.acknowledged)
	}
	f.next++
}

func (f *traffic) acknowledged(_ *kgo.Record, err error) {
	if err != nil {
		select {
		case f.failed <- err:
		default:
		}
	}
}

// time is when the n-th reading is sent.
func (f *traffic) time(n int) time.Time {
	return f.start.Add(time.Duration(n) * time.Second / time.Duration(f.rate))
}

// readings are the messages of the n-th turn of a sensor: none, one or two.
func (f *traffic) readings(n int) []codecs.RawReading {
	random := rand.New(rand.NewPCG(f.seed, uint64(n)))
	if random.IntN(50) == 0 {
		return nil
	}
	sensor := n % int(trafficInterval.Seconds()*float64(f.rate))
	if f.quiet && sensor%2 == 1 {
		return nil
	}
	r := codecs.RawReading{
		SensorID:  trafficSensor(sensor),
		Timestamp: codecs.Some(f.time(n).UnixMilli()),
		SpeedMPH:  codecs.Some(float64(random.IntN(500)) / 7),
		VolumeVPH: codecs.Some(random.Int64N(2000)),
		Occupancy: codecs.Some(float64(random.IntN(300)) / 9),
		Latitude:  codecs.Some(34.0),
		Longitude: codecs.Some(trafficLongitude(sensor)),
	}
	switch random.IntN(40) {
	case 0: // late: its window may be published already
		r.Timestamp.V -= random.Int64N(120_000)
	case 1: // too old
		r.Timestamp.V -= 7_200_000
	case 2:
		r.SpeedMPH.V = 400
	case 3: // sent twice
		return []codecs.RawReading{r, r}
	case 4: // sent twice with other values
		other := r
		other.SpeedMPH.V++
		return []codecs.RawReading{r, other}
	case 5:
		r.Occupancy = codecs.Null[float64]{}
	}
	return []codecs.RawReading{r}
}
