package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"homeward/finder"
	"homeward/server"
)

func serveCommand(o *options) *cobra.Command {
	var listen string
	var web server.Options
	var threshold float64
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API and the pages",
		Args:  args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			web.OIDC.ClientSecret = os.Getenv("HOMEWARD_OIDC_SECRET")
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			return serve(c.Context(), o, listen, threshold, web, log)
		},
	}
	c.Flags().StringVar(&listen, "listen", env("HOMEWARD_LISTEN", "127.0.0.1:8080"), "address to listen on (HOMEWARD_LISTEN)")
	c.Flags().Float64Var(&threshold, "lead-threshold", finder.DefaultLeadThreshold, "log10 of the likelihood ratio from which a pair becomes a lead")
	c.Flags().StringSliceVar(&web.Proxies, "proxy", nil, "address or network of a proxy that is believed about whom it speaks for")
	c.Flags().StringVar(&web.OIDC.Issuer, "oidc-issuer", os.Getenv("HOMEWARD_OIDC_ISSUER"), "address of an OpenID Connect issuer that staff may sign in with (HOMEWARD_OIDC_ISSUER)")
	c.Flags().StringVar(&web.OIDC.ClientID, "oidc-client", os.Getenv("HOMEWARD_OIDC_CLIENT"), "our client id there (HOMEWARD_OIDC_CLIENT); the secret is in HOMEWARD_OIDC_SECRET")
	c.Flags().StringVar(&web.OIDC.Name, "oidc-name", env("HOMEWARD_OIDC_NAME", "OpenID Connect"), "what the button for it says (HOMEWARD_OIDC_NAME)")
	return c
}

func serve(ctx context.Context, o *options, listen string, threshold float64, web server.Options, log *slog.Logger) (err error) {
	// Take the address first: a second server on the same address fails before it has loaded anything.
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen: %w (choose another address with --listen)", err)
	}
	defer l.Close()
	config := o.config()
	config.Log, config.LeadThreshold = log, threshold
	f, err := finder.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s, err := server.New(f, log, web)
	if err != nil {
		return err
	}
	log.Info("listening", "address", "http://"+l.Addr().String())
	// The finder outlives the server: an upload under way when the signal comes is still analysed.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.Run(gctx) })
	g.Go(func() error { return s.Serve(gctx, l) })
	g.Go(func() error { return s.Watch(gctx) })
	return g.Wait()
}
