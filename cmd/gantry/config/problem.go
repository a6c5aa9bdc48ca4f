package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Key     string // the key, environment variable or flag that it is about
	Value   string // as it was given; masked where it is a secret
	Origin  string // where the value comes from
	Allowed string // the allowed range, where there is one
	Message string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Key)
	if p.Value != "" {
		fmt.Fprintf(&b, " = %q", p.Value)
	}
	if p.Origin != "" {
		fmt.Fprintf(&b, " (%s)", p.Origin)
	}
	b.WriteString(": ")
	parts := make([]string, 0, 2)
	if p.Message != "" {
		parts = append(parts, p.Message)
	}
	if p.Allowed != "" {
		parts = append(parts, "allowed: "+p.Allowed)
	}
	b.WriteString(strings.Join(parts, "; "))
	return b.String()
}

// Problems is every problem of a configuration, as an error with a line for each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, 0, len(p)+1)
	if len(p) > 1 {
		lines = append(lines, fmt.Sprintf("%d problems in the configuration:", len(p)))
	}
	for _, one := range p {
		lines = append(lines, one.String())
	}
	return strings.Join(lines, "\n  ")
}

// err is p as an error, nil where there is no problem.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func asProblems(err error) Problems {
	var p Problems
	errors.As(err, &p)
	return p
}

// Nearest returns the candidate that text was probably meant to be: the one with the fewest edits, if they are few.
func Nearest(text string, candidates []string) (nearest string, ok bool) {
	best := max(2, len(text)/3) + 1
	for _, c := range candidates {
		if d := distance(strings.ToLower(text), strings.ToLower(c)); d < best {
			best, nearest, ok = d, c, true
		}
	}
	return nearest, ok
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func unknown(key, origin string, candidates []string) Problem {
	p := Problem{Key: key, Origin: origin, Message: "no such key"}
	if near, ok := Nearest(key, candidates); ok {
		p.Message += fmt.Sprintf("; did you mean %s?", near)
	}
	return p
}

func keyNames() []string {
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = keys[i].Name
	}
	return names
}

func envNames() []string {
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = keys[i].Env()
	}
	return names
}

func keyByName(name string) *Key {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &keys[i]
}
