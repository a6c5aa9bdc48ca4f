package archive_test

import (
	"strings"
	"testing"

	"gantry/store/archive"
	"gantry/store/archive/fstest"
)

func TestMemoryContract(t *testing.T) {
	fstest.Contract(t, func(*testing.T) archive.FS { return archive.NewMemory() })
}

func TestLocalContract(t *testing.T) {
	fstest.Contract(t, func(t *testing.T) archive.FS {
		fsys, err := archive.Open("file://" + t.TempDir() + "/archive")
		if err != nil {
			t.Fatal(err)
		}
		return fsys
	})
}

// An archive URL that cannot be meant is refused before anything is dialled, with what was expected.
func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"":                      "expected file:///folder",
		"/traffic-data":         "expected file:///folder",
		"file://host/folder":    "has no host",
		"s3://bucket/folder":    "neither file nor hdfs",
		"hdfs:///folder":        "a namenode is missing",
		"hdfs://a:8020,/folder": "a namenode is missing",
	} {
		_, err := archive.Open(url)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q) = %v, want an error with %q", url, err, want)
		}
	}
}

// HDFS may be away when an archive is opened; its calls say then whom they tried to reach.
func TestOpenHDFSThatIsAway(t *testing.T) {
	fsys, err := archive.Open("hdfs://127.0.0.1:1/dir")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := fsys.MkdirAll("a"); err == nil || !strings.Contains(err.Error(), "connect to HDFS at 127.0.0.1:1") {
			t.Errorf("MkdirAll: %v", err)
		}
	}
	if err := fsys.Close(); err != nil {
		t.Error(err)
	}
}
