package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"homeward/labelled"
	"homeward/match"
	"homeward/models"
)

// cacheFlag adds the flag that says where embeddings of labelled photos are kept.
func cacheFlag(c *cobra.Command, path *string) {
	c.Flags().StringVar(path, "cache", "", "file that keeps embeddings between runs; by default under XDG_CACHE_HOME or ~/.cache")
}

func openCache(ctx context.Context, path string) (*labelled.Cache, error) {
	if path == "" {
		var err error
		if path, err = labelled.DefaultCache(); err != nil {
			return nil, err
		}
	}
	return labelled.OpenCache(ctx, path)
}

// readManifests reads labelled sets as one. Subjects of two manifests are different people even where their labels agree.
func readManifests(paths []string) ([]labelled.Row, error) {
	var all []labelled.Row
	for _, path := range paths {
		rows, err := labelled.ReadManifest(path)
		if err != nil {
			return nil, err
		}
		if len(paths) > 1 {
			for i := range rows {
				rows[i].Subject = path + "/" + rows[i].Subject
			}
		}
		all = append(all, rows...)
	}
	return all, checkThere(all)
}

// samples looks at labelled photos with a progress bar.
func samples(c *cobra.Command, cat *models.Catalogue, set models.Set, rows []labelled.Row, cachePath string, chips bool) (_ []labelled.Sample, err error) {
	if err := cat.VerifySet(c.Context(), set); err != nil {
		return nil, err
	}
	cache, err := openCache(c.Context(), cachePath)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cache.Close()) }()
	bar := progressbar.NewOptions(len(rows), progressbar.OptionSetWriter(c.ErrOrStderr()), progressbar.OptionSetDescription("photos"),
		progressbar.OptionShowIts(), progressbar.OptionShowCount(), progressbar.OptionThrottle(time.Second), progressbar.OptionOnCompletion(func() {
			fmt.Fprintln(c.ErrOrStderr())
		}))
	s := labelled.Sampler{Catalogue: cat, Set: set, Cache: cache, Chips: chips, Progress: func() { _ = bar.Add(1) }}
	return s.Samples(c.Context(), rows)
}

// usable are the samples with a face that some recogniser could work on.
func usable(all []labelled.Sample) []match.Sample {
	var out []match.Sample
	for _, s := range all {
		if s.Problem == "" && len(s.Embeddings) > 0 {
			out = append(out, matchSample(s))
		}
	}
	return out
}

func matchSample(s labelled.Sample) match.Sample {
	return match.Sample{
		Subject: s.Subject, Age: s.Age, Side: s.Side, Looks: s.AgeYears, LooksSD: s.AgeSD, Quality: s.Quality, Embeddings: s.Embeddings,
	}
}

// checkThere makes sure that all photos of a manifest exist, before hours are spent on the others.
func checkThere(rows []labelled.Row) error {
	var missing int
	var first labelled.Row
	for _, r := range rows {
		if _, err := os.Stat(r.Path); errors.Is(err, os.ErrNotExist) {
			if missing == 0 {
				first = r
			}
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("manifest %s, line %d: there is no %s (%d of its photos are missing): paths are relative to the manifest", first.Manifest, first.Line, first.Path, missing)
	}
	return nil
}
