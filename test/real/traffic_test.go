package real

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
)

// traffic is what sensors send as time passes, with everything that makes verdicts and windows hard: readings that are
// late, too old, sent twice, sent twice with other values, out of range or not there.
type traffic struct {
	model  *harness.Model // complete when stop has returned
	sent   int            // messages, likewise
	rate   int            // readings a second
	start  time.Time
	seed   uint64
	client *kgo.Client
	cancel context.CancelFunc
	ended  chan error
}

// trafficInterval is the time between two readings of a sensor: there is a sensor for each reading of a second.
const trafficInterval = time.Second

// feedTraffic publishes the sensors, and then their readings, each at its time, until it is stopped.
func feedTraffic(t *testing.T, seed uint64, rate int, window time.Duration) *traffic {
	t.Helper()
	client, err := kgo.NewClient(append(processors.Kafka{Brokers: brokers(t)}.Options(),
		kgo.DefaultProduceTopic(harness.RawTopic), kgo.ProducerLinger(5*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := &traffic{
		model: harness.NewModel(window), rate: rate, seed: seed, client: client, cancel: cancel, ended: make(chan error, 1),
	}
	var sensors []*kgo.Record
	for i := range rate {
		s := codecs.Sensor{SensorID: trafficSensor(i), Latitude: 34, Longitude: trafficLongitude(i)}
		sensors = append(sensors, &kgo.Record{
			Key: []byte(s.SensorID), Value: codecs.AppendSensorJSON(nil, &s),
			Headers: []kgo.RecordHeader{{Key: codecs.HeaderKind, Value: []byte(codecs.KindSensor)}},
		})
	}
	if err := client.ProduceSync(ctx, sensors...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	f.start = time.Now()
	go func() {
		defer client.Close()
		f.ended <- f.run(ctx)
	}()
	t.Cleanup(cancel)
	return f
}

func trafficSensor(i int) string { return fmt.Sprintf("s%05d", i) }

func trafficLongitude(i int) float64 { return -118 - float64(i%1000)/2000 }

// stop ends it; every message is acknowledged then.
func (f *traffic) stop(t *testing.T) {
	t.Helper()
	f.cancel()
	if err := <-f.ended; err != nil {
		t.Fatalf("feed: %v", err)
	}
}

func (f *traffic) run(ctx context.Context) error {
	failed := make(chan error, 1) // the first error
	acknowledged := func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return f.client.Flush(context.WithoutCancel(ctx))
		case err := <-failed:
			return err
		case <-tick.C:
		}
		for now := time.Now(); !f.time(n).After(now); n++ {
			for _, r := range f.readings(n) {
				f.model.Add(r, now.UnixMilli())
				f.sent++
				f.client.Produce(context.WithoutCancel(ctx), &kgo.Record{
					Key: []byte(r.SensorID), Value: codecs.AppendRawJSON(nil, &r), Timestamp: now,
				}, acknowledged)
			}
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
