package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const masked = "********"

// userinfo matches the user and password of a URL, also of one that does not parse.
var userinfo = regexp.MustCompile(`//[^/@\s]*@`)

// mask hides what must not be printed: a secret's text, and user and password inside a URL.
func mask(k *Key, text string) string {
	if k.Secret && text != "" {
		return masked
	}
	return userinfo.ReplaceAllString(text, "//"+masked+"@")
}

// Describe writes the effective configuration, a line for each key with its origin. But for masked secrets it is
// itself a file that Load reads to the same values.
func (l *Loaded) Describe() string {
	var b strings.Builder
	for i := range keys {
		k := &keys[i]
		fmt.Fprintf(&b, "%-50s # %s\n", k.Name+": "+yamlText(l.value(k)), l.Origin(k.Name))
	}
	return b.String()
}

// DescribeJSON writes the effective configuration as {"KEY": {"value": …, "origin": …}}. Durations are texts like 30s.
func (l *Loaded) DescribeJSON() ([]byte, error) {
	type entry struct {
		Value  any    `json:"value"`
		Origin string `json:"origin"`
	}
	out := make(map[string]entry, len(keys))
	for i := range keys {
		k := &keys[i]
		out[k.Name] = entry{Value: l.value(k), Origin: l.Origin(k.Name)}
	}
	return json.MarshalIndent(out, "", "  ")
}

// value is the value of a key as it may be printed.
func (l *Loaded) value(k *Key) any {
	switch v := k.get(&l.Config).(type) {
	case string:
		return mask(k, v)
	case []string:
		out := make([]string, len(v))
		for i := range v {
			out[i] = mask(k, v[i])
		}
		return out
	case time.Duration:
		return formatDuration(v)
	default:
		return v
	}
}

func yamlText(v any) string {
	switch v := v.(type) {
	case string:
		return quoteYAML(v)
	case []string:
		items := make([]string, len(v))
		for i := range v {
			items[i] = quoteYAML(v[i])
		}
		return "[" + strings.Join(items, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

var plainYAML = regexp.MustCompile(`^[A-Za-z0-9/.][A-Za-z0-9/._:-]*[A-Za-z0-9/._-]$`)

// quoteYAML leaves the common values plain and quotes the rest; a double-quoted YAML text has Go's escapes.
func quoteYAML(s string) string {
	if plainYAML.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}
