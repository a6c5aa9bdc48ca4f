package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrForeignState: the state folder was written against another cluster or another incarnation of a topic.
var ErrForeignState = errors.New("the state belongs to other topics")

// Binding names what a group's state was made from. A topic that is deleted and created again starts at offset 0 with a
// new id, and state that has applied more than that would silently drop its records.
type Binding struct {
	ClusterID string            `json:"cluster_id"`
	TopicIDs  map[string]string `json:"topic_ids"` // the group's inputs and its table
}

const bindingFile = "binding.json"

// StartAnew says what is to be done about a topic that was deleted and created again.
const StartAnew = "its offsets start anew, so everything made from it must too: stop every process, delete the consumer " +
	"groups, the tables, the other topics and state.dir, set another archive.url, and run gantry topics create"

// Bind ties the state folder of a group to b when the folder is new, and otherwise refuses one that is tied to
// something else, with an ErrForeignState that says what to do.
func Bind(dir string, b Binding) error {
	name := filepath.Join(dir, bindingFile)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := unbound(dir); err != nil {
			return err
		}
		return writeBinding(dir, name, b)
	}
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	var have Binding
	if err := json.Unmarshal(data, &have); err != nil {
		return fmt.Errorf("%s is damaged (%w); delete %s, the state is recovered from the changelog", name, err, dir)
	}
	if have.ClusterID != b.ClusterID {
		return fmt.Errorf("%w: %s was written for the Kafka cluster %q, this one is %q; point state.dir elsewhere, or "+
			"delete the folder if the old cluster is gone", ErrForeignState, dir, have.ClusterID, b.ClusterID)
	}
	if was, is := topicNames(have), topicNames(b); !slices.Equal(was, is) {
		return fmt.Errorf("%w: %s was made from %s, now the group has %s (did raw.keyed or a topic's name change?). The "+
			"offsets of one input say nothing about another: change it back, or start anew with the folder, the table's "+
			"topic and the group's offsets deleted", ErrForeignState, dir, strings.Join(was, ", "), strings.Join(is, ", "))
	}
	for _, topic := range topicNames(b) {
		if was, is := have.TopicIDs[topic], b.TopicIDs[topic]; was != is {
			return fmt.Errorf("%w: since %s was written, topic %s was deleted and created again (id %s, was %s): %s",
				ErrForeignState, dir, topic, is, was, StartAnew)
		}
	}
	return nil
}

func topicNames(b Binding) []string { return slices.Sorted(maps.Keys(b.TopicIDs)) }

// unbound refuses a folder that holds something of which nobody knows where it is from.
func unbound(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() != bindingFile+".new" {
			return fmt.Errorf("%w: %s holds %s but no %s that says which topics it was made from; delete the folder, the "+
				"state is recovered from the changelog", ErrForeignState, dir, e.Name(), bindingFile)
		}
	}
	return nil
}

func writeBinding(dir, name string, b Binding) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	// Synced before it is renamed: a power cut would else leave an empty file, and state that is refused.
	if err := writeSynced(name+".new", data); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	return nil
}

func writeSynced(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
