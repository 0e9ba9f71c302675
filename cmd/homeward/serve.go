package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"homeward/finder"
	"homeward/jobs"
	"homeward/server"
)

func serveCommand(o *options) *cobra.Command {
	var listen string
	var web server.Options
	var threshold float64
	var logFormat, logLevel string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API and the pages",
		Args:  args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			web.OIDC.ClientSecret = os.Getenv("HOMEWARD_OIDC_SECRET")
			log, err := newLog(os.Stderr, logFormat, logLevel)
			if err != nil {
				return usageError{err}
			}
			return serve(c.Context(), o, listen, threshold, web, log)
		},
	}
	c.Flags().StringVar(&listen, "listen", env("HOMEWARD_LISTEN", "127.0.0.1:8080"), "address to listen on (HOMEWARD_LISTEN)")
	c.Flags().Float64Var(&threshold, "lead-threshold", finder.DefaultLeadThreshold, "log10 of the likelihood ratio from which a pair becomes a lead")
	c.Flags().StringVar(&logFormat, "log-format", env("HOMEWARD_LOG_FORMAT", "text"), "form of the log on standard error: text or json (HOMEWARD_LOG_FORMAT)")
	c.Flags().StringVar(&logLevel, "log-level", env("HOMEWARD_LOG_LEVEL", "info"), "least that is logged: debug, info, warn or error (HOMEWARD_LOG_LEVEL)")
	c.Flags().StringSliceVar(&web.Proxies, "proxy", nil, "address or network of a proxy that is believed about whom it speaks for")
	c.Flags().StringVar(&web.OIDC.Issuer, "oidc-issuer", os.Getenv("HOMEWARD_OIDC_ISSUER"), "address of an OpenID Connect issuer that staff may sign in with (HOMEWARD_OIDC_ISSUER)")
	c.Flags().StringVar(&web.OIDC.ClientID, "oidc-client", os.Getenv("HOMEWARD_OIDC_CLIENT"), "our client id there (HOMEWARD_OIDC_CLIENT); the secret is in HOMEWARD_OIDC_SECRET")
	c.Flags().StringVar(&web.OIDC.Name, "oidc-name", env("HOMEWARD_OIDC_NAME", "OpenID Connect"), "what the button for it says (HOMEWARD_OIDC_NAME)")
	return c
}

// newLog is the log of a server. It holds ids, routes, states and how long things took, never a name, a place, a file's name or what was
// searched for.
func newLog(w io.Writer, format, level string) (*slog.Logger, error) {
	var o slog.HandlerOptions
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: choose debug, info, warn or error", level)
	}
	o.Level = least
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &o)), nil
	}
	return nil, fmt.Errorf("--log-format %q: choose text or json", format)
}

func serve(ctx context.Context, o *options, listen string, threshold float64, web server.Options, log *slog.Logger) (err error) {
	// Take the address first: a second server on the same address fails before it has loaded anything.
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen: %w (choose another address with --listen)", err)
	}
	defer l.Close()
	config := o.config()
	config.Log, config.LeadThreshold, config.GoOver = log, threshold, true
	f, err := finder.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if l := f.Registry.Loss(); l != nil {
		level := slog.LevelWarn
		if l.Known {
			level = slog.LevelError
		}
		log.Log(ctx, level, "registry: "+l.String())
	}
	s, err := server.New(f, log, web)
	if err != nil {
		return err
	}
	log.Info("listening", "address", "http://"+l.Addr().String())
	bulk := jobs.Runner{Registry: f.Registry, Handlers: handlers(o, f), Log: log}
	// When the signal comes, all of these stop taking up work and end what they have: requests under way finish, uploads with their
	// analysis; queued photos under way and jobs finish or are handed back. Only then are the indexes, the workers and, last, the registry
	// closed, so that everything until then can still be stored.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.Run(gctx) })
	g.Go(func() error { return s.Serve(gctx, l) })
	g.Go(func() error { return s.Watch(gctx) })
	g.Go(func() error { return bulk.Run(gctx) })
	g.Go(func() error {
		<-gctx.Done()
		if ctx.Err() != nil {
			log.Info("stopping: requests, photos and jobs under way are finished or handed back; a second signal ends the process at once")
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}
