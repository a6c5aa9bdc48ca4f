package real

import (
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gantry/store"
)

// What happens to a state folder whose process is dead: disks are replaced, backups put back, files torn.

// copyState copies a state folder over whatever is at to.
func copyState(t *testing.T, from, to string) {
	t.Helper()
	wipeState(t, to)
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func wipeState(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// tearState spoils the tails of a few files of the databases: cut off, or overwritten.
func tearState(t *testing.T, dir string, random *rand.Rand) {
	t.Helper()
	files := stateFiles(t, dir, func(name string) bool { return filepath.Ext(name) != ".json" && name != "LOCK" })
	if len(files) == 0 {
		return
	}
	for range 1 + random.IntN(3) {
		name := files[random.IntN(len(files))]
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) == 0 {
			continue
		}
		tail := 1 + random.IntN(min(len(data), 4096))
		if random.IntN(2) == 0 {
			data = data[:len(data)-tail]
		} else {
			for i := len(data) - tail; i < len(data)-tail/2; i++ {
				data[i] = byte(random.Uint32())
			}
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// foreignState makes a state folder that of another cluster. It tells whether there is any.
func foreignState(t *testing.T, dir string) bool {
	t.Helper()
	files := stateFiles(t, dir, func(name string) bool { return name == "binding.json" })
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var b store.Binding
		if err := json.Unmarshal(data, &b); err != nil {
			t.Fatal(err)
		}
		b.ClusterID = "another-cluster"
		if data, err = json.Marshal(b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return len(files) > 0
}

// stateFiles are the files of a state folder, in a fixed order; none where there is no folder.
func stateFiles(t *testing.T, dir string, wanted func(name string) bool) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && wanted(d.Name()) {
			files = append(files, path)
		}
		if os.IsNotExist(err) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}
