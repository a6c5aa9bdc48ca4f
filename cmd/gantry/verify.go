package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/app"
	"gantry/cmd/gantry/config"
	"gantry/store/archive"
	"gantry/views/ledger"
)

func newVerify(c *cli) *cobra.Command {
	var data string
	var archived bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove from the topics, and the archive, that every reading is accounted for once",
		Long: "Reads traffic-raw, traffic-events and traffic-rejects as they are now and proves that each message has exactly\n" +
			"one outcome with its content, that no sequence has a gap, and that each window is what its readings make it. It\n" +
			"prints the range that it proved and every exception with its partition and offset. Exit code 1 says that there\n" +
			"is one. The configuration must be that of the pipeline.\n\n" +
			"With --archive it also compares every row of the archive's Parquet files at archive.url with traffic-events, as\n" +
			"far as the archive says that it has come.",
		Example: "  gantry verify\n  gantry verify --json\n  gantry verify --archive --archive.url hdfs://namenode:8020/traffic-data\n" +
			"  gantry verify --data gantry-data --archive   # of a gantry dev that does not run",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.verify(cmd, data, archived) },
	}
	cmd.Flags().StringVar(&data, "data", "", "data folder of a gantry dev that does not run")
	cmd.Flags().BoolVar(&archived, "archive", false, "compare the archive too")
	return cmd
}

// errLedger says that the ledger has an exception; the report has been printed.
var errLedger = errors.New("the ledger does not add up")

func (c *cli) verify(cmd *cobra.Command, data string, archived bool) error {
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	cfg := l.Config
	var files archive.FS // nil: the topics alone
	if archived {
		if _, files, err = openArchive(l, data); err != nil {
			return err
		}
		defer files.Close()
	}
	stop, err := embed(&cfg, data)
	if err != nil {
		return err
	}
	defer stop()
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
	if err := c.reach(ctx, k); err != nil {
		return err
	}

	report, err := c.proof(ctx, app.VerifyOptions(&cfg, k, client), files)
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

// proof verifies the topics, and the archive where there is one, with a bar for each stage.
func (c *cli) proof(ctx context.Context, o ledger.VerifyOptions, files archive.Reader) (*ledger.Report, error) {
	tell, stop := c.stages("records")
	o.Progress = tell
	defer stop()
	report, err := ledger.Verify(ctx, o)
	if err != nil || files == nil {
		return report, err
	}
	compared, err := ledger.VerifyArchive(ctx, o, files)
	if err != nil {
		return nil, err
	}
	report.AddArchive(compared)
	return report, nil
}

// embed starts the embedded servers of a data folder and points the configuration to them; where there is none it does
// nothing.
func embed(cfg *config.Config, data string) (stop func(), err error) {
	if data == "" {
		return func() {}, nil
	}
	if _, err := os.Stat(filepath.Join(data, app.KafkaDir)); err != nil { // a server would make it, and prove nothing
		return nil, fmt.Errorf("data folder: %w", err)
	}
	e, err := app.StartEmbedded(app.EmbeddedOptions{Dir: data, KafkaAddr: "127.0.0.1:0", RegistryAddr: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	cfg.Kafka.Brokers, cfg.Registry.URL = e.Kafka.ListenAddrs(), e.Registry.URL()
	return e.Close, nil
}

// openArchive opens the archive of the configuration, or that of a data folder, and returns its URL.
func openArchive(l *config.Loaded, data string) (url string, files archive.FS, err error) {
	url = l.Config.Archive.URL
	if data != "" && l.Origin("archive.url") == config.OriginDefault {
		dir, err := filepath.Abs(filepath.Join(data, "archive"))
		if err != nil {
			return "", nil, err
		}
		url = "file://" + filepath.ToSlash(dir)
	}
	if url == "" {
		return "", nil, usageError{errors.New("no archive is named: set archive.url, or --data with a folder that has one")}
	}
	if dir, ok := strings.CutPrefix(url, "file://"); ok {
		if _, err := os.Stat(strings.TrimPrefix(dir, "localhost")); err != nil { // opening makes the folder
			return "", nil, fmt.Errorf("archive.url: %w", err)
		}
	}
	a := l.Config.Archive
	a.URL = url
	if files, err = app.OpenArchive(&a); err != nil {
		return "", nil, fmt.Errorf("archive.url: %w", err)
	}
	return url, files, nil
}

// warnings is a log of what a user of a command should know.
func (c *cli) warnings() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
