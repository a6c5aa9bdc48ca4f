package config

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/IBM/sarama"
)

// Key is one key of the configuration. Set and get work on text, the form that files, environment and flags share.
type Key struct {
	Name    string // as in the file: words joined by dots
	Type    string // text, bool, int, number, duration, list
	Default string // lists are comma-separated
	Allowed string // the allowed range, readable
	Doc     string
	Secret  bool // never printed

	set func(c *Config, text string) error
	get func(c *Config) any
}

// Keys returns the table of all keys, in the order of the documentation.
func Keys() []Key { return slices.Clone(keys) }

// Env is the name of the key's environment variable: archive.flushInterval is GANTRY_ARCHIVE_FLUSH_INTERVAL.
func (k *Key) Env() string {
	var b strings.Builder
	b.WriteString(envPrefix)
	for _, r := range k.Name {
		switch {
		case r == '.':
			b.WriteByte('_')
		case unicode.IsUpper(r):
			b.WriteByte('_')
			b.WriteRune(r)
		default:
			b.WriteRune(unicode.ToUpper(r))
		}
	}
	return b.String()
}

func (k Key) secret() Key {
	k.Secret = true
	return k
}

func (k Key) atLeastOne() Key {
	set := k.set
	k.Allowed = "at least one " + k.Allowed
	k.set = func(c *Config, value string) error {
		if err := set(c, value); err != nil {
			return err
		}
		if len(k.get(c).([]string)) == 0 {
			return errRange
		}
		return nil
	}
	return k
}

// errRange is a value of the right type outside the allowed range; the range is printed from Key.Allowed.
var errRange = fmt.Errorf("is outside the allowed range")

// A check of a text value: what is allowed, and whether a value is.
type check struct {
	allowed string
	ok      func(string) bool
}

func text(name, def, doc string, at func(*Config) *string, ch check) Key {
	return Key{
		Name: name, Type: "text", Default: def, Allowed: ch.allowed, Doc: doc,
		get: func(c *Config) any { return *at(c) },
		set: func(c *Config, value string) error {
			if !ch.ok(value) {
				return errRange
			}
			*at(c) = value
			return nil
		},
	}
}

func list(name, def, doc string, at func(*Config) *[]string, ch check) Key {
	return Key{
		Name: name, Type: "list", Default: def, Allowed: ch.allowed, Doc: doc,
		get: func(c *Config) any { return *at(c) },
		set: func(c *Config, value string) error {
			items := []string{}
			if strings.TrimSpace(value) != "" {
				for item := range strings.SplitSeq(value, ",") {
					item = strings.TrimSpace(item)
					if !ch.ok(item) {
						return errRange
					}
					items = append(items, item)
				}
			}
			*at(c) = items
			return nil
		},
	}
}

func boolean(name, def, doc string, at func(*Config) *bool) Key {
	return Key{
		Name: name, Type: "bool", Default: def, Allowed: "true or false", Doc: doc,
		get: func(c *Config) any { return *at(c) },
		set: func(c *Config, value string) error {
			v, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("is not a truth value")
			}
			*at(c) = v
			return nil
		},
	}
}

func integer(name, def, doc string, at func(*Config) *int, least, most int) Key {
	return Key{
		Name: name, Type: "int", Default: def, Allowed: fmt.Sprintf("%d to %d", least, most), Doc: doc,
		get: func(c *Config) any { return *at(c) },
		set: func(c *Config, value string) error {
			v, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("is not a whole number")
			}
			if v < least || v > most {
				return errRange
			}
			*at(c) = v
			return nil
		},
	}
}

func number(name, def, doc string, at func(*Config) *float64, least, most float64, allowed string) Key {
	return Key{
		Name: name, Type: "number", Default: def, Allowed: allowed, Doc: doc,
		get: func(c *Config) any { return *at(c) },
		set: func(c *Config, value string) error {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil || math.IsNaN(v) {
				return fmt.Errorf("is not a number")
			}
			if v < least || v > most {
				return errRange
			}
			*at(c) = v
			return nil
		},
	}
}

func duration(name, def, doc string, at func(*Config) *time.Duration, least, most time.Duration) Key {
	return Key{
		Name: name, Type: "duration", Default: def, Doc: doc,
		Allowed: formatDuration(least) + " to " + formatDuration(most) + ", whole milliseconds",
		get:     func(c *Config) any { return *at(c) },
		set: func(c *Config, value string) error {
			v, err := time.ParseDuration(value)
			if err != nil {
				return fmt.Errorf("is not a duration like 30s, 5m or 1h30m")
			}
			if v < least || v > most || v%time.Millisecond != 0 { // event times are milliseconds
				return errRange
			}
			*at(c) = v
			return nil
		},
	}
}

func anything(allowed string) check {
	return check{allowed, func(string) bool { return true }}
}

func notEmpty(allowed string) check {
	return check{allowed, func(s string) bool { return strings.TrimSpace(s) != "" }}
}

func oneOf(values ...string) check {
	names := slices.Clone(values)
	if i := slices.Index(names, ""); i >= 0 {
		names[i] = "empty"
	}
	return check{strings.Join(names, ", "), func(s string) bool { return slices.Contains(values, s) }}
}

func matches(allowed, pattern string) check {
	return check{allowed, regexp.MustCompile(pattern).MatchString}
}

var (
	hostPort      = check{"host:port", isHostPort}
	listenAddress = check{"host:port or :port; port 0 takes a free one", isListenAddress}
	instanceName  = matches("a name and an ordinal, like gantry-0", `^[a-zA-Z0-9._-]{1,200}-[0-9]{1,9}$`)
	archiveURL    = check{"hdfs://namenode:port/folder, file:///folder, or empty", isArchiveURL}
	topicName     = check{"1 to 249 of the characters a-z A-Z 0-9 . _ -", isTopicName}
	kafkaVersion  = check{"2.3.0 to " + sarama.MaxVersion.String(), isKafkaVersion}

	topicPattern = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
)

func isTopicName(s string) bool { return topicPattern.MatchString(s) && s != "." && s != ".." }

// isKafkaVersion asks for 2.3 at least: static group membership does not exist before.
func isKafkaVersion(s string) bool {
	v, err := sarama.ParseKafkaVersion(s)
	return err == nil && v.IsAtLeast(sarama.V2_3_0_0) && sarama.MaxVersion.IsAtLeast(v)
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && host != "" && isPort(port, 1)
}

func isListenAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	return err == nil && isPort(port, 0)
}

func isPort(s string, least uint64) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n >= least
}

func urlOf(schemes ...string) check {
	return check{"a URL with " + strings.Join(schemes, " or "), func(s string) bool {
		u, err := url.Parse(s)
		return err == nil && slices.Contains(schemes, u.Scheme) && u.Host != ""
	}}
}

func isArchiveURL(s string) bool {
	if s == "" {
		return true
	}
	u, err := url.Parse(s)
	if err != nil || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	switch u.Scheme {
	case "hdfs":
		return isHostPort(u.Host)
	case "file":
		return u.Host == ""
	default:
		return false
	}
}

// formatDuration writes 5m where time.Duration writes 5m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
