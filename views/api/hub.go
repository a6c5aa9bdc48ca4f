package api

import (
	"container/list"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gantry/codecs"
)

// HubCapacityDefault is the number of changes that a Hub remembers: the current and the last window of 32,000 sensors.
const HubCapacityDefault = 1 << 16

// Hub passes changes of windows and sensors on to streams, and remembers them for readers that come back.
//
// It works like a compacted topic: of each window (and each sensor) only the newest change is kept, under its own id;
// when there are more than the capacity the oldest go. A reader holds no queue, only the id that it has reached, so
// that a slow one costs no memory: it finds fewer, newer changes, or, where the Hub has forgotten one that it never
// saw, a reset.
//
// Ids are EPOCH-NUMBER. The epoch is drawn once per Hub, so that an id of another process, or from before a restart,
// is recognised instead of naming the wrong change. All methods may be called concurrently.
type Hub struct {
	epoch    string
	capacity int

	mu        sync.Mutex
	changes   list.List // of *change, by id
	newest    map[changeKey]*list.Element
	last      uint64        // id of the newest change
	forgotten uint64        // highest id that went because of the capacity
	changed   chan struct{} // closed at the next change, where waited
	waited    bool          // somebody holds changed
}

// changeKey names what changed; a later change with the same key supersedes an earlier one. Window starts are whole
// milliseconds, so sensorState is none of them.
type changeKey struct {
	sensorID    string
	windowStart int64
}

const sensorState = -1 << 63

// change is one event of the stream. Its text is made when the first stream wants it: most changes under a backlog are
// superseded before that.
type change struct {
	id        uint64
	key       changeKey
	window    codecs.WindowAggregate
	watermark codecs.Null[int64]
	sensor    *Sensor // nil for a window
	removed   bool    // of the sensor

	once sync.Once
	text []byte
}

// NewHub returns a Hub with a new epoch. A capacity of 0 is HubCapacityDefault.
func NewHub(capacity int) *Hub {
	var b [6]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return newHub(hex.EncodeToString(b[:]), capacity)
}

func newHub(epoch string, capacity int) *Hub {
	if capacity <= 0 {
		capacity = HubCapacityDefault
	}
	return &Hub{
		epoch:    epoch,
		capacity: capacity,
		newest:   make(map[changeKey]*list.Element),
		changed:  make(chan struct{}),
	}
}

// Window publishes a window as it stands now, with its sensor's watermark. Strings of w are kept.
func (h *Hub) Window(w *codecs.WindowAggregate, watermark codecs.Null[int64]) {
	h.publish(&change{key: changeKey{w.SensorID, w.WindowStart}, window: *w, watermark: watermark})
}

// Sensor publishes a sensor whose metadata or silence has changed. Changes of its windows alone are not for here.
func (h *Hub) Sensor(s Sensor) {
	h.publish(&change{key: changeKey{s.ID, sensorState}, sensor: &s})
}

// Removed publishes that a sensor is no longer known.
func (h *Hub) Removed(sensorID string) {
	h.publish(&change{key: changeKey{sensorID, sensorState}, sensor: &Sensor{ID: sensorID}, removed: true})
}

func (h *Hub) publish(c *change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	c.id = h.last
	if old, ok := h.newest[c.key]; ok {
		h.changes.Remove(old)
	}
	h.newest[c.key] = h.changes.PushBack(c)
	if h.changes.Len() > h.capacity {
		oldest := h.changes.Remove(h.changes.Front()).(*change)
		delete(h.newest, oldest.key)
		h.forgotten = oldest.id
	}
	if h.waited {
		close(h.changed)
		h.changed, h.waited = make(chan struct{}), false
	}
}

// since returns the changes after an id, oldest first, and a channel that is closed at the next change. lost tells that
// changes after the id were forgotten; there are none in the answer then.
func (h *Hub) since(after uint64) (changes []*change, lost bool, next <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waited = true
	if after < h.forgotten {
		return nil, true, h.changed
	}
	for e := h.changes.Back(); e != nil && e.Value.(*change).id > after; e = e.Prev() {
		changes = append(changes, e.Value.(*change))
	}
	slices.Reverse(changes)
	return changes, false, h.changed
}

// head is the id of the newest change.
func (h *Hub) head() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *Hub) formatID(id uint64) string { return h.epoch + "-" + strconv.FormatUint(id, 10) }

// parseID reads an id that this Hub gave out.
func (h *Hub) parseID(text string) (uint64, error) {
	epoch, number, ok := strings.Cut(text, "-")
	if !ok || epoch != h.epoch {
		return 0, fmt.Errorf("id %q is of another epoch than %s", text, h.epoch)
	}
	id, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("id %q: %w", text, err)
	}
	if head := h.head(); id > head {
		return 0, fmt.Errorf("id %q is beyond the newest, %d", text, head)
	}
	return id, nil
}
