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
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API and the pages",
		Args:  args(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			return serve(c.Context(), o, listen, log)
		},
	}
	c.Flags().StringVar(&listen, "listen", env("HOMEWARD_LISTEN", "127.0.0.1:8080"), "address to listen on (HOMEWARD_LISTEN)")
	return c
}

func serve(ctx context.Context, o *options, listen string, log *slog.Logger) (err error) {
	// Take the address first: a second server on the same address fails before it has loaded anything.
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen: %w (choose another address with --listen)", err)
	}
	defer l.Close()
	config := o.config()
	config.Log = log
	f, err := finder.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s, err := server.New(f, log)
	if err != nil {
		return err
	}
	log.Info("listening", "address", "http://"+l.Addr().String())
	// The finder outlives the server: an upload under way when the signal comes is still analysed.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.Run(gctx) })
	g.Go(func() error { return s.Serve(gctx, l) })
	return g.Wait()
}
