package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/config"
	"gantry/processors/validate"
	"gantry/views/deadletter"
)

// redriveFlags are the flags of gantry dlq redrive.
type redriveFlags struct {
	filter             dlqFilter
	waive              string
	again, dryRun, yes bool
}

func newDLQRedrive(c *cli) *cobra.Command {
	var f redriveFlags
	cmd := &cobra.Command{
		Use:   "redrive [SOURCE...]",
		Short: "Send rejected messages through the pipeline again, once",
		Long: "Sends messages of traffic-rejects to traffic-raw again, with their original bytes, keyed and placed by the sensor\n" +
			"that they name. They are judged by their first arrival and by what is known now. Each is sent once: to redrive\n" +
			"it again does nothing. One that was rejected again is a reject of its own; by filter it is sent only with\n" +
			"--again, or where --waive lets another reason pass now.\n\n" +
			"--waive lets one reason pass: " + strings.Join(waivable(), ", ") + ".\n" +
			"Without --reason it takes the messages that were rejected for it.\n\n" +
			"Messages are named by SOURCE (the raw record's TOPIC/PARTITION/OFFSET, or the reject's PARTITION/OFFSET), or by\n" +
			"filter; without either, all. What cannot be sent is told with its reason, and makes the exit code 1 where it was\n" +
			"named. Two at once are safe: the later one takes over.",
		Example: "  gantry dlq redrive --reason misrouted,unknown_sensor --dry-run\n  gantry dlq redrive --waive speed_range --sensor 773869\n" +
			"  gantry dlq redrive traffic-raw/3/1742 3/12 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := c.load(cmd)
			if err != nil {
				return err
			}
			r, err := f.request(args, l, time.Now())
			if err != nil {
				return err
			}
			return c.redrive(cmd.Context(), &l.Config, r, f.yes)
		},
	}
	f.filter.add(cmd.Flags())
	cmd.Flags().StringVar(&f.waive, "waive", "", "a reason that lets the messages pass")
	cmd.Flags().BoolVar(&f.again, "again", false, "also what was redriven like this before, and rejected again")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be done, and send nothing")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	return cmd
}

