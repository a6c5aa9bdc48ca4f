package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/store/archive"
)

func newArchive(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "archive",
		Short:   "Seal hours of the archive, and see what is in it",
		Example: "  gantry archive status\n  gantry archive compact",
	}
	group(cmd)
	cmd.AddCommand(newCompact(c), newArchiveStatus(c))
	return cmd
}

func newCompact(c *cli) *cobra.Command {
	var o compactFlags
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Merge the files of hours that are over, and seal them",
		Long: "Merges the files of each hour into one sorted file for each table, keeps the highest revision of each\n" +
			"window, and writes a manifest with rows, offsets and checksums. An hour is sealed when everything that was\n" +
			"published until window.retention + window.grace + window.idleTimeout behind its end is archived. What comes\n" +
			"later all the same stands beside the sealed file; the next compaction merges it in.\n\n" +
			"It may run beside archivers and other compactions, and may be killed at any moment: run it again. While an\n" +
			"hour's files are exchanged, for moments, readers see less of it, and never a row twice. It needs scratch\n" +
			"space on this machine ($TMPDIR) of about three times an hour's files.",
		Example: "  gantry archive compact\n  gantry archive compact --hour 2026-11-24T09\n" +
			"  gantry archive compact --before 2026-11-24 --dry-run\n" +
			"  gantry archive compact --data gantry-data   # of a gantry dev that does not run",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.compact(cmd, &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "data folder of a gantry dev that does not run")
	f.StringSliceVar(&o.hours, "hour", nil, "only this hour of event time, UTC, as 2026-11-24T09; may be repeated")
	f.StringVar(&o.before, "before", "", "only hours that begin before this, UTC: 2026-11-24, or 2026-11-24T09")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be done, and change nothing")
	return cmd
}

type compactFlags struct {
	data   string
	hours  []string
	before string
	dryRun bool
}

// chosen returns a test for the hours that the flags name.
func (o *compactFlags) chosen() (func(time.Time) bool, error) {
	var only []time.Time
	for _, text := range o.hours {
		hour, err := time.Parse(archive.HourFormat, text)
		if err != nil {
			return nil, usagef("--hour %q is not an hour like 2026-11-24T09", text)
		}
		only = append(only, hour)
	}
	var before time.Time
	if o.before != "" {
		var err error
		if before, err = time.Parse(archive.HourFormat, o.before); err != nil {
			if before, err = time.Parse(time.DateOnly, o.before); err != nil {
				return nil, usagef("--before %q is neither a day like 2026-11-24 nor an hour like 2026-11-24T09", o.before)
			}
		}
	}
	return func(hour time.Time) bool {
		return (len(only) == 0 || slices.Contains(only, hour)) && (before.IsZero() || hour.Before(before))
	}, nil
}

// compactResult is what gantry archive compact prints.
type compactResult struct {
	Archive string        `json:"archive"`
	DryRun  bool          `json:"dry_run"`
	Hours   []compactHour `json:"hours"` // that have files which are not sealed
}

// compactHour says what became of an hour.
type compactHour struct {
	Hour       time.Time                       `json:"hour"`
	Sealed     bool                            `json:"sealed"`
	Generation int                             `json:"generation,omitempty"`
	Why        string                          `json:"why,omitempty"`   // not sealed; empty in a dry run: it would be
	Error      string                          `json:"error,omitempty"` // not sealed, although it should be
	Tables     map[archive.Table]*compactTable `json:"tables"`
}

// compactTable counts files before, and rows after.
type compactTable struct {
	Files            int   `json:"files"`
	Rows             int64 `json:"rows"`
	DroppedRevisions int64 `json:"dropped_revisions"`
	BytesBefore      int64 `json:"bytes_before"`
	Bytes            int64 `json:"bytes"`
}

var errCompact = errors.New("some hours could not be sealed")

