package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gantry/cmd/gantry/config"
	"gantry/cmd/gantry/progress"
)

// Exit codes of every command.
const (
	exitDone = iota
	exitFailed
	exitUsage // bad usage or configuration
)

// environment is what the process was started with.
type environment struct {
	args, environ  []string
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // stderr is one, so that progress may be a bar
	interactive    bool // stdin is one, so that a question has an answer
}

// cli is what the commands share.
type cli struct {
	environment
	file  string // --config
	json  bool   // --json
	began bool   // the command line is in order and its command runs
	lost  error  // help was asked for a command that does not exist
}

// commands are all of Gantry's, in the order of `gantry --help`. Each has a file of its own.
var commands = []func(*cli) *cobra.Command{
	newDev,
	newRun,
	newReplay,
	newSimulate,
	newTopics,
	newSensors,
	newMembers,
	newVerify,
	newArchive,
	newDLQ,
	newConfig,
	newVersion,
}

// execute runs a command line and returns its exit code.
func execute(ctx context.Context, env environment) int {
	c := &cli{environment: env}
	root := c.newRoot()
	root.SetArgs(env.args)
	err := errors.Join(root.ExecuteContext(ctx), c.lost)
	switch {
	case err == nil:
		return exitDone
	case !c.began || errors.As(err, new(usageError)) || errors.As(err, new(config.Problems)):
		fmt.Fprintf(env.stderr, "gantry: %v\n", err)
		return exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(env.stderr, "gantry: stopped")
		return exitFailed
	default:
		fmt.Fprintf(env.stderr, "gantry: %v\n", err)
		return exitFailed
	}
}

// usageError is a mistake of the user that shows only when a command runs: a flag's value, or a missing subcommand.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func (c *cli) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "gantry",
		Short: "A stream processor for road-traffic sensors",
		Long: "Gantry reads the readings of road sensors from Kafka, rejects the bad ones with a reason, folds the rest " +
			"into\nwindows, serves and archives them, and accounts for each exactly once.",
		Example:           "  gantry dev\n  gantry dev --input los_speed.csv\n  gantry verify",
		SilenceErrors:     true, // execute prints them
		SilenceUsage:      true,
		PersistentPreRunE: func(*cobra.Command, []string) error { c.began = true; return nil },
	}
	group(root)
	c.checkHelp(root)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.PersistentFlags().StringVar(&c.file, "config", "", "configuration file (default gantry.yaml if there is one)")
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print results as JSON")
	config.AddFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(usageTemplate(root.UsageTemplate()))
	for _, command := range commands {
		root.AddCommand(command(c))
	}
	describeCompletion(root)
	describeHelp(root)
	return root
}

// describeHelp makes cobra's help command refuse a command that does not exist, where cobra would describe the group
// that lacks it, and succeed.
func describeHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		panic(err) // cobra did not add it
	}
	help.Example = "  gantry help sensors load"
	help.RunE = func(_ *cobra.Command, args []string) error {
		about, rest, err := root.Find(args)
		if err == nil && about.HasSubCommands() {
			err = about.ValidateArgs(rest)
		}
		if err != nil {
			return usageError{err}
		}
		return about.Help()
	}
}

// describeCompletion makes cobra's completion command behave as the others: with examples, and an unknown shell is a
// mistake.
func describeCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil {
		panic(err) // cobra did not add it
	}
	completion.Example = "  source <(gantry completion bash)\n  gantry completion fish | source"
	group(completion)
	for shell, example := range map[string]string{
		"bash":       "  gantry completion bash > /etc/bash_completion.d/gantry",
		"zsh":        `  gantry completion zsh > "${fpath[1]}/_gantry"`,
		"powershell": "  gantry completion powershell | Out-String | Invoke-Expression",
		"fish":       "  gantry completion fish > ~/.config/fish/completions/gantry.fish",
	} {
		cmd, _, err := completion.Find([]string{shell})
		if err != nil {
			panic(err)
		}
		cmd.Example = example
	}
}

// group makes a command that only holds others: alone it is a mistake, and so is a subcommand that it does not have.
func group(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		near := cmd.SuggestionsFor(args[0])
		if len(near) == 0 {
			return fmt.Errorf("%s has no command %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())
		}
		return fmt.Errorf("%s has no command %q; did you mean %s?", cmd.CommandPath(), args[0], strings.Join(near, ", "))
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		fmt.Fprint(cmd.ErrOrStderr(), cmd.UsageString())
		return usagef("%s needs a command", cmd.CommandPath())
	}
}

// checkHelp makes --help behind a command that does not exist the mistake that it is without it: cobra would describe
// the group that lacks it, and succeed.
func (c *cli) checkHelp(root *cobra.Command) {
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd.HasSubCommands() {
			if c.lost = cmd.ValidateArgs(cmd.Flags().Args()); c.lost != nil {
				return
			}
		}
		help(cmd, args)
	})
}

// flagError adds the nearest flag to the error about an unknown one.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near, ok := config.Nearest(unknown.GetSpecifiedName(), names); ok {
		return fmt.Errorf("%w; did you mean --%s?", err, near)
	}
	return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
}

// usageTemplate is cobra's, without the 40 flags that each configuration key is: they would bury a command's own.
func usageTemplate(cobras string) string {
	const global = `Global Flags:
      --config string   configuration file (default gantry.yaml if there is one)
      --json            print results as JSON
Each configuration key is a flag, too: see gantry config --help.`
	t := strings.ReplaceAll(cobras, ".LocalFlags.FlagUsages", ".LocalNonPersistentFlags.FlagUsages")
	t = strings.ReplaceAll(t, "{{if .HasAvailableInheritedFlags}}", "{{if true}}")
	return strings.ReplaceAll(t,
		"Global Flags:\n{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}", global)
}

// load reads the configuration of a command.
func (c *cli) load(cmd *cobra.Command) (*config.Loaded, error) {
	l, err := config.Load(config.Sources{File: c.file, Environ: c.environ, Flags: cmd.Flags()})
	if err != nil {
		return nil, usageError{err}
	}
	return l, nil
}

// print writes a result: v with --json, else text.
func (c *cli) print(v any, text string) error {
	if !c.json {
		_, err := fmt.Fprintln(c.stdout, text)
		return err
	}
	e := json.NewEncoder(c.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// progress reports long work on stderr, so that stdout holds the result alone. The returned function ends it.
func (c *cli) progress(title, unit string, total int64, done func() int64) (stop func()) {
	return c.reporter(title, unit, total).Watch(done)
}

// stages reports work that tells its stages itself, a bar for each. The second function ends the last one; it may be
// called again.
func (c *cli) stages(unit string) (tell func(stage string, done, total int64), stop func()) {
	var stage string
	var count atomic.Int64
	end := func() {}
	tell = func(s string, done, total int64) {
		if s != stage {
			end()
			stage = s
			count.Store(0)
			end = c.progress(s, unit, total, count.Load)
		}
		count.Store(done)
	}
	return tell, func() {
		end()
		end = func() {}
	}
}

func (c *cli) reporter(title, unit string, total int64) *progress.Reporter {
	return progress.Start(progress.Options{
		Writer: c.stderr, Terminal: c.terminal, Title: title, Unit: unit, Total: total, Now: time.Now,
	})
}
