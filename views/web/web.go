// Package web holds the live page: every known sensor with its current window, as it changes, and how the pipeline
// fares. The page is plain HTML, CSS and ES modules, embedded in the binary; it loads nothing from elsewhere, has no
// inline script or style, and uses the public API alone.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
)

//go:embed static
var static embed.FS

const (
	folder = "static"
	index  = "index.html"
)

// Files names the files that the page loads, each to be served at / followed by its name.
func Files() []string {
	entries, err := static.ReadDir(folder)
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	var names []string
	for _, e := range entries {
		if e.Name() != index {
			names = append(names, e.Name())
		}
	}
	return names
}

// Handler serves the page at / and its files at their names. Browsers keep the files, and ask each time whether they
// still hold, so that a new binary shows its own page at once.
func Handler() http.Handler {
	tags := make(map[string]string)
	for _, name := range append(Files(), index) {
		data, err := static.ReadFile(path.Join(folder, name))
		if err != nil {
			panic(err) // as above
		}
		sum := sha256.Sum256(data)
		tags[name] = `"` + hex.EncodeToString(sum[:8]) + `"`
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		if r.URL.Path == "/" {
			name = index
		}
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tags[name])
		http.ServeFileFS(w, r, static, path.Join(folder, name))
	})
}
