package config

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// keys is the table that everything is derived from, in the order in which `gantry config` prints it.
var keys = []Key{
	list("kafka.brokers", "127.0.0.1:9092", "addresses of Kafka brokers",
		func(c *Config) *[]string { return &c.Kafka.Brokers }, hostPort).atLeastOne(),
	boolean("kafka.tls.enabled", "false", "talk TLS to the brokers",
		func(c *Config) *bool { return &c.Kafka.TLS.Enabled }),
	text("kafka.tls.ca", "", "file with the authorities that sign the brokers' certificates; empty = the system's",
		func(c *Config) *string { return &c.Kafka.TLS.CA }, anything("a PEM file, or empty")),
	text("kafka.tls.cert", "", "file with the client's certificate",
		func(c *Config) *string { return &c.Kafka.TLS.Cert }, anything("a PEM file, or empty")),
	text("kafka.tls.key", "", "file with the key of the client's certificate",
		func(c *Config) *string { return &c.Kafka.TLS.Key }, anything("a PEM file, or empty")),
	boolean("kafka.tls.insecureSkipVerify", "false", "accept any certificate of a broker; for tests only",
		func(c *Config) *bool { return &c.Kafka.TLS.InsecureSkipVerify }),
	text("kafka.sasl.mechanism", "", "how to log in at the brokers; empty = not at all",
		func(c *Config) *string { return &c.Kafka.SASL.Mechanism },
		oneOf("", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")),
	text("kafka.sasl.user", "", "user name at the brokers",
		func(c *Config) *string { return &c.Kafka.SASL.User }, anything("any text")),
	text("kafka.sasl.password", "", "password at the brokers",
		func(c *Config) *string { return &c.Kafka.SASL.Password }, anything("any text")).secret(),
	text("kafka.version", "4.0.0", "Kafka protocol version to speak",
		func(c *Config) *string { return &c.Kafka.Version }, kafkaVersion),
	integer("kafka.batchBytesMax", "67108864", "largest memory, in bytes, that a compressed batch may unpack to",
		func(c *Config) *int { return &c.Kafka.BatchBytesMax }, 1<<20, 1<<30),

	text("instance", "gantry-0", "name of this process in its consumer groups, stable over restarts",
		func(c *Config) *string { return &c.Instance }, instanceName),
	boolean("leaveOnStop", "false", "a stop is for good: the other processes take the partitions over at once",
		func(c *Config) *bool { return &c.LeaveOnStop }),

	text("registry.url", "http://127.0.0.1:8081", "schema registry with the Confluent API",
		func(c *Config) *string { return &c.Registry.URL }, urlOf("http", "https")),
	text("registry.user", "", "user name at the registry",
		func(c *Config) *string { return &c.Registry.User }, anything("any text")),
	text("registry.password", "", "password at the registry",
		func(c *Config) *string { return &c.Registry.Password }, anything("any text")).secret(),

	text("state.dir", "gantry-data/state", "folder of the tables; keep it over restarts",
		func(c *Config) *string { return &c.State.Dir }, notEmpty("a folder")),
	boolean("state.standby", "true", "keep the tables of the other processes' partitions current too, for a quick takeover",
		func(c *Config) *bool { return &c.State.Standby }),

	text("archive.url", "", "where readings and windows are archived; empty = nowhere",
		func(c *Config) *string { return &c.Archive.URL }, archiveURL),
	duration("archive.flushInterval", "30s", "longest time before archived rows are visible",
		func(c *Config) *time.Duration { return &c.Archive.FlushInterval }, time.Second, time.Hour),
	integer("archive.flushRows", "100000", "most rows that wait for a flush",
		func(c *Config) *int { return &c.Archive.FlushRows }, 1, 10_000_000),
	text("archive.kerberos.principal", "", "who Gantry is at an HDFS with Kerberos; empty = an HDFS without",
		func(c *Config) *string { return &c.Archive.Kerberos.Principal }, anything("user@REALM, or empty")),
	text("archive.kerberos.keytab", "", "file with the keys of that principal",
		func(c *Config) *string { return &c.Archive.Kerberos.Keytab }, anything("a keytab file, or empty")),
	text("archive.kerberos.config", "/etc/krb5.conf", "file that says where the KDCs are",
		func(c *Config) *string { return &c.Archive.Kerberos.Config }, notEmpty("a file")),
	text("archive.kerberos.namenode", "nn/_HOST", "the namenode's principal; _HOST is its host in archive.url",
		func(c *Config) *string { return &c.Archive.Kerberos.Namenode }, matches("service/host", `^[^/@]+/[^/]+$`)),
	text("archive.kerberos.protection", "authentication", "least protection on the way to the datanodes",
		func(c *Config) *string { return &c.Archive.Kerberos.Protection },
		oneOf("none", "authentication", "privacy")),

	text("http.listen", "127.0.0.1:8080", "address of the HTTP server",
		func(c *Config) *string { return &c.HTTP.Listen }, listenAddress),
	text("http.tls.cert", "", "file with the server's certificate; empty = plain HTTP",
		func(c *Config) *string { return &c.HTTP.TLS.Cert }, anything("a PEM file, or empty")),
	text("http.tls.key", "", "file with the key of the server's certificate",
		func(c *Config) *string { return &c.HTTP.TLS.Key }, anything("a PEM file, or empty")),
	list("http.tokens", "", "bearer tokens that the API accepts; empty = it asks for none",
		func(c *Config) *[]string { return &c.HTTP.Tokens }, notEmpty("a token")).secret(),

	boolean("raw.keyed", "true", "traffic-raw is keyed by sensor_id with the Java client's partitioner",
		func(c *Config) *bool { return &c.Raw.Keyed }),

	duration("window.length", "5m", "length of a window; windows are aligned to the epoch",
		func(c *Config) *time.Duration { return &c.Window.Length }, time.Second, 24*time.Hour),
	duration("window.grace", "60s", "how far the watermark passes a window's end before it is published",
		func(c *Config) *time.Duration { return &c.Window.Grace }, 0, 24*time.Hour),
	duration("window.idleTimeout", "2m", "how long a sensor may send nothing before it is silent",
		func(c *Config) *time.Duration { return &c.Window.IdleTimeout }, time.Second, 24*time.Hour),
	duration("window.retention", "70m", "how long a window is remembered for late readings",
		func(c *Config) *time.Duration { return &c.Window.Retention }, time.Second, 7*24*time.Hour),
	duration("window.defaultInterval", "30s", "interval between readings of a sensor that has none in its metadata",
		func(c *Config) *time.Duration { return &c.Window.DefaultInterval }, time.Second, time.Hour),

	list("validate.required", "speed_mph", "fields that a reading must have beside id, timestamp and coordinates",
		func(c *Config) *[]string { return &c.Validate.Required },
		oneOf("speed_mph", "volume_vph", "occupancy_percent")),
	number("validate.speedMax", "120", "highest speed, mph",
		func(c *Config) *float64 { return &c.Validate.SpeedMax }, math.SmallestNonzeroFloat64, 1000, "above 0, to 1000"),
	integer("validate.volumeMax", "20000", "highest volume, vehicles per hour",
		func(c *Config) *int { return &c.Validate.VolumeMax }, 1, math.MaxInt32),
	number("validate.latMin", "33.7", "southern bound, degrees",
		func(c *Config) *float64 { return &c.Validate.LatMin }, -90, 90, "-90 to 90"),
	number("validate.latMax", "34.5", "northern bound, degrees",
		func(c *Config) *float64 { return &c.Validate.LatMax }, -90, 90, "-90 to 90"),
	number("validate.lonMin", "-119", "western bound, degrees",
		func(c *Config) *float64 { return &c.Validate.LonMin }, -180, 180, "-180 to 180"),
	number("validate.lonMax", "-117", "eastern bound, degrees",
		func(c *Config) *float64 { return &c.Validate.LonMax }, -180, 180, "-180 to 180"),
	duration("validate.maxAge", "1h", "oldest reading that is accepted, by its arrival",
		func(c *Config) *time.Duration { return &c.Validate.MaxAge }, 0, 7*24*time.Hour),
	duration("validate.maxAhead", "5m", "how far a reading may lie in the future of its arrival",
		func(c *Config) *time.Duration { return &c.Validate.MaxAhead }, 0, 24*time.Hour),
	boolean("validate.knownSensorsOnly", "true", "reject readings of sensors without metadata",
		func(c *Config) *bool { return &c.Validate.KnownSensorsOnly }),

	text("topics.raw", "traffic-raw", "topic of raw readings and sensor metadata",
		func(c *Config) *string { return &c.Topics.Raw }, topicName),
	text("topics.events", "traffic-events", "topic of accepted readings, windows and silences",
		func(c *Config) *string { return &c.Topics.Events }, topicName),
	text("topics.rejects", "traffic-rejects", "topic of rejected messages",
		func(c *Config) *string { return &c.Topics.Rejects }, topicName),
	integer("topics.partitions", "5", "partitions of every topic and table",
		func(c *Config) *int { return &c.Topics.Partitions }, 1, 10_000),
}

// problemf is a Problem of a cross check: several keys that do not fit together. Key is the one to change first.
func problemf(key string, value any, allowed, format string, args ...any) Problem {
	return Problem{Key: key, Value: fmt.Sprint(value), Allowed: allowed, Message: fmt.Sprintf(format, args...)}
}

// Check checks what no single key can: that the keys fit together. Its error is a Problems.
func (c *Config) Check() error {
	var p Problems
	w, v := c.Window, c.Validate
	if least := v.MaxAge + v.MaxAhead + w.Length; w.Retention < least {
		p = append(p, problemf("window.retention", formatDuration(w.Retention), "from "+formatDuration(least),
			"a reading of the allowed age could belong to a window that is no longer remembered: "+
				"it must be at least validate.maxAge + validate.maxAhead + window.length"))
	}
	if least := w.Length + w.Grace; w.Retention < least {
		p = append(p, problemf("window.retention", formatDuration(w.Retention), "from "+formatDuration(least),
			"a window would be forgotten before it is published: it must be at least window.length + window.grace"))
	}
	if v.LatMin > v.LatMax {
		p = append(p, problemf("validate.latMin", v.LatMin, fmt.Sprintf("at most validate.latMax, %v", v.LatMax), ""))
	}
	if v.LonMin > v.LonMax {
		p = append(p, problemf("validate.lonMin", v.LonMin, fmt.Sprintf("at most validate.lonMax, %v", v.LonMax), ""))
	}
	p = append(p, c.checkTopics()...)
	p = append(p, c.checkSecurity()...)
	return p.err()
}

func (c *Config) checkTopics() (p Problems) {
	t := c.Topics
	if t.Events == t.Raw {
		p = append(p, problemf("topics.events", t.Events, "another name than topics.raw", ""))
	}
	if t.Rejects == t.Raw || t.Rejects == t.Events {
		p = append(p, problemf("topics.rejects", t.Rejects, "another name than topics.raw and topics.events", ""))
	}
	return p
}

// checkSecurity refuses half a set-up: whoever names a certificate or a user means it to be used, and a connection
// without it would look as if it were.
func (c *Config) checkSecurity() (p Problems) {
	k, h := c.Kafka, c.HTTP.TLS
	if (k.TLS.Cert == "") != (k.TLS.Key == "") {
		p = append(p, problemf("kafka.tls.cert", k.TLS.Cert, "kafka.tls.cert and kafka.tls.key together", ""))
	}
	if !k.TLS.Enabled && (k.TLS.CA != "" || k.TLS.Cert != "" || k.TLS.Key != "") {
		p = append(p, problemf("kafka.tls.enabled", false, "true",
			"kafka.tls.ca, cert or key is set, but the connection would not be encrypted"))
	}
	if k.SASL.Mechanism != "" && (k.SASL.User == "" || k.SASL.Password == "") {
		p = append(p, problemf("kafka.sasl.user", k.SASL.User, "kafka.sasl.user and kafka.sasl.password together",
			"kafka.sasl.mechanism asks for both"))
	}
	if k.SASL.Mechanism == "" && (k.SASL.User != "" || k.SASL.Password != "") {
		p = append(p, problemf("kafka.sasl.mechanism", "", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
			"a user or password is set, but nobody would log in"))
	}
	if a := c.Archive; (a.Kerberos.Principal == "") != (a.Kerberos.Keytab == "") {
		p = append(p, problemf("archive.kerberos.principal", a.Kerberos.Principal,
			"archive.kerberos.principal and archive.kerberos.keytab together", ""))
	} else if a.Kerberos.Principal != "" && !strings.HasPrefix(a.URL, "hdfs:") {
		p = append(p, problemf("archive.kerberos.principal", a.Kerberos.Principal, "an hdfs URL in archive.url beside it",
			"nothing else asks for Kerberos"))
	}
	if (h.Cert == "") != (h.Key == "") {
		p = append(p, problemf("http.tls.cert", h.Cert, "http.tls.cert and http.tls.key together", ""))
	}
	return p
}
