package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/hamba/avro/v2"
)

const (
	storeFile    = "schemas.json"
	levelDefault = "BACKWARD"
)

// store is what the embedded registry knows: a JSON file, replaced as a whole before a change is acknowledged. A
// registry holds a handful of schemas.
type store struct {
	path string
	mu   sync.Mutex
	file storeJSON
}

// storeJSON is the content of the file. A schema's id is its place in Schemas, counted from 1.
type storeJSON struct {
	Schemas  []string           `json:"schemas"`
	Subjects map[string][]int32 `json:"subjects"` // ids by version, from 1
	Levels   map[string]string  `json:"levels"`   // compatibility by subject; "" is all others
}

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &store{path: filepath.Join(dir, storeFile)}
	b, err := os.ReadFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(b, &s.file); err != nil {
			return nil, fmt.Errorf("read %s: %w", s.path, err)
		}
	}
	for subject, ids := range s.file.Subjects {
		for _, id := range ids {
			if id < 1 || int(id) > len(s.file.Schemas) {
				return nil, fmt.Errorf("read %s: subject %s has an unknown schema %d", s.path, subject, id)
			}
		}
	}
	return s, nil
}

// change writes the file with what edit does to a copy, and keeps the copy once it is on disk.
func (s *store) change(edit func(*storeJSON)) error {
	next := storeJSON{
		Schemas:  slices.Clone(s.file.Schemas),
		Subjects: maps.Clone(s.file.Subjects),
		Levels:   maps.Clone(s.file.Levels),
	}
	if next.Subjects == nil {
		next.Subjects = make(map[string][]int32)
	}
	if next.Levels == nil {
		next.Levels = make(map[string]string)
	}
	edit(&next)
	b, err := json.MarshalIndent(next, "", " ")
	if err != nil {
		return err
	}
	if err := replaceFile(s.path, b); err != nil {
		return err
	}
	s.file = next
	return nil
}

// replaceFile writes a file so that a crash leaves either the old or the new content.
func replaceFile(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// schema returns the text of a schema.
func (s *store) schema(id string) (text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.schemaID(id)
	if err != nil {
		return "", err
	}
	return s.file.Schemas[n-1], nil
}

// schemaID checks an id. The caller holds the lock.
func (s *store) schemaID(text string) (id int32, err error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 || n > int64(len(s.file.Schemas)) {
		return 0, refuse(codeSchemaNotFound, "Schema %s not found", text)
	}
	return int32(n), nil
}

// uses lists the subjects and versions that have a schema.
func (s *store) uses(id string) ([]schemaJSON, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.schemaID(id)
	if err != nil {
		return nil, err
	}
	uses := []schemaJSON{}
	for _, subject := range slices.Sorted(maps.Keys(s.file.Subjects)) {
		if i := slices.Index(s.file.Subjects[subject], n); i >= 0 {
			uses = append(uses, schemaJSON{Subject: subject, Version: i + 1})
		}
	}
	return uses, nil
}

func (s *store) subjects() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(s.file.Subjects))))
}

func (s *store) versions(subject string) ([]int32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids(subject)
}

// ids returns the subject's schemas by version. The caller holds the lock.
func (s *store) ids(subject string) ([]int32, error) {
	ids, ok := s.file.Subjects[subject]
	if !ok {
		return nil, refuse(codeSubjectNotFound, "Subject '%s' not found.", subject)
	}
	return ids, nil
}

// version returns a version of a subject: a number from 1, "latest", or -1, which means the same.
func (s *store) version(subject, version string) (schemaJSON, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, err := s.ids(subject)
	if err != nil {
		return schemaJSON{}, err
	}
	n, err := strconv.Atoi(version)
	switch {
	case version == "latest" || n == -1:
		n = len(ids)
	case err != nil || n < 1:
		return schemaJSON{}, refuse(codeInvalidVersion, "The specified version '%s' is not a valid version id.", version)
	case n > len(ids):
		return schemaJSON{}, refuse(codeVersionNotFound, "Version %d not found.", n)
	}
	return s.describe(subject, n, ids[n-1]), nil
}

