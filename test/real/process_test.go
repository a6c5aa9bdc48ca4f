package real

import (
	"path/filepath"
	"testing"

	"gantry/test/harness"
)

// reach is the environment in which a gantry finds the servers.
func reach(t *testing.T) []string {
	t.Helper()
	var env []string
	for _, name := range []string{"GANTRY_KAFKA_BROKERS", "GANTRY_REGISTRY_URL", "GANTRY_ARCHIVE_URL"} {
		env = append(env, name+"="+setting(t, name))
	}
	return env
}

// run runs a command line in an empty folder and returns its exit code.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return harness.Run(t, t.TempDir(), reach(t), args...)
}

// launch starts a gantry run; it keeps its state in a folder of state.
func launch(t *testing.T, instance, state, archiveURL string, args ...string) *harness.Process {
	t.Helper()
	return harness.Launch(t, instance, reach(t), append([]string{
		"run", "--instance", instance, "--state.dir", filepath.Join(state, instance), "--archive.url", archiveURL,
		"--archive.flushInterval", "1s", "--http.listen", "127.0.0.1:0",
	}, args...)...)
}
