package archive

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// An archive is made from one topic: another cluster, another name, or a topic of the same name that was created anew
// is refused with what to do, and the right one is not, however often.
func TestBind(t *testing.T) {
	fsys := NewMemory()
	o := Origin{ClusterID: "c", Topic: "traffic-events", TopicID: "1"}
	for range 2 {
		if err := Bind(fsys, o); err != nil {
			t.Fatal(err)
		}
	}
	for says, other := range map[string]Origin{
		"this one is":   {"d", o.Topic, o.TopicID},
		"topics.events": {o.ClusterID, "events", o.TopicID},
		"created again": {o.ClusterID, o.Topic, "2"},
	} {
		err := Bind(fsys, other)
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), says) ||
			!strings.Contains(err.Error(), "set another archive.url") {
			t.Errorf("%+v: %v", other, err)
		}
	}
	if err := fsys.Remove(originName); err != nil {
		t.Fatal(err)
	}
	if err := fsys.WriteFile(originName, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := Bind(fsys, o); err == nil || errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged origin: %v", err)
	}
}

// Of several topics that are first at once, one gets the archive.
func TestBindRace(t *testing.T) {
	fsys := NewMemory()
	var won atomic.Int32
	var race sync.WaitGroup
	for _, id := range []string{"1", "2", "3", "4"} {
		race.Go(func() {
			switch err := Bind(fsys, Origin{"c", "traffic-events", id}); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrForeign):
				t.Error(err)
			}
		})
	}
	race.Wait()
	if won.Load() != 1 {
		t.Errorf("%d topics have the archive", won.Load())
	}
}
