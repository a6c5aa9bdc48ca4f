package main

import (
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/app"
	"gantry/processors/validate"
)

func newRun(c *cli) *cobra.Command {
	var roles []string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the pipeline on real servers",
		Long: "Runs the pipeline on the Kafka, registry and archive of the configuration until it is told to stop. Partitions\n" +
			"are shared with the other processes of the installation. Topics and subjects that are missing are created.\n" +
			"Give each process an instance name of its own (gantry-0, gantry-1, …) and a state folder.\n\n" +
			"SIGTERM and SIGINT stop it for now: its partitions wait for a restart, as long as its session lasts, 6 s.\n" +
			"SIGUSR1 stops it for good: the other processes take its partitions over at once. With leaveOnStop every stop\n" +
			"is for good.",
		Example: "  gantry run\n  gantry run --roles dedup,window --instance gantry-1 --state.dir /var/lib/gantry/1\n" +
			"  systemctl kill --signal=USR1 --kill-whom=main gantry@1",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := app.ParseRoles(roles)
			if err != nil {
				return usageError{err}
			}
			return c.run(cmd, parsed)
		},
	}
	cmd.Flags().StringSliceVar(&roles, "roles", []string{"dedup", "window", "serve", "archive"},
		"what this process does: dedup, window, serve, archive")
	return cmd
}

func (c *cli) run(cmd *cobra.Command, roles []app.Role) error {
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(c.stderr, nil))
	if slices.Contains(roles, app.RoleArchive) && l.Config.Archive.URL == "" {
		if cmd.Flags().Changed("roles") {
			return usagef("the role archive needs archive.url")
		}
		log.Warn("archive.url is empty: nothing is archived")
	}
	ctx, stop := withLeaving(cmd.Context())
	defer stop()
	a, err := app.New(app.Options{Config: l.Config, Roles: roles, Version: versionText(), Logger: log})
	if err != nil {
		return err
	}
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	log.Info("gantry runs", "roles", strings.Join(names, ","), "http", a.Address(), "instance", l.Instance)
	started := time.Now()
	err = a.Run(ctx)
	log.Info("gantry has stopped", "after", time.Since(started).Round(time.Second).String(), "pipeline", statusLine(a))
	return err
}

func validateReasons() []string {
	var names []string
	for _, r := range validate.Reasons() {
		names = append(names, r.String())
	}
	return names
}

func versionText() string { return buildOf(debug.ReadBuildInfo()).Version }
