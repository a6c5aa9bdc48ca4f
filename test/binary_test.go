package test

import (
	"testing"

	"gantry/test/harness"
)

// run runs a command line in an empty folder and returns its exit code.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return harness.Run(t, t.TempDir(), nil, args...)
}
