package main

import (
	"strings"
	"testing"
)

// An archive is proved only where one was named and something was archived: any other would look clean.
func TestVerifyNeedsAnArchive(t *testing.T) {
	empty := t.TempDir()
	for _, tt := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"verify", "--archive"}, 2, "archive.url"},
		{[]string{"verify", "--archive", "--data", empty}, 1, "no such file"},
		{[]string{"verify", "--archive", "--archive.url", "file:///does/not/exist"}, 1, "no such file"},
		{[]string{"verify", "--archive", "--archive.url", "file://" + empty}, 1, "nothing was ever archived"},
	} {
		code, _, stderr := gantry(t, t.Context(), nil, tt.args...)
		if code != tt.code || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%q: %d, want %d with %q: %s", tt.args, code, tt.code, tt.stderr, stderr)
		}
	}
}
