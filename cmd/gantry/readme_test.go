package main

import (
	"os"
	"strings"
	"testing"

	"gantry/cmd/gantry/config"
)

// The README names every key with its default, and every command: whoever adds one documents it.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(b)
	for _, k := range config.Keys() {
		value := ""
		if k.Default != "" {
			value = "`" + k.Default + "`"
		}
		if row := "\n| `" + k.Name + "` | " + value + " | "; !strings.Contains(readme, row) {
			t.Errorf("no row %q", row[1:])
		}
	}
	for _, cmd := range (&cli{}).newRoot().Commands() {
		if !strings.Contains(readme, "`"+cmd.CommandPath()) {
			t.Errorf("no %s", cmd.CommandPath())
		}
	}
}
