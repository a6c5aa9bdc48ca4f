package main

import (
	"os"
	"strings"
	"testing"
)

// An archive is looked at only where one was named: any other would look clean.
func TestCommandsNeedAnArchive(t *testing.T) {
	empty := t.TempDir()
	for _, tt := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"verify", "--archive"}, 2, "archive.url"},
		{[]string{"verify", "--archive", "--data", empty}, 1, "no such file"},
		{[]string{"verify", "--archive", "--archive.url", "file:///does/not/exist"}, 1, "no such file"},
		{[]string{"archive", "compact"}, 2, "archive.url"},
		{[]string{"archive", "compact", "--hour", "nine"}, 2, "--hour"},
		{[]string{"archive", "compact", "--before", "noon"}, 2, "--before"},
		{[]string{"archive", "status", "--archive.url", "file:///does/not/exist"}, 1, "no such file"},
	} {
		code, _, stderr := gantry(t, t.Context(), nil, tt.args...)
		if code != tt.code || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%q: %d, want %d with %q: %s", tt.args, code, tt.code, tt.stderr, stderr)
		}
	}
}

// A folder that no gantry dev has kept proves nothing, and is left as it is.
func TestVerifyNeedsADataFolder(t *testing.T) {
	dir := t.TempDir()
	code, _, errs := gantry(t, t.Context(), nil, "verify", "--data", dir)
	left, err := os.ReadDir(dir)
	if code != 1 || !strings.Contains(errs, "data folder") || err != nil || len(left) != 0 {
		t.Errorf("%d: %s, left %v %v", code, errs, left, err)
	}
}
