package views

import (
	"slices"
	"sort"
	"sync"
	"time"

	"gantry/codecs"
	"gantry/processors"
	"gantry/processors/dedup"
	"gantry/processors/window"
	"gantry/views/api"
)

// Publisher takes changes. Its methods do not block, and are called in the order of the changes of each sensor.
type Publisher interface {
	Window(w *codecs.WindowAggregate, watermark codecs.Null[int64]) // as it stands now
	Sensor(s api.Sensor)                                            // its metadata or its silence has changed
	Removed(sensorID string)
}

var _ Publisher = (*api.Hub)(nil)

// Directory is the set of sensors, as the two tables have it.
type Directory struct {
	// MetadataRequired hides sensors without metadata, as validate.knownSensorsOnly rejects their readings: those whose
	// metadata was removed, of which a new process knows no more than that they once sent. Set it before the first use.
	MetadataRequired bool

	rules      window.Options
	partitions int
	hub        Publisher
	now        func() time.Time

	mu      sync.RWMutex
	sensors map[string]*entry
	ids     []string // sorted
	fresh   []string // known, not in ids yet
	live    bool     // caught up: changes are published
}

// entry is what is held of a sensor. Its states are never changed, only replaced.
type entry struct {
	meta    codecs.Sensor
	hasMeta bool
	state   *window.State // nil where the window group knows nothing
	seen    time.Time     // when the last reading was seen here, by this process's clock
	silence int64         // as_of of the last silence event that this process has sent, epoch ms
}

// removed: the sensor once had metadata that was taken away.
func (e *entry) removed() bool { return !e.hasMeta && e.meta.SensorID != "" }

// NewDirectory returns an empty directory that publishes changes to hub.
func NewDirectory(rules window.Options, partitions int, hub Publisher, now func() time.Time) *Directory {
	return &Directory{rules: rules, partitions: partitions, hub: hub, now: now, sensors: make(map[string]*entry)}
}

var _ api.Directory = (*Directory)(nil)

// known tells whether the sensor is to be shown: it has metadata, or readings while sensors need none.
func (d *Directory) known(e *entry) bool {
	return e.hasMeta || !d.MetadataRequired && e.state != nil && e.state.Sequence() > 0 && !e.removed()
}

// entry returns the sensor's entry, made where there is none. The caller holds mu.
func (d *Directory) entry(id string) *entry {
	e := d.sensors[id]
	if e == nil {
		e = new(entry)
		d.sensors[id] = e
		d.fresh = append(d.fresh, id)
	}
	return e
}

