package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBind: a state folder is used with the cluster and the topics that it was made from and with nothing else, and who
// is refused reads what to do.
func TestBind(t *testing.T) {
	here := Binding{ClusterID: "c1", TopicIDs: map[string]string{"in": "id-in", "table": "id-table"}}
	for _, tc := range []struct {
		name    string
		then    Binding
		refused bool
		says    []string
	}{
		{"same", here, false, nil},
		{
			"other cluster",
			Binding{"c2", here.TopicIDs},
			true,
			[]string{`"c1"`, `"c2"`, "state.dir", "delete the folder"},
		},
		{
			"input created again",
			Binding{"c1", map[string]string{"in": "id-new", "table": "id-table"}},
			true,
			[]string{"topic in ", "id-in", "id-new", "state.dir"},
		},
		{
			"table created again",
			Binding{"c1", map[string]string{"in": "id-in", "table": "id-new"}},
			true,
			[]string{"topic table ", "gantry topics create"},
		},
		{ // what has applied offsets of one input would drop records of another as repeats
			"one input more",
			Binding{"c1", map[string]string{"in": "id-in", "loop": "id-l", "table": "id-table"}},
			true,
			[]string{"made from in, table", "now the group has in, loop, table", "raw.keyed"},
		},
		{
			"one input fewer",
			Binding{"c1", map[string]string{"table": "id-table"}},
			true,
			[]string{"made from in, table", "now the group has table"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "group")
			must(t, Bind(dir, here))
			checkRefusal(t, Bind(dir, tc.then), dir, tc.refused, tc.says)
			must(t, Bind(dir, here)) // a refusal changes nothing
		})
	}
}

func checkRefusal(t *testing.T, err error, dir string, refused bool, says []string) {
	t.Helper()
	if errors.Is(err, ErrForeignState) != refused || (err != nil) != refused {
		t.Fatalf("refused = %t wanted, got %v", refused, err)
	}
	if refused {
		says = append(says, dir)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q is not in %q", s, err)
		}
	}
}

// TestBindDamaged: a binding that cannot be read is not overwritten, since what it protected is unknown.
func TestBindDamaged(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, bindingFile), []byte(`{"cluster_id":`), 0o644))
	err := Bind(dir, Binding{ClusterID: "c1"})
	if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "delete "+dir) {
		t.Fatalf("got %v", err)
	}
}

// TestBindUnknownState: state without a binding is of unknown origin; what a death during the first Bind leaves is not
// state.
func TestBindUnknownState(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, bindingFile+".new"), nil, 0o644))
	must(t, Bind(dir, Binding{ClusterID: "c1"}))

	dir = t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "3"), 0o755))
	checkRefusal(t, Bind(dir, Binding{ClusterID: "c1"}), dir, true, []string{"holds 3", "delete the folder"})
}
