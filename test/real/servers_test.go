package real

import (
	"os/exec"
	"strings"
	"testing"
)

// servers runs test/servers/servers.sh and returns what it prints.
func servers(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("../servers/servers.sh", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("servers.sh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ownServers skips the test where the servers cannot be stopped and started by it, and starts them again at its end,
// whatever it has done to them.
func ownServers(t *testing.T, names ...string) {
	t.Helper()
	setting(t, "GANTRY_ARCHIVE_URL")
	if status := servers(t, append([]string{"status"}, names...)...); strings.Contains(status, "not running") {
		t.Skipf("these servers are not those of test/servers/servers.sh:\n%s", status)
	}
	t.Cleanup(func() {
		servers(t, append([]string{"resume"}, names...)...)
		servers(t, append([]string{"start"}, names...)...)
	})
}
