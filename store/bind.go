package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// Bind ties the state folder of a group to b when the folder is new, and otherwise refuses one that is tied to
// something else.
func Bind(dir string, b Binding) error {
	name := filepath.Join(dir, bindingFile)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
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
	for topic, id := range b.TopicIDs {
		if old := have.TopicIDs[topic]; old != id {
			return fmt.Errorf("%w: %s was written for another topic %s (id %s, now %s): it was deleted and created again. "+
				"Its offsets start anew, so state, table and groups must too: delete the folder, and create the group's "+
				"topics under new names", ErrForeignState, dir, topic, old, id)
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
	if err := os.WriteFile(name+".new", data, 0o644); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	return os.Rename(name+".new", name)
}
