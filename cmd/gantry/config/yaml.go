package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML collects the values of a file. Sections may be nested (window: {length: 5m}) or dotted (window.length: 5m).
// The tree is walked node by node, and not decoded into maps, because nodes know their lines and repeated keys.
func readYAML(path string, data []byte, values map[string]given) Problems {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return Problems{{Key: path, Message: strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	r := yamlReader{path: path, values: values}
	r.section("", doc.Content[0])
	if err := dec.Decode(&doc); !errors.Is(err, io.EOF) {
		r.problem(path, &doc, "", "the file must hold one YAML document")
	}
	return r.problems
}

type yamlReader struct {
	path     string
	values   map[string]given
	problems Problems
}

func (r *yamlReader) origin(n *yaml.Node) string { return fmt.Sprintf("file %s:%d", r.path, n.Line) }

func (r *yamlReader) problem(key string, n *yaml.Node, allowed, message string) {
	r.problems = append(r.problems, Problem{Key: key, Origin: r.origin(n), Allowed: allowed, Message: message})
}

func (r *yamlReader) section(prefix string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" { // a section, or a file, in which everything is commented out
		return
	}
	if n.Kind != yaml.MappingNode {
		r.problem(strings.TrimSuffix(prefix, "."), n, "", "must be a section with keys")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		r.entry(prefix+n.Content[i].Value, n.Content[i], n.Content[i+1])
	}
}

func (r *yamlReader) entry(name string, key, value *yaml.Node) {
	if k := keyByName(name); k != nil {
		r.value(k, key, value)
		return
	}
	if isSection(name) {
		r.section(name+".", value)
		return
	}
	r.problems = append(r.problems, unknown(name, r.origin(key), keyNames()))
}

func isSection(name string) bool {
	for i := range keys {
		if strings.HasPrefix(keys[i].Name, name+".") {
			return true
		}
	}
	return false
}

func (r *yamlReader) value(k *Key, key, value *yaml.Node) {
	text, message := scalarText(k, value)
	if message != "" {
		r.problem(k.Name, value, k.Allowed, message)
		return
	}
	if first, ok := r.values[k.Name]; ok {
		r.problem(k.Name, key, "", "is set twice, first in "+first.origin)
		return
	}
	r.values[k.Name] = given{text: text, origin: r.origin(key)}
}

// scalarText is the text form of a value, or a message that says why it has none.
func scalarText(k *Key, n *yaml.Node) (text, message string) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return "", "has no value; leave the key out for its default"
	case n.Kind == yaml.ScalarNode:
		return n.Value, ""
	case n.Kind == yaml.SequenceNode && k.Type == "list":
		items := make([]string, len(n.Content))
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode || strings.Contains(item.Value, ",") {
				return "", "must be a list of texts without commas"
			}
			items[i] = item.Value
		}
		return strings.Join(items, ","), ""
	default:
		return "", "must be a single value"
	}
}
