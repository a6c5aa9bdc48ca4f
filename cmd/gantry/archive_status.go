package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/app"
	"gantry/store/archive"
)

func newArchiveStatus(c *cli) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print what is in the archive, what is sealed, and what is missing",
		Long: "Prints files, rows and bytes of each hour and table; which hours are sealed, which have files that came\n" +
			"later, and why others are not sealed yet; how far each partition is archived; and what is missing: offsets\n" +
			"that retention deleted before they were archived, files that a commit names and that are gone, and files that\n" +
			"no commit accounts for. Exit code 1 says that there is such a hole. It reads listings and manifests; gantry verify\n" +
			"--archive reads the rows.",
		Example: "  gantry archive status\n  gantry archive status --json | jq '.hours[] | select(.state != \"sealed\")'\n" +
			"  gantry archive status --data gantry-data   # of a gantry dev that does not run",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.archiveStatus(cmd, data) },
	}
	cmd.Flags().StringVar(&data, "data", "", "data folder of a gantry dev that does not run")
	return cmd
}

var errHoles = errors.New("something is missing in the archive, or does not belong there")

func (c *cli) archiveStatus(cmd *cobra.Command, data string) error {
	a, err := c.openStore(cmd, data)
	if err != nil {
		return err
	}
	defer a.close()
	ctx := cmd.Context()
	status, err := archive.ReadStatus(ctx, a.files)
	if err != nil {
		return err
	}
	if err := a.addTopic(ctx, status); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(c.stderr, "how far the archive lags is not known: %v\n", err)
	}
	if err := c.print(status, statusText(a.url, status)); err != nil {
		return err
	}
	if !status.OK() {
		return errHoles
	}
	return nil
}

// topicTimeout bounds the wait for brokers where they are asked for an addition alone.
const topicTimeout = 5 * time.Second

// addTopic adds what only the topic knows: its ends, and what an hour waits for.
func (a *openedArchive) addTopic(ctx context.Context, status *archive.Status) error {
	k, err := app.KafkaOf(a.cfg)
	if err != nil {
		return usageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	if err := k.Reachable(ctx); err != nil {
		return err
	}
	adm, err := k.Admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	ends, err := app.Ends(ctx, adm, a.cfg.Topics.Events)
	if err != nil {
		return err
	}
	status.AddEnds(ends)
	return app.ReasonsUnsettled(a.settling(ctx, adm, status.Extents()), status)
}

func statusText(url string, s *archive.Status) string {
	var b strings.Builder
	fmt.Fprintln(&b, url)
	if len(s.Hours) == 0 {
		fmt.Fprintln(&b, "nothing is archived")
	} else {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "HOUR\tSTATE\tTABLE\tFILES\tROWS\tBYTES\tNOTE")
		for _, h := range s.Hours {
			state := h.State
			if h.Generation > 0 {
				state = fmt.Sprintf("%s %d", state, h.Generation)
			}
			for _, t := range archive.Tables {
				if n := h.Tables[t]; n != nil {
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n",
						h.Hour.Format(archive.HourFormat), state, t, n.Files, n.Rows, n.Bytes, h.Why)
				}
			}
		}
		_ = w.Flush() // into a string
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.Partitions) > 0 {
		fmt.Fprintln(w, "PARTITION\tARCHIVED\tEND\tLAG\tHOLES")
	}
	for _, p := range s.Partitions {
		end, lag := "-", "-"
		if p.End != nil {
			end, lag = fmt.Sprint(*p.End), fmt.Sprint(*p.Lag)
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\n", p.Partition, p.Archived, end, lag, len(p.Holes))
	}
	_ = w.Flush() // into a string
	for _, p := range s.Partitions {
		for _, h := range p.Holes {
			fmt.Fprintf(&b, "hole: partition %d, offsets %d to %d: retention deleted them before they were archived\n",
				p.Partition, h.From, h.To-1)
		}
	}
	for _, name := range s.Lost {
		fmt.Fprintf(&b, "lost: %s: a commit names it; gantry verify --archive says what is missing\n", name)
	}
	for _, name := range s.Strays {
		fmt.Fprintf(&b, "stray: %s: no commit accounts for it, and readers count its rows; move it out of the folder\n", name)
	}
	if s.Temporary > 0 {
		fmt.Fprintf(&b, "%d temporary files, of commits that are under way or were given up\n", s.Temporary)
	}
	return strings.TrimRight(b.String(), "\n")
}