func (f *redriveFlags) request(args []string, l *config.Loaded, now time.Time) (r deadletter.Request, err error) {
	var errs [4]error
	r.Again, r.DryRun = f.again, f.dryRun
	r.Filter, errs[0] = f.filter.filter(now)
	r.Filter.Sources, errs[1] = references(args, l.Topics.Rejects)
	if f.waive != "" {
		if r.Waive, errs[2] = validate.ParseReason(f.waive); errs[2] == nil {
			errs[3] = r.Validate()
		}
		if len(r.Filter.Reasons) == 0 && len(args) == 0 {
			r.Filter.Reasons = []validate.Reason{r.Waive}
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return r, usageError{err}
	}
	return r, nil
}

// redriveResult is what gantry dlq redrive prints.
type redriveResult struct {
	DryRun          bool          `json:"dry_run"`
	Selected        int64         `json:"selected"`
	Sent            int64         `json:"sent"` // or would be
	AlreadyRedriven int64         `json:"already_redriven"`
	RejectedAgain   int64         `json:"rejected_again"` // and left alone
	Refused         int64         `json:"refused"`
	Messages        []messageJSON `json:"messages"` // the first 1000
}

// messageJSON says what was decided about one message.
type messageJSON struct {
	Source   string `json:"source"`
	Reason   string `json:"reason"`
	SensorID string `json:"sensor_id"`
	Fate     string `json:"fate"` // sent, already_redriven, rejected_again or refused
	Place    string `json:"place,omitempty"`
	Why      string `json:"why,omitempty"`
}

// messagesKept is how many messages a result tells one by one. All are counted.
const messagesKept = 1000

func (r *redriveResult) add(v deadletter.Verdict) error {
	r.Selected++
	m := messageJSON{
		Source: v.Reject.Source.String(), Reason: v.Reject.Reason.String(), SensorID: v.Reject.SensorID(),
		Fate: string(v.Fate), Why: v.Why,
	}
	if v.Place.Topic != "" {
		m.Place = v.Place.String()
	}
	switch v.Fate {
	case deadletter.FateSent:
		r.Sent++
	case deadletter.FateRedriven:
		r.AlreadyRedriven++
	case deadletter.FateAgain:
		r.RejectedAgain++
	case deadletter.FateRefused:
		r.Refused++
	}
	if len(r.Messages) < messagesKept {
		r.Messages = append(r.Messages, m)
	}
	return nil
}

func (r *redriveResult) String() string {
	var b strings.Builder
	for _, m := range r.Messages {
		fmt.Fprintf(&b, "%s  %s  %s  %s", m.Source, m.Reason, printable(m.SensorID), strings.ReplaceAll(m.Fate, "_", " "))
		if m.Place != "" {
			fmt.Fprintf(&b, " as %s", m.Place)
		}
		if m.Why != "" {
			fmt.Fprintf(&b, ": %s", printable(m.Why))
		}
		b.WriteByte('\n')
	}
	if more := r.Selected - int64(len(r.Messages)); more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	sent := "sent"
	if r.DryRun {
		sent = "would be sent"
	}
	fmt.Fprintf(&b, "%d messages: %d %s, %d redriven before, %d rejected again and left alone, %d refused", r.Selected, r.Sent,
		sent, r.AlreadyRedriven, r.RejectedAgain, r.Refused)
	if r.RejectedAgain > 0 {
		b.WriteString("\nto send again what was redriven like this and rejected again: --again")
	}
	return b.String()
}

var (
	errRefused  = errors.New("not all messages that were named can be redriven")
	errDeclined = errors.New("nothing was sent")
)

func (c *cli) redrive(ctx context.Context, cfg *config.Config, r deadletter.Request, yes bool) error {
	q, err := c.deadLetters(ctx, cfg)
	if err != nil {
		return err
	}
	defer q.close()
	s, err := q.Select(ctx, r.Filter)
	if err != nil {
		return err
	}
	if len(s.Missing) > 0 {
		return fmt.Errorf("%w on %s: %v; nothing was sent", deadletter.ErrNotFound, cfg.Topics.Rejects, s.Missing)
	}
	if c.interactive && !yes && !r.DryRun && s.Rejects > 0 {
		q.quiet()
		if err := c.confirm(ctx, q, s, r); err != nil {
			return err
		}
	}
	result := redriveResult{DryRun: r.DryRun, Messages: []messageJSON{}}
	err = q.Redrive(ctx, s, r, result.add)
	q.quiet()
	if err != nil {
		fmt.Fprintf(c.stderr, "%d messages were sent before that failed\n", result.Sent)
		return err
	}
	if err := c.print(&result, result.String()); err != nil {
		return err
	}
	if result.Refused > 0 && len(r.Filter.Sources) > 0 {
		return errRefused
	}
	return nil
}

// confirm asks whether to send what a dry run would send.
func (c *cli) confirm(ctx context.Context, q *deadLetters, s *deadletter.Selection, r deadletter.Request) error {
	r.DryRun = true
	var plan redriveResult
	if err := q.Redrive(ctx, s, r, plan.add); err != nil {
		return err
	}
	q.quiet()
	if plan.Sent == 0 {
		return nil // the result says why
	}
	fmt.Fprintf(c.stderr, "send %d of %d messages again? [y/N] ", plan.Sent, plan.Selected)
	answer, _ := bufio.NewReader(c.stdin).ReadString('\n') // no answer is a no
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errDeclined
	}
	return nil
}

// waivable lists the reasons that can be waived.
func waivable() []string {
	var names []string
	for _, r := range validate.Reasons() {
		if r.Waivable() {
			names = append(names, r.String())
		}
	}
	return names
}
