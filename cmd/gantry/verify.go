package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/app"
	"gantry/views/ledger"
)

func newVerify(c *cli) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove from the topics that every reading is accounted for once",
		Long: "Reads traffic-raw, traffic-events and traffic-rejects as they are now and proves that each message has exactly\n" +
			"one outcome with its content, that no sequence has a gap, and that each window is what its readings make it. It\n" +
			"prints the range that it proved and every exception with its partition and offset. Exit code 1 says that there\n" +
			"is one. The configuration must be that of the pipeline.",
		Example: "  gantry verify\n  gantry verify --json\n  gantry verify --data gantry-data   # of a gantry dev that does not run",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.verify(cmd, data) },
	}
	cmd.Flags().StringVar(&data, "data", "", "data folder of a gantry dev that does not run")
	return cmd
}

// errLedger says that the ledger has an exception; the report has been printed.
var errLedger = errors.New("the ledger does not add up")

func (c *cli) verify(cmd *cobra.Command, data string) error {
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	cfg := l.Config
	if data != "" {
		if _, err := os.Stat(data); err != nil { // a server would make the folder, and prove nothing
			return fmt.Errorf("data folder: %w", err)
		}
		e, err := app.StartEmbedded(app.EmbeddedOptions{Dir: data, KafkaAddr: "127.0.0.1:0", RegistryAddr: "127.0.0.1:0"})
		if err != nil {
			return err
		}
		defer e.Close()
		cfg.Kafka.Brokers, cfg.Registry.URL = e.Kafka.ListenAddrs(), e.Registry.URL()
	}
	k, err := app.KafkaOf(&cfg)
	if err != nil {
		return usageError{err}
	}
	client, err := app.RegistryOf(&cfg)
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	ctx := cmd.Context()
	adm, err := c.admin(ctx, k)
	if err != nil {
		return err
	}
	adm.Close()

	report, err := c.proof(ctx, app.VerifyOptions(&cfg, k, client))
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		return err
	}
	if err := c.print(report, strings.TrimRight(text.String(), "\n")); err != nil {
		return err
	}
	if !report.OK() {
		return errLedger
	}
	return nil
}

// proof verifies, with a bar for each topic that is read.
func (c *cli) proof(ctx context.Context, o ledger.VerifyOptions) (*ledger.Report, error) {
	var stage string
	var done atomic.Int64
	stop := func() {}
	defer func() { stop() }()
	o.Progress = func(s string, n, total int64) {
		if s != stage {
			stop()
			stage = s
			done.Store(0)
			stop = c.progress(s, "records", total, done.Load)
		}
		done.Store(n)
	}
	return ledger.Verify(ctx, o)
}

// warnings is a log of what a user of a command should know.
func (c *cli) warnings() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
