package real

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gantry/codecs"
	"gantry/codecs/registry"
	"gantry/test/harness"
)

func registryClient(t *testing.T, base string) *registry.Client {
	t.Helper()
	o := registry.DefaultOptions()
	o.URL = base
	c, err := registry.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// freshSubject is one that the registry has never heard of.
func freshSubject(t *testing.T) string {
	return fmt.Sprintf("%s-%d-value", t.Name(), time.Now().UnixNano())
}

// A subject is registered once, whoever asks and however the text is laid out, and found again by its id.
func TestRegistryEnsure(t *testing.T) {
	c := registryClient(t, setting(t, "GANTRY_REGISTRY_URL"))
	subject := freshSubject(t)
	if _, _, err := c.Latest(t.Context(), subject); !errors.Is(err, registry.ErrNotFound) {
		t.Fatalf("latest of a subject that is not there: %v", err)
	}
	id, err := c.EnsureSubject(t.Context(), subject, codecs.RawSchema)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.EnsureSubject(t.Context(), subject, strings.Join(strings.Fields(codecs.RawSchema), " "))
	if err != nil || again != id {
		t.Errorf("ensured again the id is %d, %v, before it was %d", again, err, id)
	}
	latest, _, err := c.Latest(t.Context(), subject)
	if err != nil || latest != id {
		t.Errorf("the latest id is %d, %v, want %d", latest, err, id)
	}
	text, err := c.Schema(t.Context(), id)
	if err != nil || !strings.Contains(text, "TrafficReading") {
		t.Errorf("schema %d is %q, %v", id, text, err)
	}
	older := evolutions[0].schema
	if _, err := c.Register(t.Context(), subject, older); err != nil {
		t.Fatal(err)
	}
	if kept, err := c.EnsureSubject(t.Context(), subject, codecs.RawSchema); err != nil || kept != id {
		t.Errorf("with another latest version the id is %d, %v, want %d", kept, err, id)
	}
}

// An unknown id is the registry's word: its messages are undecodable. Learn would wait for ever for anything less.
func TestRegistryUnknownID(t *testing.T) {
	c := registryClient(t, setting(t, "GANTRY_REGISTRY_URL"))
	if _, err := c.Schema(t.Context(), 987654321); !errors.Is(err, codecs.ErrSchemaUnknown) {
		t.Fatalf("got %v, want an unknown schema", err)
	}
	var d codecs.RawDecoder
	message := append(codecs.AppendWireHeader(nil, 987654321), "anything"...)
	var r codecs.RawReading
	var needed *codecs.SchemaNeededError
	if err := d.Decode(message, &r); !errors.As(err, &needed) {
		t.Fatalf("got %v, want a schema that is needed", err)
	}
	if err := d.Learn(t.Context(), needed.ID, c); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(message, &r); !errors.Is(err, codecs.ErrSchemaUnknown) {
		t.Errorf("got %v, want a verdict", err)
	}
}

// What a registry refuses is told apart from a registry that is away: the first is a mistake, the second is waited
// for.
func TestRegistryRefuses(t *testing.T) {
	base := setting(t, "GANTRY_REGISTRY_URL")
	c := registryClient(t, base)
	subject := freshSubject(t)
	if _, err := c.Register(t.Context(), subject, codecs.RawSchema); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/config/"+subject,
		strings.NewReader(`{"compatibility":"BACKWARD"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("set the compatibility: %s: %s", resp.Status, body)
	}
	for name, schema := range map[string]string{
		"incompatible": strings.Replace(codecs.RawSchema, `"type": "string"`, `"type": "int"`, 1),
		"no schema":    `{"type":"recrod"}`,
	} {
		if _, err := c.EnsureSubject(t.Context(), subject, schema); !errors.Is(err, registry.ErrIncompatible) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

const evolvedStart = `{"type":"record","name":"Sample","namespace":"city","fields":[`

// evolutions are writer schemas as a road operator changes them over the years, with the body of one record each; all
// give the same reading.
var evolutions = []struct {
	name   string
	schema string
	body   []byte
}{
	{
		"field added",
		evolvedStart + `{"name":"sensor_id","type":"string"},
			{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},
			{"name":"speed_mph","type":["null","double"]},{"name":"volume_vph","type":["null","int"]},
			{"name":"occupancy_percent","type":["null","double"]},{"name":"coordinates","type":["null","int"]},
			{"name":"firmware","type":"string"}]}`,
		[]byte("\x04s1\xd0\x0f\x02\x00\x00\x00\x00\x00\x00\x4e\x40\x02\x08\x00\x00\x06one"),
	},
	{
		"field removed",
		evolvedStart + `{"name":"sensor_id","type":"string"},
			{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},
			{"name":"speed_mph","type":"double"},{"name":"volume_vph","type":"int"}]}`,
		[]byte("\x04s1\xd0\x0f\x00\x00\x00\x00\x00\x00\x4e\x40\x08"),
	},
	{
		"promoted",
		evolvedStart + `{"name":"sensor_id","type":"string"},{"name":"timestamp","type":"int"},
			{"name":"speed_mph","type":"float"},{"name":"volume_vph","type":"int"}]}`,
		[]byte("\x04s1\xd0\x0f\x00\x00\x70\x42\x08"),
	},
	{
		"reordered",
		evolvedStart + `{"name":"volume_vph","type":"int"},{"name":"speed_mph","type":["double","null"]},
			{"name":"timestamp","type":"long"},{"name":"sensor_id","type":"string"}]}`,
		[]byte("\x08\x00\x00\x00\x00\x00\x00\x00\x4e\x40\xd0\x0f\x04s1"),
	},
}

// Whatever Avro resolution accepts is read through the registry, under the id that the registry gave; a writer that
// does not resolve makes its messages undecodable, and no others.
func TestRegistryEvolution(t *testing.T) {
	c := registryClient(t, setting(t, "GANTRY_REGISTRY_URL"))
	subject := freshSubject(t)
	var d codecs.RawDecoder
	decode := func(schema string, body []byte) (r codecs.RawReading, err error) {
		id, err := c.Register(t.Context(), subject, schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Learn(t.Context(), id, c); err != nil {
			t.Fatal(err)
		}
		return r, d.Decode(append(codecs.AppendWireHeader(nil, id), body...), &r)
	}
	want := codecs.RawReading{
		SensorID: "s1", Timestamp: codecs.Some[int64](1000), SpeedMPH: codecs.Some(60.0), VolumeVPH: codecs.Some[int64](4),
	}
	for _, e := range evolutions {
		var r codecs.RawReading
		id, err := c.Register(t.Context(), subject, e.schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Learn(t.Context(), id, c); err != nil {
			t.Fatal(err)
		}
		if err := d.Decode(append(codecs.AppendWireHeader(nil, id), e.body...), &r); err != nil || r != want {
			t.Errorf("%s: got %+v, %v", e.name, r, err)
		}
	}
	if r, err := decode(evolvedStart+`{"name":"sensor_id","type":"string"}]}`, []byte("\x04s1")); err == nil {
		t.Errorf("a writer without a time gave %+v", r)
	}
}

// gate is a way to the registry that can be closed: every request is then cut off without an answer.
type gate struct {
	URL     string
	open    atomic.Bool
	refused chan struct{} // somebody came while it was closed
}

// wait returns when somebody has come in vain.
func (g *gate) wait(t *testing.T) {
	t.Helper()
	select {
	case <-g.refused:
	case <-time.After(harness.Patience):
		t.Fatal("nobody asks the registry")
	}
}

// shut closes the gate and forgets who came before.
func (g *gate) shut() {
	g.open.Store(false)
	select {
	case <-g.refused:
	default:
	}
}

func newGate(t *testing.T, target string) *gate {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = u.Scheme, u.Host, u.Host
		},
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	g := &gate{refused: make(chan struct{}, 1)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.open.Load() {
			select {
			case g.refused <- struct{}{}:
			default:
			}
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	g.URL = "http://" + l.Addr().String() + u.Path
	return g
}

// A registry that is away gives no verdict: a look-up waits, and has its answer when the registry is back.
func TestRegistryAway(t *testing.T) {
	g := newGate(t, setting(t, "GANTRY_REGISTRY_URL"))
	c := registryClient(t, g.URL)
	_, err := c.EnsureSubject(t.Context(), freshSubject(t), codecs.RawSchema)
	if !errors.Is(err, registry.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	g.open.Store(true)
	id, err := c.EnsureSubject(t.Context(), freshSubject(t), codecs.RawSchema)
	if err != nil {
		t.Fatal(err)
	}
	g.shut()
	waits := make(chan error, 100)
	d := codecs.RawDecoder{OnWait: func(_ int32, err error, _ time.Duration) { waits <- err }}
	learned := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	go func() { learned <- d.Learn(ctx, id, c) }()
	for range 2 {
		if err := <-waits; !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("it waits because of %v", err)
		}
	}
	g.open.Store(true)
	if err := <-learned; err != nil {
		t.Fatal(err)
	}
	r := codecs.RawReading{SensorID: "s1", Timestamp: codecs.Some[int64](1)}
	var got codecs.RawReading
	if err := d.Decode(codecs.AppendRaw(nil, id, &r), &got); err != nil || got != r {
		t.Errorf("got %+v, %v", got, err)
	}
}
