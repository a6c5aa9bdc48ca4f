package real

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/cmd/gantry/app"
	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
	"gantry/views/deadletter"
)

// Redrivers that are killed at random moments, and one that has looked and is then overtaken by another, send each
// reject once between them: that the brokers abort and refuse is theirs, and another thing than what embedded ones do.
func TestRedrivers(t *testing.T) {
	const rejects, kills = 3000, 4
	random := rand.New(rand.NewPCG(harness.Seed(t), 9))
	freshCluster(t)
	createTopics(t)
	a, err := app.New(app.Options{
		Config: settings(t, ""), Roles: []app.Role{app.RoleDedup, app.RoleWindow}, Logger: harness.LogTo(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	pipeline := runApp(t, a)
	outcomes := harness.NewReader(t, brokers(t))
	backlog(t, outcomes, "a", rejects/2)

	command := []string{"dlq", "redrive", "--reason", "unknown_sensor"}
	for i := range kills {
		p := harness.Launch(t, "redrive", reach(t), command...)
		life := time.Duration(random.Int64N(int64(5 * time.Second)))
		select {
		case <-time.After(life):
			p.End(t, syscall.SIGKILL)
		case <-p.Exited:
		}
		t.Logf("kill %d after %v, of one that had ended: %v", i+1, life, p.Cmd.ProcessState.Exited())
	}
	backlog(t, outcomes, "b", rejects/2) // so that there is something left, whatever those have sent
	overtake(t, func() {
		code, stdout, stderr := run(t, append(command, "--json")...)
		var result struct {
			Selected, Sent  int
			AlreadyRedriven int `json:"already_redriven"`
		}
		if err := json.Unmarshal([]byte(stdout), &result); code != 0 || err != nil ||
			result.Sent+result.AlreadyRedriven != rejects || result.Sent < rejects/2 {
			t.Errorf("%d, %v, %+v: %s", code, err, result, stderr)
		}
		t.Logf("killed redrivers had sent %d, the last one %d", result.AlreadyRedriven, result.Sent)
	})
	outcomes.Until(t, "the redriven readings", func(o *harness.Outcomes) bool { return len(o.Readings) >= rejects })
	pipeline.Stop()

	code, stdout, stderr := run(t, "verify", "--json", "--window.idleTimeout", "1s")
	var report struct {
		Totals struct {
			Accepted, Rejected, Redriven int
			RedrivenAccepted             int `json:"redriven_accepted"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); code != 0 || err != nil {
		t.Fatalf("verify: %d, %v: %s%s", code, err, stdout, stderr)
	}
	if n := report.Totals; n.Accepted != rejects || n.Rejected != rejects || n.Redriven != rejects ||
		n.RedrivenAccepted != rejects {
		t.Errorf("%+v: not each of %d rejects was accepted once", n, rejects)
	}
}

// backlog gives the pipeline n rejects of sensors that are known afterwards.
func backlog(t *testing.T, r *harness.Reader, prefix string, n int) {
	t.Helper()
	now := time.Now().UnixMilli()
	var readings, sensors []*kgo.Record
	for i := range n {
		s := codecs.Sensor{SensorID: fmt.Sprintf("%s%04d", prefix, i), Latitude: 34, Longitude: -118}
		r := codecs.RawReading{SensorID: s.SensorID, Timestamp: codecs.Some(now), SpeedMPH: codecs.Some(55.0)}
		readings = append(readings, &kgo.Record{Key: []byte(s.SensorID), Value: codecs.AppendRawJSON(nil, &r)})
		sensors = append(sensors, sensorRecord(&s))
	}
	before := len(r.Rejects)
	produce(t, readings)
	r.Until(t, "the rejects", func(o *harness.Outcomes) bool { return len(o.Rejects) >= before+n })
	produce(t, sensors)
}

func produce(t *testing.T, records []*kgo.Record) {
	t.Helper()
	client := rawClient(t)
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// overtake runs a redriver that does something else between its look and what it sends, and wants it to be refused.
func overtake(t *testing.T, meanwhile func()) {
	t.Helper()
	schemas := registryClient(t, setting(t, "GANTRY_REGISTRY_URL"))
	o := deadletter.DefaultOptions()
	o.Client = processors.Kafka{Brokers: brokers(t)}.Options()
	o.Decoder = deadletter.NewDecoder(schemas, time.Second)
	looked := false
	o.Progress = func(stage string, done, total int64) {
		if stage == deadletter.StageRedrives && done == total && !looked {
			looked = true
			meanwhile()
		}
	}
	q, err := deadletter.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	s, err := q.Select(t.Context(), deadletter.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	err = q.Redrive(t.Context(), s, deadletter.Request{}, func(v deadletter.Verdict) error {
		if v.Fate == deadletter.FateSent {
			sent++
		}
		return nil
	})
	if !looked || sent > 0 || !errors.Is(err, deadletter.ErrFenced) {
		t.Errorf("overtaken %v, it sent %d: %v", looked, sent, err)
	}
	t.Logf("the one that was overtaken ended with %v", err)
}
