package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// ErrForeign: the archive was made from another topic. No other try mends that.
var ErrForeign = errors.New("the archive belongs to another topic")

// Origin names the topic that an archive is made from. One that is deleted and created again has a new id, and its
// offsets start anew: an archive that goes on behind those of the old one would leave out its records without a word.
type Origin struct {
	ClusterID string `json:"cluster_id"`
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"`
}

const originName = "_origin"

// Bind ties an archive that is new to its origin, for good, and refuses with an ErrForeign that says what to do where
// it is tied to another one. It is to be called before a partition is opened. Of two that bind a new archive at once to
// different origins, one is refused.
func Bind(fsys FS, o Origin) error {
	have, err := readOrigin(fsys)
	if errors.Is(err, fs.ErrNotExist) {
		have, err = createOrigin(fsys, o)
	}
	switch {
	case err != nil:
		return fmt.Errorf("origin of the archive: %w", err)
	case have.ClusterID != o.ClusterID:
		return fmt.Errorf("%w: it was made from the Kafka cluster %q, this one is %q; set another archive.url",
			ErrForeign, have.ClusterID, o.ClusterID)
	case have.Topic != o.Topic:
		return fmt.Errorf("%w: it was made from %s, and this is %s; set another archive.url, or topics.events back",
			ErrForeign, have.Topic, o.Topic)
	case have.TopicID != o.TopicID:
		return fmt.Errorf("%w: %s was deleted and created again (id %s, was %s), and its offsets start anew; stop every "+
			"process, delete the consumer groups, the tables, the other topics and state.dir, set another archive.url, and "+
			"run gantry topics create", ErrForeign, o.Topic, o.TopicID, have.TopicID)
	}
	return nil
}

// createOrigin writes the origin, unless another process has just done so, and returns what stands there then.
func createOrigin(fsys FS, o Origin) (Origin, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return o, err
	}
	if err := fsys.MkdirAll("."); err != nil {
		return o, err
	}
	if err := fsys.CreateExclusive(originName, data); errors.Is(err, fs.ErrExist) {
		return readOrigin(fsys)
	} else if err != nil {
		return o, err
	}
	return o, nil
}

func readOrigin(fsys Reader) (o Origin, err error) {
	data, err := fsys.ReadFile(originName)
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(data, &o); err != nil {
		return o, fmt.Errorf("%s is damaged: %w; write the id of the topic that the archive was made from into it again, "+
			"as JSON with cluster_id, topic and topic_id", originName, err)
	}
	return o, nil
}
