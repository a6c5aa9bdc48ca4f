package test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers are the folders of the module, from the one that imports none of the others on.
var layers = []string{"codecs", "store", "processors", "views", "cmd", "test"}

// Imports point one way: a package imports packages of its own layer and of those before it. So nothing imports the
// tests, and a domain type never learns of a server.
func TestImports(t *testing.T) {
	root := filepath.Join("..")
	files := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		layer := slices.Index(layers, strings.Split(filepath.ToSlash(rel), "/")[0])
		if e.IsDir() && (rel != "." && layer < 0 || e.Name() == "testdata") {
			return filepath.SkipDir
		}
		if e.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			inside, ours := strings.CutPrefix(name, "gantry/")
			if !ours {
				continue
			}
			imported := slices.Index(layers, strings.Split(inside, "/")[0])
			if imported < 0 || imported > layer {
				t.Errorf("%s imports %s: allowed are %v", rel, name, layers[:layer+1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}
