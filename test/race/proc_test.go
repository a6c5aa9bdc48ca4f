package race

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// usage is what a process has taken since its start.
type usage struct {
	cpu  float64 // seconds, user and system
	peak float64 // resident memory at most, MiB
}

// ticksPerSecond is the unit of /proc, fixed on Linux whatever the kernel's own tick.
const ticksPerSecond = 100

// usageOf reads /proc. A process that has ended is a failure: its figures are gone.
func usageOf(t *testing.T, pid int) (u usage) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	// The command's name stands in parentheses and may hold spaces; utime and stime are the 12th and 13th field behind.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	u.cpu = (number(t, fields[11]) + number(t, fields[12])) / ticksPerSecond
	if _, after, ok := strings.Cut(string(status), "VmHWM:"); ok {
		u.peak = number(t, strings.Fields(after)[0]) / 1024
	}
	return u
}

// machine is the CPU seconds of the whole machine since it was started.
type machine struct {
	busy  float64 // of all processes
	steal float64 // taken by the hypervisor for other guests
}

func machineUsage(t *testing.T) machine {
	t.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat)) // cpu user nice system idle iowait irq softirq steal
	var m machine
	for _, i := range []int{1, 2, 3, 6, 7} {
		m.busy += number(t, f[i]) / ticksPerSecond
	}
	m.steal = number(t, f[8]) / ticksPerSecond
	return m
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
