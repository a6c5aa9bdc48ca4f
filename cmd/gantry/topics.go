package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/processors"
)

func newTopics(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "topics",
		Short:   "Create and check the topics",
		Example: "  gantry topics create\n  gantry topics check --json",
	}
	group(cmd)
	cmd.AddCommand(
		&cobra.Command{
			Use:   "create",
			Short: "Create what is missing: topics, tables, subjects of the registry",
			Long: "Creates the topics, the tables and, with raw.keyed: false, the loop, each with its settings, and registers the\n" +
				"schemas of traffic-raw and traffic-events where their subjects are absent. What exists is left as it is.",
			Example: "  gantry topics create",
			Args:    cobra.NoArgs,
			RunE:    func(cmd *cobra.Command, _ []string) error { return c.createTopics(cmd) },
		},
		&cobra.Command{
			Use:   "check",
			Short: "Report every difference between the topics and what they should be",
			Long: "Compares partitions, cleanup policy, retention and the largest message with what the pipeline needs. Exit code\n" +
				"1 says that something differs.",
			Example: "  gantry topics check",
			Args:    cobra.NoArgs,
			RunE:    func(cmd *cobra.Command, _ []string) error { return c.checkTopics(cmd) },
		},
	)
	return cmd
}

// commandTimeout bounds the wait for servers: a command says which one does not answer, and ends.
const commandTimeout = 20 * time.Second

// admin loads the configuration of a command and connects to its brokers. The caller closes the client.
func (c *cli) admin(cmd *cobra.Command) (*config.Loaded, processors.Kafka, *kadm.Client, error) {
	l, err := c.load(cmd)
	if err != nil {
		return nil, processors.Kafka{}, nil, err
	}
	k, err := app.KafkaOf(&l.Config)
	if err != nil {
		return nil, processors.Kafka{}, nil, usageError{err}
	}
	if err := c.reach(cmd.Context(), k); err != nil {
		return nil, processors.Kafka{}, nil, err
	}
	adm, err := k.Admin()
	return l, k, adm, err
}

// reach waits for the brokers, and tells the user if it takes long.
func (c *cli) reach(ctx context.Context, k processors.Kafka) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	err := app.Reach(ctx, k.Reachable, func(error) {
		fmt.Fprintf(c.stderr, "kafka at %s does not answer; waiting up to %v\n", strings.Join(k.Brokers, ","), commandTimeout)
	})
	if err != nil && !errors.Is(err, processors.ErrMisconfigured) {
		err = fmt.Errorf("%w (is it running, and is kafka.brokers right?)", err)
	}
	return err
}

// topicsResult is what gantry topics create prints.
type topicsResult struct {
	Created  []string `json:"created"`
	Subjects []string `json:"subjects"`
}

func (r topicsResult) String() string {
	created := "nothing was missing"
	if len(r.Created) > 0 {
		created = "created " + strings.Join(r.Created, ", ")
	}
	return created + "; the registry has the schemas of " + strings.Join(r.Subjects, " and ")
}

func (c *cli) createTopics(cmd *cobra.Command) error {
	l, _, adm, err := c.admin(cmd)
	if err != nil {
		return err
	}
	defer adm.Close()
	ctx := cmd.Context()
	topics := app.TopicsOf(&l.Config)
	created, err := processors.EnsureTopics(ctx, adm, topics.Specs(false))
	if err != nil {
		return err
	}
	client, err := app.RegistryOf(&l.Config)
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if _, err := app.EnsureSubjects(ctx, client, topics, c.warnings()); err != nil {
		return fmt.Errorf("the topics are there, the subjects are not: %w", err)
	}
	r := topicsResult{Created: created, Subjects: []string{topics.RawSubject(), topics.EventsSubject()}}
	if r.Created == nil {
		r.Created = []string{}
	}
	return c.print(r, r.String())
}

// differences is what gantry topics check prints.
type differences struct {
	Differences []processors.Difference `json:"differences"`
}

func (d differences) String() string {
	if len(d.Differences) == 0 {
		return "the topics are as they should be"
	}
	var b strings.Builder
	for i, x := range d.Differences {
		if i > 0 {
			b.WriteByte('\n')
		}
		note := ""
		if x.Fatal {
			note = " (readings could be lost or misplaced)"
		}
		fmt.Fprintf(&b, "%s: %s is %s, should be %s%s", x.Topic, x.What, x.Have, x.Want, note)
	}
	return b.String()
}

var errDiffer = errors.New("the topics are not as they should be")

func (c *cli) checkTopics(cmd *cobra.Command) error {
	l, k, adm, err := c.admin(cmd)
	if err != nil {
		return err
	}
	defer adm.Close()
	topics := app.TopicsOf(&l.Config)
	ctx, cancel := context.WithTimeout(cmd.Context(), commandTimeout)
	defer cancel()
	// Without the right to see a topic it would be said to be missing, and one whose settings are hidden to be right.
	if err := k.CheckAccess(ctx, topics.AccessToCheck()); err != nil {
		return err
	}
	diffs, err := processors.CheckTopics(ctx, adm, topics.Specs(false))
	if err != nil {
		return err
	}
	d := differences{Differences: append([]processors.Difference{}, diffs...)}
	if err := c.print(d, d.String()); err != nil {
		return err
	}
	if len(diffs) > 0 {
		return errDiffer
	}
	return nil
}
