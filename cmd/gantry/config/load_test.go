package config

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"pgregory.net/rapid"
)

func load(t *testing.T, file string, environ, args []string) (*Loaded, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "g.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(Sources{File: path, Environ: environ, Flags: flags})
}

// The defaults are those of the contract, and fit together.
func TestDefaults(t *testing.T) {
	c := Default()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	w := Window{
		Length: 5 * time.Minute, Grace: time.Minute, IdleTimeout: 2 * time.Minute, Retention: 70 * time.Minute,
		DefaultInterval: 30 * time.Second,
	}
	if c.Window != w {
		t.Errorf("window %+v", c.Window)
	}
	v := c.Validate
	if v.SpeedMax != 120 || v.VolumeMax != 20000 || v.LatMin != 33.7 || v.LatMax != 34.5 || v.LonMin != -119 ||
		v.LonMax != -117 || v.MaxAge != time.Hour || v.MaxAhead != 5*time.Minute || !v.KnownSensorsOnly ||
		len(v.Required) != 1 || v.Required[0] != "speed_mph" {
		t.Errorf("validate %+v", v)
	}
	if c.Topics != (Topics{"traffic-raw", "traffic-events", "traffic-rejects", 5}) || !c.Raw.Keyed {
		t.Errorf("topics %+v, raw %+v", c.Topics, c.Raw)
	}
	if c.Archive.FlushInterval != 30*time.Second || c.Kafka.Version != "4.0.0" {
		t.Errorf("archive %+v, kafka %+v", c.Archive, c.Kafka)
	}
}

// A flag beats the environment, that beats the file, that beats the default; the origin says which it was.
func TestPrecedence(t *testing.T) {
	const file = "# first line\nwindow:\n  grace: 10s\n"
	env := []string{"PATH=/bin", "GANTRY_WINDOW_GRACE=20s"}
	flag := []string{"--window.grace=30s"}
	for _, tt := range []struct {
		name, file string
		env, args  []string
		want       time.Duration
		origin     string
	}{
		{"default", "", nil, nil, time.Minute, "default"},
		{"file", file, nil, nil, 10 * time.Second, "g.yaml:3"},
		{"dotted file", "window.grace: 10s", nil, nil, 10 * time.Second, "g.yaml:1"},
		{"env over file", file, env, nil, 20 * time.Second, "env GANTRY_WINDOW_GRACE"},
		{"flag over env", file, env, flag, 30 * time.Second, "flag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := load(t, tt.file, tt.env, tt.args)
			if err != nil {
				t.Fatal(err)
			}
			if l.Window.Grace != tt.want || !strings.HasSuffix(l.Origin("window.grace"), tt.origin) {
				t.Errorf("grace %v from %q, want %v from %q", l.Window.Grace, l.Origin("window.grace"), tt.want, tt.origin)
			}
		})
	}
}

