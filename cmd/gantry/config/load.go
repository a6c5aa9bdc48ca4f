package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
)

const (
	envPrefix = "GANTRY_"
	// DefaultFile is read where no file is named, if it is there.
	DefaultFile = "gantry.yaml"

	OriginDefault = "default"
	originFlag    = "flag"
)

// Sources says where a configuration is loaded from.
type Sources struct {
	File    string         // path of the YAML file; empty: DefaultFile if there is one
	Environ []string       // as os.Environ gives it
	Flags   *pflag.FlagSet // with the flags of AddFlags, parsed; nil for none
}

// Loaded is a configuration that passed every check, and where each value comes from.
type Loaded struct {
	Config
	origins map[string]string
}

// Origin says where the value of a key comes from: "default", "file PATH:LINE", "env NAME" or "flag".
func (l *Loaded) Origin(key string) string {
	if o, ok := l.origins[key]; ok {
		return o
	}
	return OriginDefault
}

// given is a value that somebody gave, in text form.
type given struct{ text, origin string }

// Load reads the configuration. Its error is a Problems with everything that is wrong in any source, or an error of
// reading the file.
func Load(src Sources) (*Loaded, error) {
	values := make(map[string]given)
	var problems Problems
	path, data, err := readFile(src.File)
	if err != nil {
		return nil, err
	}
	problems = append(problems, readYAML(path, data, values)...)
	problems = append(problems, readEnv(src.Environ, values)...)
	readFlags(src.Flags, values)

	l := &Loaded{Config: Default(), origins: make(map[string]string, len(values))}
	for i := range keys {
		k := &keys[i]
		v, ok := values[k.Name]
		if !ok {
			continue
		}
		l.origins[k.Name] = v.origin
		if err := k.set(&l.Config, v.text); err != nil {
			problems = append(problems, Problem{
				Key: k.Name, Value: mask(k, v.text), Origin: v.origin, Allowed: k.Allowed, Message: err.Error(),
			})
		}
	}
	return l, append(problems, l.crossProblems(problems)...).err()
}

// crossProblems are those of Check, with origins, except where the key itself was already refused: its value is then
// not the one that the user gave.
func (l *Loaded) crossProblems(known Problems) (out Problems) {
	for _, p := range asProblems(l.Check()) {
		refused := false
		for _, k := range known {
			refused = refused || k.Key == p.Key
		}
		if !refused {
			p.Origin = l.Origin(p.Key)
			out = append(out, p)
		}
	}
	return out
}

func readFile(path string) (string, []byte, error) {
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", nil, fmt.Errorf("read the configuration: %w", err)
		}
		return path, data, nil
	}
	data, err := os.ReadFile(DefaultFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("read the configuration: %w", err)
	}
	return DefaultFile, data, nil
}

// kubernetesEnv matches the variables that Kubernetes puts into each container for a service named gantry or gantry-*
// (GANTRY_SERVICE_HOST, GANTRY_PORT_8080_TCP_ADDR …). They are nobody's mistake.
var kubernetesEnv = regexp.MustCompile(
	`^GANTRY(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$`)

func readEnv(environ []string, values map[string]given) (problems Problems) {
	names := make(map[string]string, len(keys))
	for i := range keys {
		names[keys[i].Env()] = keys[i].Name
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || kubernetesEnv.MatchString(name) {
			continue
		}
		key, ok := names[name]
		if !ok {
			problems = append(problems, unknown(name, "environment", envNames()))
			continue
		}
		values[key] = given{text: value, origin: "env " + name}
	}
	return problems
}

// AddFlags adds a flag for every key. Values are not judged here but in Load, so that all problems are reported
// together.
func AddFlags(flags *pflag.FlagSet) {
	for i := range keys {
		k := &keys[i]
		f := flags.VarPF(&flagValue{kind: k.Type}, k.Name, "", flagUsage(k))
		if k.Type == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}

func flagUsage(k *Key) string {
	if k.Default == "" {
		return k.Doc
	}
	return fmt.Sprintf("%s (default %s)", k.Doc, k.Default)
}

func readFlags(flags *pflag.FlagSet, values map[string]given) {
	if flags == nil {
		return
	}
	flags.Visit(func(f *pflag.Flag) {
		if v, ok := f.Value.(*flagValue); ok {
			values[f.Name] = given{text: v.text, origin: originFlag}
		}
	})
}

// flagValue keeps a flag's text until Load judges it.
type flagValue struct{ text, kind string }

var _ pflag.Value = (*flagValue)(nil)

func (v *flagValue) String() string { return v.text }
func (v *flagValue) Type() string   { return v.kind }
func (v *flagValue) Set(s string) error {
	v.text = s
	return nil
}