// updateDedup takes a value of the dedup group's table.
func (d *Directory) updateDedup(id string, enc []byte) error {
	var meta codecs.Sensor
	var ok bool
	if enc != nil {
		st, err := dedup.DecodeState(enc)
		if err != nil {
			return err
		}
		meta, ok = st.Sensor(id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.entry(id)
	if e.hasMeta == ok && (!ok || e.meta == meta) {
		return nil // something else of the sensor has changed
	}
	if ok {
		e.meta = meta
	}
	e.hasMeta = ok
	d.publishSensor(id, e)
	return nil
}

// updateWindow takes a value of the window group's table, and publishes the windows that have changed.
func (d *Directory) updateWindow(id string, enc []byte) error {
	var st *window.State
	if enc != nil {
		var err error
		if st, err = window.DecodeState(enc); err != nil {
			return err
		}
	}
	d.mu.Lock()
	e := d.entry(id)
	old := e.state
	if st != nil && (old == nil || st.Sequence() > old.Sequence()) {
		e.seen = d.now()
	}
	wasKnown, wasSilent := d.known(e), e.silent()
	e.state = st
	known := d.known(e)
	if known != wasKnown || known && e.silent() != wasSilent {
		d.publishSensor(id, e)
	}
	live := d.live
	d.mu.Unlock()
	// The values of a sensor come one after another, so that its windows are published in order without the lock.
	if live && known && st != nil {
		d.publishWindows(id, old, st)
	}
	return nil
}

// publishSensor publishes a sensor that has changed in more than its windows. The caller holds mu: the two tables
// change a sensor at once, and the newer answer must come last.
func (d *Directory) publishSensor(id string, e *entry) {
	switch {
	case !d.live:
	case d.known(e):
		d.hub.Sensor(d.snapshot(id, e))
	default:
		d.hub.Removed(id)
	}
}

func (d *Directory) publishWindows(id string, old, st *window.State) {
	var before []codecs.WindowAggregate
	if old != nil {
		before = old.Windows(id, &d.rules)
	}
	watermark := watermarkOf(st)
	for _, w := range st.Windows(id, &d.rules) {
		i, ok := slices.BinarySearchFunc(before, w.WindowStart, func(b codecs.WindowAggregate, start int64) int {
			return int(min(1, max(-1, b.WindowStart-start)))
		})
		if !ok || before[i] != w {
			d.hub.Window(&w, watermark)
		}
	}
}

// goLive begins to publish changes.
func (d *Directory) goLive() {
	d.mu.Lock()
	d.live = true
	d.mu.Unlock()
}

func watermarkOf(st *window.State) (w codecs.Null[int64]) {
	if st != nil {
		if ms, ok := st.Watermark(); ok {
			w = codecs.Some(ms)
		}
	}
	return w
}

func (e *entry) silent() bool {
	if e.state == nil {
		return false
	}
	_, silent := e.state.SilentAsOf()
	return silent
}

func (d *Directory) snapshot(id string, e *entry) api.Sensor {
	s := api.Sensor{ID: id, Meta: e.meta, HasMeta: e.hasMeta}
	if e.state == nil {
		return s
	}
	s.Watermark = watermarkOf(e.state)
	if s.Watermark.Valid {
		s.LastReceivedAt = codecs.Some(e.state.LastReceivedAt())
	}
	s.Silent = e.silent()
	s.Windows = e.state.Windows(id, &d.rules)
	return s
}

// Get returns one sensor.
func (d *Directory) Get(id string) (api.Sensor, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.sensors[id]
	if e == nil || !d.known(e) {
		return api.Sensor{}, false
	}
	return d.snapshot(id, e), true
}

// Page returns sensors by id.
func (d *Directory) Page(after string, limit int, box *api.BBox) (page []api.Sensor, more bool) {
	d.sort()
	d.mu.RLock()
	defer d.mu.RUnlock()
	from := 0
	if after != "" {
		from = sort.SearchStrings(d.ids, after)
		if from < len(d.ids) && d.ids[from] == after {
			from++
		}
	}
	for _, id := range d.ids[from:] {
		e := d.sensors[id]
		if !d.known(e) || box != nil && !e.in(box) {
			continue
		}
		if len(page) == limit {
			return page, true
		}
		page = append(page, d.snapshot(id, e))
	}
	return page, false
}

func (e *entry) in(box *api.BBox) bool {
	if e.hasMeta {
		return box.Contains(e.meta.Latitude, e.meta.Longitude)
	}
	lat, lon, ok := e.state.Location()
	return ok && box.Contains(lat, lon)
}

// sort merges new ids into the sorted ones: once for many of them, so that reading a large table stays linear.
func (d *Directory) sort() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.fresh) == 0 {
		return
	}
	ids := append(slices.Clone(d.ids), d.fresh...) // readers may hold the old slice
	slices.Sort(ids)
	d.ids, d.fresh = ids, nil
}

// Counts tells what the directory holds, for metrics.
func (d *Directory) Counts() (sensors, silent, open int, oldestWatermark codecs.Null[int64]) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.sensors {
		if !d.known(e) {
			continue
		}
		sensors++
		if e.state == nil {
			continue
		}
		open += e.state.Open()
		if e.silent() {
			silent++
			continue
		}
		if w := watermarkOf(e.state); w.Valid && (!oldestWatermark.Valid || w.V < oldestWatermark.V) {
			oldestWatermark = w
		}
	}
	return sensors, silent, open, oldestWatermark
}

// partition returns the sensor's partition number, which is the same in every topic.
func (d *Directory) partition(id string) int32 { return processors.PartitionOf(id, d.partitions) }