func (s *store) describe(subject string, version int, id int32) schemaJSON {
	return schemaJSON{Subject: subject, Version: version, ID: id, Schema: s.file.Schemas[id-1]}
}

// lookup finds the version of a subject that equals the schema.
func (s *store) lookup(subject, text string) (schemaJSON, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, err := s.ids(subject)
	if err != nil {
		return schemaJSON{}, err
	}
	if _, err := parse(text); err != nil {
		return schemaJSON{}, err
	}
	for i, id := range ids {
		if equalJSON(s.file.Schemas[id-1], text) {
			return s.describe(subject, i+1, id), nil
		}
	}
	return schemaJSON{}, refuse(codeSchemaNotFound, "Schema not found")
}

// register adds a version, unless the subject has an equal one. Equal schemas have one id in all subjects.
func (s *store) register(subject, text string) (id int32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	added, err := parse(text)
	if err != nil {
		return 0, err
	}
	ids := s.file.Subjects[subject]
	id = int32(slices.IndexFunc(s.file.Schemas, func(t string) bool { return equalJSON(t, text) }) + 1)
	if id > 0 && slices.Contains(ids, id) {
		return id, nil
	}
	if err := s.checkCompatible(subject, ids, added); err != nil {
		return 0, err
	}
	err = s.change(func(f *storeJSON) {
		if id == 0 {
			f.Schemas = append(f.Schemas, text)
			id = int32(len(f.Schemas))
		}
		f.Subjects[subject] = append(slices.Clone(ids), id)
	})
	return id, err
}

// parse reads a schema with a cache of its own, so that schemas do not know each other's names.
func parse(text string) (avro.Schema, error) {
	s, err := avro.ParseWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		return nil, refuse(codeInvalidSchema, "Invalid schema: %v", err)
	}
	return s, nil
}

// A compatibility level asks that a new schema reads what the old one wrote, or the reverse; for the last version or
// for all.
type level struct{ backward, forward, all bool }

var levels = map[string]level{
	"NONE":                {},
	"BACKWARD":            {backward: true},
	"BACKWARD_TRANSITIVE": {backward: true, all: true},
	"FORWARD":             {forward: true},
	"FORWARD_TRANSITIVE":  {forward: true, all: true},
	"FULL":                {backward: true, forward: true},
	"FULL_TRANSITIVE":     {backward: true, forward: true, all: true},
}

func (s *store) level(subject string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.levelOf(subject)
}

// levelOf returns the subject's level, or the one for all others. The caller holds the lock.
func (s *store) levelOf(subject string) string {
	for _, name := range []string{subject, ""} {
		if l, ok := s.file.Levels[name]; ok {
			return l
		}
	}
	return levelDefault
}

func (s *store) setLevel(subject, name string) error {
	if _, ok := levels[name]; !ok {
		return refuse(codeInvalidLevel, "Invalid compatibility level. Valid values are %v", slices.Sorted(maps.Keys(levels)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change(func(f *storeJSON) { f.Levels[subject] = name })
}

func (s *store) checkCompatible(subject string, ids []int32, added avro.Schema) error {
	l := levels[s.levelOf(subject)]
	if !l.all && len(ids) > 1 {
		ids = ids[len(ids)-1:]
	}
	for _, id := range ids {
		old, err := parse(s.file.Schemas[id-1])
		if err != nil {
			return err
		}
		compatibility := avro.NewSchemaCompatibility()
		if l.backward {
			err = compatibility.Compatible(added, old)
		}
		if err == nil && l.forward {
			err = compatibility.Compatible(old, added)
		}
		if err != nil {
			return refuse(codeIncompatible, "Schema being registered is incompatible with schema %d: %v", id, err)
		}
	}
	return nil
}
