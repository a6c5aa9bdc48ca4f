package real

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
)

// A process takes over from one that was killed, with tables of 20,000 sensors. With a standby it reads nothing of the
// changelogs that its standby has read before; without, all that they hold. How long the partitions pause beyond the
// session time-out is printed for both. GANTRY_SENSORS asks for other tables.
func TestTakeover(t *testing.T) {
	sensors := int(harness.Number(t, "GANTRY_SENSORS", 20_000))
	for _, standby := range []bool{true, false} {
		t.Run(fmt.Sprintf("standby %v", standby), func(t *testing.T) {
			if !standby { // which shows what a standby is for
				harness.Long(t)
			}
			takeover(t, sensors, standby)
		})
	}
}

func takeover(t *testing.T, sensors int, standby bool) {
	freshCluster(t)
	adm := harness.Admin(t, brokers(t))
	archiveURL, state := freshArchive(t), t.TempDir()
	start := func(name, address string) *harness.Process {
		return launch(t, name, state, archiveURL, "--roles", "dedup,window", "--http.listen", address,
			"--state.standby="+strconv.FormatBool(standby))
	}
	killed := start("real-1", "127.0.0.1:0")
	address := harness.FreeAddress(t)
	survivor := start("real-2", address)
	i := &installation{
		t: t, adm: adm, groups: 2, run: map[string]*harness.Process{"real-1": killed, "real-2": survivor},
	}
	i.shared(nil, "")

	fillTables(t, sensors)
	r := harness.NewReader(t, brokers(t))
	p := newPauses()
	r.Seen = p.see
	r.Until(t, "a reading of each sensor", func(o *harness.Outcomes) bool { return len(o.Readings) == sensors })
	harness.Await(t, "everything to be done", func() bool { return lag(t, adm) == 0 })
	if standby {
		harness.Await(t, "the standby", func() bool { return level(t, address) })
	}
	before := gauge(t, address, "stream_processor_recovered_records_total")

	feeding := feedAt(t, 1, 100)
	partitions := processors.DefaultTopics().Partitions
	calm := time.Now()
	r.Until(t, "a calm group", func(*harness.Outcomes) bool { return p.since(calm, partitions, time.Second) })
	p.reset()
	killed.End(t, syscall.SIGKILL)
	dead := time.Now()
	r.Until(t, "the takeover", func(*harness.Outcomes) bool { return p.since(dead, partitions, session+2*time.Second) })
	feeding.cancel()
	if err := <-feeding.ended; err != nil {
		t.Fatal(err)
	}
	var longest time.Duration
	for _, pause := range p.longest {
		longest = max(longest, pause)
	}
	read := gauge(t, address, "stream_processor_recovered_records_total") - before
	t.Logf("standby %v: %v records were recovered at the takeover; the longest pause was %.2fs beyond the session time-out",
		standby, read, (longest - session).Seconds())
	// Half of the sensors of two tables, and what a hundred others change until the session is over.
	if standby && read > float64(sensors)/20 || !standby && read < float64(sensors)/2 {
		t.Errorf("%v records were recovered, of tables of %d sensors", read, sensors)
	}
	survivor.Stop(t)
}

// fillTables publishes a sensor's metadata and a reading for each of so many sensors.
func fillTables(t *testing.T, sensors int) {
	t.Helper()
	client := rawClient(t)
	defer client.Close()
	var failed error // Flush waits for the promises, which run one after another
	produce := func(r *kgo.Record) {
		client.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	now := time.Now().UnixMilli()
	for n := range sensors {
		s := codecs.Sensor{SensorID: fmt.Sprintf("t%06d", n), Latitude: 34, Longitude: -118}
		produce(sensorRecord(&s))
		reading := codecs.RawReading{SensorID: s.SensorID, Timestamp: codecs.Some(now), SpeedMPH: codecs.Some(50.0)}
		produce(&kgo.Record{Key: []byte(s.SensorID), Value: codecs.AppendRawJSON(nil, &reading)})
	}
	if err := client.Flush(t.Context()); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// lag is what is not done of traffic-raw and traffic-events.
func lag(t *testing.T, adm *kadm.Client) (n int64) {
	members, settled, err := processors.Members(t.Context(), adm)
	if err != nil || !settled {
		return 1
	}
	for _, m := range members {
		n += m.Lag
	}
	return n
}

// level tells whether the process shows its standby and that it is not behind.
func level(t *testing.T, address string) bool {
	const name = "stream_processor_standby_lag"
	_, metrics := harness.Get(t, address, "/metrics")
	return strings.Contains(string(metrics), "\n"+name) && gauge(t, address, name) == 0
}

// gauge is the sum of a metric over its labels.
func gauge(t *testing.T, address, name string) (sum float64) {
	t.Helper()
	_, metrics := harness.Get(t, address, "/metrics")
	for line := range strings.Lines(string(metrics)) {
		if !strings.HasPrefix(line, name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}
