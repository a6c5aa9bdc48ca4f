package simulate

import (
	"slices"

	"gantry/store"
	"gantry/store/archive"
)

func (w *world) takeOut(mechanism string) {
	if slices.Contains(store.Mechanisms(), mechanism) {
		w.engineWithout = mechanism
	}
}

func (w *world) archiveWithout(fsys archive.FS) archive.FS { return fsys }
