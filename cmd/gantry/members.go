package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gantry/processors"
)

func newMembers(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "members",
		Short:   "List the processes of the installation, and remove one that has ended for good",
		Example: "  gantry members list\n  gantry members remove gantry-2",
	}
	group(cmd)
	cmd.AddCommand(
		&cobra.Command{
			Use:   "list",
			Short: "Print who has which partitions",
			Long: "Prints the members of the consumer groups: instance, host, partitions, and how many records of these are not\n" +
				"done. An instance that has ended stays in the list until its session is over, 6 s, or until it is removed.",
			Example: "  gantry members list\n  gantry members list --json",
			Args:    cobra.NoArgs,
			RunE:    func(cmd *cobra.Command, _ []string) error { return c.listMembers(cmd) },
		},
		&cobra.Command{
			Use:   "remove INSTANCE",
			Short: "Let the others take over from an instance that has ended for good",
			Long: "Takes an instance that has ended and is not to come back out of every group, so that its partitions do not wait\n" +
				"for the end of its session, and prints who has them now. Stop its process first: one that runs joins again,\n" +
				"which costs its partitions a short pause and is reported with exit code 1. A process that is stopped with\n" +
				"SIGUSR1, or runs with leaveOnStop, removes itself.",
			Example: "  gantry members remove gantry-2",
			Args:    cobra.ExactArgs(1),
			RunE:    func(cmd *cobra.Command, args []string) error { return c.removeMember(cmd, args[0]) },
		},
	)
	return cmd
}

// memberList is what gantry members list prints.
type memberList struct {
	Members []processors.Member `json:"members"`
	Settled bool                `json:"settled"` // false while partitions change hands
}

func (l memberList) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GROUP\tINSTANCE\tHOST\tPARTITIONS\tLAG")
	for _, m := range l.Members {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n",
			m.Group, cmp.Or(m.Instance, m.ID), strings.TrimPrefix(m.Host, "/"), joined(m.Partitions), m.Lag)
	}
	_ = w.Flush() // into a string
	if len(l.Members) == 0 {
		b.WriteString("no process is a member of any group\n")
	}
	if !l.Settled {
		b.WriteString("partitions are changing hands\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func joined(partitions []int32) string {
	if len(partitions) == 0 {
		return "-"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(partitions), "[]"), " ", ",")
}

func (c *cli) listMembers(cmd *cobra.Command) error {
	_, _, adm, err := c.admin(cmd)
	if err != nil {
		return err
	}
	defer adm.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), commandTimeout)
	defer cancel()
	members, settled, err := processors.Members(ctx, adm)
	if err != nil {
		return err
	}
	list := memberList{Members: append([]processors.Member{}, members...), Settled: settled}
	return c.print(list, list.String())
}

// removal is what gantry members remove prints.
type removal struct {
	Instance string            `json:"instance"`
	Moved    []processors.Move `json:"moved"`
}

func (r removal) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is removed\n", r.Instance)
	for _, m := range r.Moved {
		fmt.Fprintf(&b, "%s: partition %d is now with %s\n", m.Group, m.Partition, cmp.Or(m.To, "nobody: no process is left"))
	}
	return strings.TrimRight(b.String(), "\n")
}

// removalTimeout bounds a removal: the others may have tables to recover.
const removalTimeout = 3 * time.Minute

func (c *cli) removeMember(cmd *cobra.Command, instance string) error {
	_, _, adm, err := c.admin(cmd)
	if err != nil {
		return err
	}
	defer adm.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), removalTimeout)
	defer cancel()
	moved, err := processors.RemoveMember(ctx, adm, instance)
	switch {
	case errors.Is(err, processors.ErrNoMember):
		return fmt.Errorf("%q is in no group: %w. Its session may be over, and its partitions taken over: see gantry "+
			"members list", instance, err)
	case errors.Is(err, processors.ErrRuns):
		return fmt.Errorf("%s: %w and has joined again. Stop it first; with SIGUSR1 it removes itself", instance, err)
	case err != nil:
		return err
	}
	result := removal{Instance: instance, Moved: append([]processors.Move{}, moved...)}
	return c.print(result, result.String())
}
