package real

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"gantry/codecs"
	"gantry/processors"
	"gantry/test/harness"
)

// A pipeline waits for a registry that is away when it starts. While the registry is away later, readings with schemas
// that are known go on, one with an unknown schema waits, with what lies behind it in its partition, and none is
// rejected: each has its outcome once the registry is back.
func TestRegistryOutage(t *testing.T) {
	freshCluster(t)
	direct := registryClient(t, setting(t, "GANTRY_REGISTRY_URL"))
	known, err := direct.EnsureSubject(t.Context(), processors.DefaultTopics().RawSubject(), codecs.RawSchema)
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, setting(t, "GANTRY_REGISTRY_URL"))
	c := settings(t, freshArchive(t))
	c.Registry.URL = g.URL

	pipeline := start(t, c)
	g.wait(t)
	harness.Await(t, "the reason why it is not ready", func() bool {
		roles := pipeline.Roles()
		return len(roles) > 0 && !roles[0].Ready && strings.Contains(roles[0].Trouble, "registry")
	})
	g.open.Store(true)

	p := newProducer(t)
	r := harness.NewReader(t, brokers(t))
	sensors := []string{"s0", "s1", "s2", "s3"}
	partition := make(map[string]int32)
	for _, id := range sensors {
		partition[id] = p.sensor(id)
		p.reading(id, known)
	}
	r.Until(t, "readings with a known schema", func(o *harness.Outcomes) bool { return len(o.Readings) == len(sensors) })

	g.shut()
	waiting := sensors[0]
	unknown, err := direct.Register(t.Context(), processors.DefaultTopics().RawSubject(), newSchema(t))
	if err != nil {
		t.Fatal(err)
	}
	p.encoded(waiting, unknown)
	others := 0
	for _, id := range sensors[1:] {
		if partition[id] != partition[waiting] {
			others++
		}
		p.reading(id, known)
	}
	if others == 0 {
		t.Fatalf("all sensors lie on one partition: %v", partition)
	}
	g.wait(t)
	r.Until(t, "readings of other partitions", func(o *harness.Outcomes) bool {
		return len(o.Readings) == len(sensors)+others
	})
	for _, reading := range r.Readings {
		if reading.SensorID == waiting && reading.Sequence > 1 {
			t.Error("a reading whose schema nobody could know has been read")
		}
	}
	g.open.Store(true)
	r.Until(t, "every reading", func(o *harness.Outcomes) bool { return len(o.Readings) == 2*len(sensors) })
	if len(r.Rejects) > 0 {
		t.Errorf("rejected because of an outage: %v", r.Reasons())
	}
	pipeline.Stop()
	clean(t, "--window.idleTimeout", "1s")
}

// producer sends single records, as the Java client would.
type producer struct {
	t      *testing.T
	client *kgo.Client
}

func newProducer(t *testing.T) *producer {
	t.Helper()
	client := rawClient(t)
	t.Cleanup(client.Close)
	return &producer{t: t, client: client}
}

func (p *producer) send(id string, value []byte, headers ...kgo.RecordHeader) (partition int32) {
	p.t.Helper()
	record := &kgo.Record{Key: []byte(id), Value: value, Headers: headers}
	if err := p.client.ProduceSync(p.t.Context(), record).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
	return record.Partition
}

func (p *producer) sensor(id string) (partition int32) {
	s := codecs.Sensor{SensorID: id, Latitude: 34, Longitude: -118}
	return p.send(id, codecs.AppendSensorJSON(nil, &s),
		kgo.RecordHeader{Key: codecs.HeaderKind, Value: []byte(codecs.KindSensor)})
}

func (p *producer) reading(id string, schema int32) {
	r := codecs.RawReading{
		SensorID: id, Timestamp: codecs.Some(time.Now().UnixMilli()), SpeedMPH: codecs.Some(60.0),
	}
	p.send(id, codecs.AppendRaw(nil, schema, &r))
}

// newSchema is a writer schema that no registry has seen; encoded sends a reading that is written with it.
func newSchema(t *testing.T) string {
	return evolvedStart + fmt.Sprintf(`{"name":"sensor_id","type":"string","doc":"%s %d"},
		{"name":"timestamp","type":"long"},{"name":"speed_mph","type":"double"}]}`, t.Name(), time.Now().UnixNano())
}

func (p *producer) encoded(id string, schema int32) {
	b := codecs.AppendWireHeader(nil, schema)
	b = append(binary.AppendVarint(b, int64(len(id))), id...)
	b = binary.AppendVarint(b, time.Now().UnixMilli())
	p.send(id, binary.LittleEndian.AppendUint64(b, math.Float64bits(60)))
}
