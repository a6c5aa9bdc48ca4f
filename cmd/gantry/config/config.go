// Package config is Gantry's configuration: one table of keys (keys.go) from which the file's keys, the environment
// variables, the flags, their documentation, their checks and the output of `gantry config` are all derived.
//
// A value comes from a flag, else from the environment, else from the file, else from the table's default, and Loaded
// remembers which. Nothing is guessed: unknown keys are errors, and every problem of every source is reported at once,
// because a user who repairs a configuration one error at a time restarts a pipeline ten times.
package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"
)

// Config holds the effective value of every key. The keys themselves, with defaults and ranges, stand in keys.go.
type Config struct {
	Kafka    Kafka
	Instance string // name-ordinal: the static member of the consumer groups
	// LeaveOnStop makes the process leave its groups when it stops, instead of keeping its place for a restart.
	LeaveOnStop bool
	Registry    Registry
	State       State
	Archive     Archive
	HTTP        HTTP
	Raw         Raw
	Window      Window
	Validate    Validate
	Topics      Topics
}

// Kafka is how brokers are reached.
type Kafka struct {
	Brokers []string // host:port
	TLS     TLS
	SASL    SASL
	Version string // protocol version, as sarama.ParseKafkaVersion reads it
	// BatchBytesMax is the memory that a compressed batch may take when it is unpacked.
	BatchBytesMax int
}

// TLS is the client side of an encrypted connection.
type TLS struct {
	Enabled            bool
	CA, Cert, Key      string // PEM files; an empty CA means the system's
	InsecureSkipVerify bool
}

// SASL is how a client proves who it is. An empty mechanism means not at all.
type SASL struct {
	Mechanism      string // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
	User, Password string
}

// Registry is the schema registry.
type Registry struct{ URL, User, Password string }

// State is where a process keeps its tables, and whether those of partitions that it does not own are among them.
type State struct {
	Dir     string
	Standby bool
}

// Archive is where readings and windows rest, and how often a file is written.
type Archive struct {
	URL           string // hdfs://namenode:port/folder or file:///folder; empty: nothing is archived
	FlushInterval time.Duration
	FlushRows     int
	Kerberos      Kerberos
}

// Kerberos is how to prove to HDFS who one is. Without a principal HDFS is told a name, and believes it.
type Kerberos struct {
	Principal, Keytab, Config string
	Namenode                  string // its principal
	Protection                string // none, authentication, privacy
}

// HTTP is the server.
type HTTP struct {
	Listen string // host:port
	TLS    ServerTLS
	Tokens []string // bearer tokens, any of which is accepted; none: no token is asked for
}

// ServerTLS is the certificate of the server. Empty means plain HTTP.
type ServerTLS struct{ Cert, Key string }

// Config returns the server's TLS configuration, which follows its files, or nil where it serves plain HTTP.
func (t ServerTLS) Config() (*tls.Config, error) {
	if t.Cert == "" {
		return nil, nil
	}
	files := &certificate{cert: t.Cert, key: t.Key}
	if _, err := files.current(); err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files.current() },
	}, nil
}

// Raw is what is promised about traffic-raw.
type Raw struct{ Keyed bool }

// Window is how readings are folded into windows.
type Window struct {
	Length, Grace, IdleTimeout, Retention, DefaultInterval time.Duration
}

// Validate holds the limits of the rules, all inclusive.
type Validate struct {
	Required                       []string // names of fields of a reading
	SpeedMax                       float64  // mph
	VolumeMax                      int      // vehicles per hour
	LatMin, LatMax, LonMin, LonMax float64  // degrees
	MaxAge, MaxAhead               time.Duration
	KnownSensorsOnly               bool
}

// Topics names the topics.
type Topics struct {
	Raw, Events, Rejects string
	Partitions           int
}

// Default is the configuration that holds where nothing is configured.
func Default() Config {
	var c Config
	for i := range keys {
		if err := keys[i].set(&c, keys[i].Default); err != nil {
			panic(fmt.Sprintf("the default of %s is outside its own range: %v", keys[i].Name, err))
		}
	}
	return c
}

// Config returns the client's TLS configuration, or nil where TLS is off. An error names the file that it is about.
func (t TLS) Config() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.InsecureSkipVerify}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("kafka.tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka.tls.ca: %s holds no certificate in PEM form", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("kafka.tls.cert %s, kafka.tls.key %s: %w", t.Cert, t.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
