package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gantry/cmd/gantry/config"
)

func newConfig(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration and where each value comes from",
		Long: "Prints the effective configuration with the origin of each value; secrets are masked. A value comes from " +
			"a\nflag, else from the environment, else from the file, else it is the default.\n\n" + keyTable(),
		Example: "  gantry config\n  gantry config --config prod.yaml --json\n" +
			"  GANTRY_WINDOW_GRACE=90s gantry config --topics.partitions=12",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := c.load(cmd)
			if err != nil {
				return err
			}
			if !c.json {
				_, err = fmt.Fprint(c.stdout, l.Describe())
				return err
			}
			b, err := l.DescribeJSON()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.stdout, "%s\n", b)
			return err
		},
	}
}

// keyTable documents every key.
func keyTable() string {
	var b strings.Builder
	b.WriteString("Keys of the file; each is also a flag (--KEY) and an environment variable:\n")
	for _, k := range config.Keys() {
		fmt.Fprintf(&b, "\n  %s (%s)\n", k.Name, k.Env())
		fmt.Fprintf(&b, "      %s\n      allowed: %s", k.Doc, k.Allowed)
		if k.Default != "" {
			fmt.Fprintf(&b, "; default: %s", k.Default)
		}
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}