// A list has one meaning in all of its forms.
func TestLists(t *testing.T) {
	for _, tt := range []struct {
		file string
		env  []string
	}{
		{"kafka: {brokers: [a:1, 'b:2']}", nil},
		{"kafka:\n  brokers: a:1, b:2", nil},
		{"", []string{"GANTRY_KAFKA_BROKERS=a:1,b:2"}},
	} {
		l, err := load(t, tt.file, tt.env, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(l.Kafka.Brokers, " "); got != "a:1 b:2" {
			t.Errorf("%+v: brokers %q", tt, got)
		}
	}
	l, err := load(t, "validate.required: []", nil, nil)
	if err != nil || len(l.Validate.Required) != 0 {
		t.Errorf("an empty list: %v, %v", l.Validate.Required, err)
	}
}

// Every key can be set by each source under its own name: the table drives all of them.
func TestEveryKeyInEverySource(t *testing.T) {
	for _, k := range Keys() {
		if want := "GANTRY_" + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_")); strings.ReplaceAll(k.Env(), "_", "") !=
			strings.ReplaceAll(want, "_", "") {
			t.Errorf("%s has the variable %s", k.Name, k.Env())
		}
		value := k.Default
		if k.Default == "" {
			continue // an empty value is no valid YAML scalar
		}
		for source, try := range map[string]func() (*Loaded, error){
			"file": func() (*Loaded, error) { return load(t, k.Name+`: "`+value+`"`, nil, nil) },
			"env":  func() (*Loaded, error) { return load(t, "", []string{k.Env() + "=" + value}, nil) },
			"flag": func() (*Loaded, error) { return load(t, "", nil, []string{"--" + k.Name + "=" + value}) },
		} {
			l, err := try()
			if err != nil {
				t.Errorf("%s by %s: %v", k.Name, source, err)
				continue
			}
			if !strings.HasPrefix(l.Origin(k.Name), source) {
				t.Errorf("%s by %s has the origin %q", k.Name, source, l.Origin(k.Name))
			}
		}
	}
}

func TestEnvName(t *testing.T) {
	for name, want := range map[string]string{
		"archive.flushInterval":        "GANTRY_ARCHIVE_FLUSH_INTERVAL",
		"kafka.tls.insecureSkipVerify": "GANTRY_KAFKA_TLS_INSECURE_SKIP_VERIFY",
		"archive.url":                  "GANTRY_ARCHIVE_URL",
	} {
		if got := keyByName(name).Env(); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Each refused value names its key and what would be allowed.
func TestProblems(t *testing.T) {
	for _, tt := range []struct{ args, key, text string }{
		{"--kafka.brokers=kafka", "kafka.brokers", "host:port"},
		{"--kafka.brokers=", "kafka.brokers", "at least one"},
		{"--kafka.brokers=a:0", "kafka.brokers", "host:port"},
		{"--kafka.version=2.0.0", "kafka.version", "2.3.0 to"},
		{"--kafka.version=4", "kafka.version", "2.3.0 to"},
		{"--kafka.tls.enabled=ja", "kafka.tls.enabled", "true or false"},
		{"--kafka.tls.ca=x.pem", "kafka.tls.enabled", "not be encrypted"},
		{"--kafka.tls.enabled --kafka.tls.cert=x.pem", "kafka.tls.cert", "together"},
		{"--kafka.sasl.mechanism=GSSAPI", "kafka.sasl.mechanism", "SCRAM-SHA-512"},
		{"--kafka.sasl.mechanism=PLAIN", "kafka.sasl.user", "together"},
		{"--kafka.sasl.user=me", "kafka.sasl.mechanism", "nobody would log in"},
		{"--instance=gantry", "instance", "gantry-0"},
		{"--registry.url=registry:8081", "registry.url", "http or https"},
		{"--archive.url=s3://bucket/x", "archive.url", "hdfs://"},
		{"--archive.url=hdfs://namenode/x", "archive.url", "hdfs://"},
		{"--archive.url=file://folder", "archive.url", "file:///"},
		{"--archive.flushInterval=0s", "archive.flushInterval", "1s to 1h"},
		{"--archive.flushRows=0", "archive.flushRows", "1 to"},
		{"--http.listen=8080", "http.listen", "host:port"},
		{"--http.tls.cert=x", "http.tls.cert", "together"},
		{"--window.length=300", "window.length", "not a duration like 30s"},
		{"--window.length=1ns", "window.length", "1s to 24h"},
		{"--window.length=10m", "window.retention", "from 1h15m"},
		{"--window.grace=66m", "window.retention", "from 1h11m"},
		{"--validate.maxAge=61m", "window.retention", "from 1h11m"},
		{"--window.retention=ever --window.length=10m", "window.retention", "not a duration"}, // and not twice
		{"--validate.required=speed", "validate.required", "speed_mph"},
		{"--validate.speedMax=0", "validate.speedMax", "above 0"},
		{"--validate.speedMax=NaN", "validate.speedMax", "above 0"},
		{"--validate.volumeMax=2147483648", "validate.volumeMax", "1 to 2147483647"},
		{"--validate.latMin=35", "validate.latMin", "at most validate.latMax, 34.5"},
		{"--validate.lonMax=-120", "validate.lonMin", "at most validate.lonMax, -120"},
		{"--validate.latMin=-91", "validate.latMin", "-90 to 90"},
		{"--topics.raw=a/b", "topics.raw", "characters"},
		{"--topics.events=traffic-raw", "topics.events", "another name"},
		{"--topics.rejects=traffic-events", "topics.rejects", "another name"},
		{"--topics.partitions=0", "topics.partitions", "1 to"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			_, err := load(t, "", nil, strings.Fields(tt.args))
			p := asProblems(err)
			if len(p) != 1 || p[0].Key != tt.key || !strings.Contains(p[0].String(), tt.text) {
				t.Errorf("problems %v, want %s with %q", err, tt.key, tt.text)
			}
		})
	}
}

// All problems of all sources come in one error, each with its origin.
func TestProblemsTogether(t *testing.T) {
	_, err := load(t, "window:\n  lenght: 5m\n  grace: soon\narchive: 5\n",
		[]string{"GANTRY_INSTANCE=x", "GANTRY_TOPIC_RAW=y"}, []string{"--topics.partitions=many"})
	var p Problems
	if !errors.As(err, &p) || len(p) != 6 {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{
		"window.lenght (file", "g.yaml:2): no such key; did you mean window.length?", "window.grace = \"soon\"",
		"archive (file", "must be a section", "instance = \"x\" (env GANTRY_INSTANCE)",
		"GANTRY_TOPIC_RAW (environment): no such key; did you mean GANTRY_TOPICS_RAW?",
		"topics.partitions = \"many\" (flag): is not a whole number; allowed: 1 to 10000",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

// Mistakes of the file's form are problems with a line, too.
func TestFileForm(t *testing.T) {
	for file, want := range map[string]string{
		"window: [1":                             "line 1",
		"window.grace: 1s\nwindow: {grace: 2s}":  "is set twice",
		"window.grace: 1s\nwindow.grace: 2s":     "is set twice",
		"window:\n  grace:":                      "has no value",
		"window.grace: [1s]":                     "must be a single value",
		"http.tokens: ['a,b']":                   "without commas",
		"- window":                               "must be a section",
		"window.grace: 1s\n---\nwindow.grace: 2": "one YAML document",
		"Window.grace: 1s":                       "did you mean window.grace?",
	} {
		if _, err := load(t, file, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", file, err, want)
		}
	}
	for _, file := range []string{"", "# nothing", "window:\n  # grace: 1s\n"} {
		if _, err := load(t, file, nil, nil); err != nil {
			t.Errorf("%q: %v", file, err)
		}
	}
}

// A file that is named must exist; the default file need not.
func TestMissingFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load(Sources{File: "none.yaml"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a named file: %v", err)
	}
	if _, err := Load(Sources{}); err != nil {
		t.Errorf("the default file: %v", err)
	}
	if err := os.WriteFile(DefaultFile, []byte("instance: road-7"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Load(Sources{})
	if err != nil || l.Instance != "road-7" || l.Origin("instance") != "file gantry.yaml:1" {
		t.Errorf("%v from %q, %v", l.Instance, l.Origin("instance"), err)
	}
}

// What Kubernetes injects for a service named gantry is not an unknown key.
func TestKubernetesEnvironment(t *testing.T) {
	_, err := load(t, "", []string{
		"GANTRY_SERVICE_HOST=10.0.0.1", "GANTRY_SERVICE_PORT=80", "GANTRY_SERVICE_PORT_HTTP=80", "GANTRY_PORT=tcp://x",
		"GANTRY_PORT_8080_TCP=tcp://x", "GANTRY_PORT_8080_TCP_ADDR=x", "GANTRY_HTTP_SERVICE_HOST=10.0.0.2",
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

// Secrets appear in no output: not in the description, not in its JSON, not in a problem.
func TestSecretsAreMasked(t *testing.T) {
	const file = `
kafka.sasl: {mechanism: PLAIN, user: me, password: hush1}
registry: {url: "http://me:hush2@registry:8081", password: hush3}
http.tokens: [hush4, hush5]
`
	l, err := load(t, file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	js, err := l.DescribeJSON()
	if err != nil {
		t.Fatal(err)
	}
	_, bad := load(t, "", []string{"GANTRY_HTTP_TOKENS=hush6,,x", "GANTRY_REGISTRY_URL=ftp://me:hush7@x"}, nil)
	if bad == nil {
		t.Fatal("an empty token was accepted")
	}
	for name, out := range map[string]string{"text": l.Describe(), "json": string(js), "problem": bad.Error()} {
		if strings.Contains(out, "hush") {
			t.Errorf("%s shows a secret:\n%s", name, out)
		}
		if !strings.Contains(out, masked) {
			t.Errorf("%s does not show that there is one:\n%s", name, out)
		}
	}
	if l.HTTP.Tokens[0] != "hush4" || l.Registry.URL != "http://me:hush2@registry:8081" {
		t.Error("the mask changed the value itself")
	}
}

// The description is a file that loads to the same configuration.
func TestDescribeLoads(t *testing.T) {
	const file = "kafka.brokers: [a:1, b:2]\nwindow.grace: 90s\narchive.url: file:///var/my data\nvalidate.latMin: 33.75\n"
	l, err := load(t, file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := load(t, l.Describe(), nil, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, l.Describe())
	}
	a, _ := json.Marshal(l.Config)
	b, _ := json.Marshal(again.Config)
	if string(a) != string(b) {
		t.Errorf("%s\n%s", a, b)
	}
	if !strings.Contains(l.Describe(), "window.grace: 1m30s") || !strings.Contains(l.Describe(), "g.yaml:2") {
		t.Errorf("%s", l.Describe())
	}
}

// Durations are printed so that they parse to the same value.
func TestFormatDuration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "ms")) * time.Millisecond
		if got, err := time.ParseDuration(formatDuration(d)); err != nil || got != d {
			t.Fatalf("%v is printed as %s", d, formatDuration(d))
		}
	})
}

// Any bytes are either a configuration or problems, never a panic.
func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"", "window: {length: 5m}", "a: &a [*a]", "? [1]: 2", "kafka.brokers: [a:1]", "- 1\n---\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values := make(map[string]given)
		readYAML("f", data, values)
		for name := range values {
			if keyByName(name) == nil {
				t.Errorf("a value for %q, which is no key", name)
			}
		}
	})
}