func (c *cli) compact(cmd *cobra.Command, o *compactFlags) error {
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	a, err := c.openStore(cmd, o.data)
	if err != nil {
		return err
	}
	defer a.close()
	adm, err := a.admin(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer adm.Close()
	result, err := c.compactHours(cmd.Context(), a, adm, chosen, o.dryRun)
	if err != nil {
		return err
	}
	if err := c.print(result, result.String()); err != nil {
		return err
	}
	if slices.ContainsFunc(result.Hours, func(h compactHour) bool { return h.Error != "" }) {
		return errCompact
	}
	return nil
}

func (c *cli) compactHours(
	ctx context.Context, a *openedArchive, adm *kadm.Client, chosen func(time.Time) bool, dryRun bool,
) (*compactResult, error) {
	var compactor *archive.Compactor
	if !dryRun {
		o := archive.DefaultCompactOptions()
		o.Version, o.Logger = versionText(), c.warnings()
		var err error
		if compactor, err = archive.NewCompactor(ctx, a.files, o); err != nil {
			return nil, err
		}
	}
	now, err := archive.ReadArchived(a.files)
	if err != nil {
		return nil, err
	}
	result := &compactResult{Archive: a.url, DryRun: dryRun, Hours: []compactHour{}}
	hours := slices.DeleteFunc(now.Unsealed(), func(hour time.Time) bool { return !chosen(hour) })
	settling := a.settling(ctx, adm, now.Extents)
	var done atomic.Int64
	defer c.progress("compact", "hours", int64(len(hours)), done.Load)()
	for _, hour := range hours {
		h := compactHour{Hour: hour, Tables: countBefore(now, hour)}
		if h.Why, err = settling.Unsettled(hour); err != nil {
			return nil, err
		}
		if h.Why == "" && !dryRun {
			if err := h.compact(ctx, compactor); err != nil {
				return nil, err
			}
		}
		result.Hours = append(result.Hours, h)
		done.Add(1)
	}
	return result, nil
}

// whyElsewhere: the files that were listed have been merged, or are being given their names and are merged next time.
const whyElsewhere = "another compaction was faster, or its files are still being archived"

// compact seals an hour. Only an error that concerns all hours is returned.
func (h *compactHour) compact(ctx context.Context, compactor *archive.Compactor) error {
	m, sealed, err := compactor.Compact(ctx, h.Hour)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, archive.ErrRaced), err == nil && !sealed:
		h.Why = whyElsewhere
		return nil
	case err != nil:
		h.Error = err.Error()
		return nil
	}
	h.Sealed, h.Generation = true, m.Generation
	for t, f := range m.Tables {
		if h.Tables[t] == nil {
			h.Tables[t] = &compactTable{}
		}
		h.Tables[t].Rows, h.Tables[t].Bytes, h.Tables[t].DroppedRevisions = f.Rows, f.Bytes, f.DroppedRevisions
	}
	return nil
}

func countBefore(now *archive.Archived, hour time.Time) map[archive.Table]*compactTable {
	tables := make(map[archive.Table]*compactTable)
	for _, f := range now.Files {
		if !f.Hour.Equal(hour) {
			continue
		}
		if tables[f.Table] == nil {
			tables[f.Table] = &compactTable{}
		}
		tables[f.Table].Files++
		tables[f.Table].BytesBefore += f.Bytes
	}
	return tables
}

func (r *compactResult) String() string {
	if len(r.Hours) == 0 {
		return "nothing to merge at " + r.Archive
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOUR\tTABLE\tFILES\tBYTES\tMERGED\tROWS\tDROPPED\tGENERATION")
	var rest []string
	sealed := 0
	for _, h := range r.Hours {
		hour := h.Hour.Format(archive.HourFormat)
		switch {
		case h.Sealed:
			sealed++
		case h.Error != "":
			rest = append(rest, fmt.Sprintf("%s failed: %s", hour, h.Error))
		case h.Why != "":
			rest = append(rest, fmt.Sprintf("%s not yet: %s", hour, h.Why))
		default:
			rest = append(rest, hour+" would be sealed")
		}
		for _, t := range archive.Tables {
			if n := h.Tables[t]; n != nil && h.Sealed {
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n",
					hour, t, n.Files, n.BytesBefore, n.Bytes, n.Rows, n.DroppedRevisions, h.Generation)
			}
		}
	}
	if sealed > 0 {
		_ = w.Flush() // into a string
	}
	for _, line := range rest {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, "%d of %d hours sealed", sealed, len(r.Hours))
	return b.String()
}

// openedArchive is the archive of a configuration, or of a data folder, and its topics.
type openedArchive struct {
	url   string
	cfg   *config.Config
	files archive.FS
	stop  func() // the embedded servers
}

// openStore opens the archive that a command works on.
func (c *cli) openStore(cmd *cobra.Command, data string) (*openedArchive, error) {
	l, err := c.load(cmd)
	if err != nil {
		return nil, err
	}
	a := &openedArchive{cfg: &l.Config}
	if a.url, a.files, err = openArchive(l, data); err != nil {
		return nil, err
	}
	if a.stop, err = embed(a.cfg, data); err != nil {
		return nil, errors.Join(err, a.files.Close())
	}
	return a, nil
}

func (a *openedArchive) close() {
	a.stop()
	_ = a.files.Close() // what was written is safe already
}

// admin connects to the brokers. The caller closes the client.
func (a *openedArchive) admin(ctx context.Context, c *cli) (*kadm.Client, error) {
	k, err := app.KafkaOf(a.cfg)
	if err != nil {
		return nil, usageError{err}
	}
	if err := c.reach(ctx, k); err != nil {
		return nil, err
	}
	return k.Admin()
}

func (a *openedArchive) settling(ctx context.Context, adm *kadm.Client, extents []archive.Extent) *archive.Settling {
	return &archive.Settling{
		After: app.SettledAfter(a.cfg), Now: time.Now(), Extents: extents,
		Published: app.Published(ctx, adm, a.cfg.Topics.Events),
	}
}
