// Package test runs the whole of Gantry from outside: files go in, and what the topics, the archive, HTTP and the
// commands say in the end is compared with the files. Brokers, registry and archive are embedded, each test has its own
// and takes whatever ports are free.
package test

import (
	"flag"
	"testing"

	"gantry/test/harness"
)

func TestMain(m *testing.M) {
	// These tests wait much more than they work: more of them at once than there are processors.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	flag.Parse() // -parallel on the command line goes before it
	harness.Main(m)
}
