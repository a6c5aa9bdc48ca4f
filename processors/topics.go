package processors

import "github.com/lovoo/goka"

// The consumer groups of the contract.
const (
	DedupGroup   goka.Group = "stream-processor-group-v2"
	WindowGroup  goka.Group = "stream-processor-window-v2"
	ArchiveGroup goka.Group = "stream-processor-archive-v2"
)

// The tables of the groups, as goka names them, and the loop through which un-keyed readings pass first.
var (
	DedupTable  = goka.GroupTable(DedupGroup)
	WindowTable = goka.GroupTable(WindowGroup)
	DedupLoop   = goka.Stream(string(DedupGroup) + "-loop")
)

// Topics are the topics of an installation. All have the same number of partitions, so that a sensor has one partition
// number everywhere.
type Topics struct {
	Raw        goka.Stream
	Events     goka.Stream
	Rejects    goka.Stream
	Partitions int
	Keyed      bool // false: traffic-raw may be keyed by anything, and passes the loop first
}

// DefaultTopics returns the names of the contract.
func DefaultTopics() Topics {
	return Topics{Raw: "traffic-raw", Events: "traffic-events", Rejects: "traffic-rejects", Partitions: 5, Keyed: true}
}

// Subjects under which the schemas of traffic-raw and traffic-events are registered.
func (t Topics) RawSubject() string    { return string(t.Raw) + "-value" }
func (t Topics) EventsSubject() string { return string(t.Events) + "-value" }
