package simulate

import (
	"context"
	"errors"

	"gantry/store/archive"
)

// compactor runs gantry archive compact once, for every hour that is not sealed. Nobody owns that: two may run at once,
// beside all archivers.
type compactor struct{ writer }

func (w *world) newCompactor(p *process) *compactor {
	c := new(compactor)
	c.start(p, "compaction", c.run)
	return c
}

func (c *compactor) run() {
	ctx := context.Background()
	opts := archive.DefaultCompactOptions()
	opts.FanIn = 4 // so that it merges in several passes
	opts.Now, opts.Rand = c.w.now, c.w.bytes()
	compact, err := archive.NewCompactor(ctx, c.fs, opts)
	if err != nil {
		c.tell(err)
		return
	}
	archived, err := archive.ReadArchived(c.fs)
	if err != nil {
		c.tell(err)
		return
	}
	for _, hour := range archived.Unsealed() {
		m, sealed, err := compact.Compact(ctx, hour)
		if sealed {
			c.w.tell("%v has sealed %s, generation %d", c, hour.Format("15:04"), m.Generation)
		}
		if err != nil {
			c.tell(err)
		}
	}
}

// tell notes an error, and ends the run at one that says that the archive is not what was written.
func (c *compactor) tell(err error) {
	for _, never := range []error{
		archive.ErrForeignFile, archive.ErrRowDoubled, archive.ErrUnsorted, archive.ErrSealedFileDamaged,
		archive.ErrSealedFileLost,
	} {
		if errors.Is(err, never) {
			c.w.fail("%v: %v", c, err)
		}
	}
	c.w.tell("%v: %v", c, err)
}
