// Command homeward runs Homeward: the server, and the tools around its registry.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"homeward/finder"
	"homeward/registry"
	"homeward/worker"
)

func main() {
	worker.Hook()
	os.Exit(run())
}

// Exit codes: 0 done, 1 failed, 2 wrong usage.
const (
	exitFailed = 1
	exitUsage  = 2
)

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	c, err := root().ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "homeward:", err)
	var usage usageError
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		fmt.Fprintf(os.Stderr, "Run '%s --help' for how to use it.\n", c.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// options are the flags every command knows.
type options struct {
	data, operatorKey, models, set string
	json                           bool
}

func root() *cobra.Command {
	o := &options{}
	c := &cobra.Command{
		Use:           "homeward",
		Short:         "Face search that brings missing children home",
		Long:          "Homeward finds the cases of missing and found children that may be the same child.\nA score is a lead for people and DNA to settle, never an identification.",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(c *cobra.Command, _ []string) {
			if c.Name() != serveName { // which acts for those who ask it
				c.SetContext(registry.WithActor(c.Context(), operator()))
			}
		},
	}
	p := c.PersistentFlags()
	p.StringVar(&o.data, "data", env("HOMEWARD_DATA", "data"), "the registry's directory (HOMEWARD_DATA)")
	p.StringVar(&o.operatorKey, "operator-key", os.Getenv("HOMEWARD_OPERATOR_KEY"), "file of the operator's key (HOMEWARD_OPERATOR_KEY); by default operator.key in the data directory")
	p.StringVar(&o.models, "models", os.Getenv("HOMEWARD_MODELS"), "directory of the model cards (HOMEWARD_MODELS)")
	p.StringVar(&o.set, "set", os.Getenv("HOMEWARD_SET"), "name of the model set (HOMEWARD_SET), by default \"default\"; a registry keeps its own")
	p.BoolVar(&o.json, "json", false, "print results as JSON")
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{plainly(err)} })
	c.AddCommand(serveCommand(o), facesCommand(o), searchCommand(o), importCommand(o), jobsCommand(o), reindexCommand(o), modelsCommand(o), accountCommand(o), keyCommand(o), reunionCommand(o), regionCommand(o), auditCommand(o), retentionCommand(o), trainCommand(o), evalCommand(o), embedCommand(o), checkCommand(o), repairCommand(o), statsCommand(o), backupCommand(o), restoreCommand(o), crossmatchCommand(o))
	return c
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// serveName is the command that is not the operator's own doing.
const serveName = "serve"

// operator is who a command line acts as: whoever has an account of the machine and can read the registry's folder.
func operator() registry.Actor {
	via := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		via = u.Username
	}
	return registry.Actor{Role: registry.Operator, Via: via}
}

// checkGallery refuses a --gallery that there is not.
func checkGallery(g string) error {
	if g != string(registry.Missing) && g != string(registry.Found) {
		return usageError{fmt.Errorf("--gallery %q: choose missing or found", g)}
	}
	return nil
}

// plainly says what a flag with a number takes.
func plainly(err error) error {
	var n *strconv.NumError
	if !errors.As(err, &n) {
		return err
	}
	want := "a whole number"
	switch n.Func {
	case "ParseFloat":
		want = "a number"
	case "ParseBool":
		want = "true or false"
	}
	if errors.Is(n.Err, strconv.ErrRange) {
		want = "a smaller number"
	}
	return fmt.Errorf("%s: give %s", strings.TrimSuffix(err.Error(), ": "+n.Error()), want)
}

// args checks how many arguments a command got; want says in words what it takes.
func args(least, most int, want string) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		if len(given) < least || most >= 0 && len(given) > most {
			return usageError{fmt.Errorf("%s takes %s: %s", c.Name(), want, c.UseLine())}
		}
		return nil
	}
}

func (o *options) config() finder.Config {
	return finder.Config{Data: o.data, OperatorKey: o.operatorKey, Models: o.models, Set: o.set}
}

// withFinder opens the registry and the models for one command. existing says that there must be a registry already: a
// mistyped directory must not answer like one without a match.
func (o *options) withFinder(ctx context.Context, existing bool, do func(*finder.Finder) error) error {
	config := o.config()
	config.Existing = existing
	return withConfig(ctx, config, do)
}

// withConfig is withFinder of any configuration.
func withConfig(ctx context.Context, config finder.Config, do func(*finder.Finder) error) (err error) {
	f, err := finder.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	warnOfLoss(f.Registry)
	return do(f)
}

// many is a number of things: "1 photo", "2 photos".
func many[N int | int64](n N, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// printJSON prints v for a program to read.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printRows prints a list as JSON, or as a table with a header and a line for each row.
func printRows[T any](w io.Writer, asJSON bool, rows []T, header string, line func(T) string) error {
	if asJSON {
		return printJSON(w, rows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, header)
	for _, r := range rows {
		fmt.Fprintln(t, line(r))
	}
	return t.Flush()
}
