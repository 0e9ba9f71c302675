package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"homeward/engine"
	"homeward/finder"
	"homeward/labelled"
	"homeward/match"
	"homeward/models"
)

func trainCommand(o *options) *cobra.Command {
	var out, terms string
	c := &cobra.Command{
		Use:   "train MANIFEST...",
		Short: "Fit the metric from labelled photos",
		Long: `Fit what the metric needs of the recognisers, from CSV manifests with the columns path, subject, age, side.
Photos with no face or several are left out and counted. The result replaces models/metrics/default.json once you put it there.`,
		Args: args(1, -1, "one manifest or more"),
		RunE: func(c *cobra.Command, manifests []string) error {
			return train(c, o, manifests, out, terms)
		},
	}
	c.Flags().StringVar(&out, "out", "metric.json", "file to write")
	c.Flags().StringVar(&terms, "terms", "", "terms of use of the photos, for the record")
	return c
}

func train(c *cobra.Command, o *options, manifests []string, out, terms string) (err error) {
	ctx := c.Context()
	made := match.Made{Date: time.Now().UTC().Format(time.DateOnly), Command: "homeward train " + strings.Join(manifests, " ")}
	var photos []labelled.Row
	for _, m := range manifests {
		rows, err := labelled.ReadManifest(m)
		if err != nil {
			return err
		}
		// Subjects of two sets are different people even where their labels agree.
		for i := range rows {
			rows[i].Subject = m + "/" + rows[i].Subject
		}
		photos = append(photos, rows...)
		data := filepath.Base(filepath.Dir(m))
		if terms != "" {
			data += " (" + terms + ")"
		}
		made.Data = append(made.Data, data)
	}
	e, err := finder.OpenEngine(ctx, o.config())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	embeddings, used, err := embedAll(ctx, c, e, photos)
	if err != nil {
		return err
	}
	subjects := map[string]bool{}
	f := match.Fitted{Name: "default", Kind: match.KindFusedCosine, Centres: map[string][]float32{}}
	for name, bySubject := range embeddings {
		centre, err := match.FitCentre(bySubject)
		if err != nil {
			return fmt.Errorf("recogniser %s: %w", name, err)
		}
		if centre != nil {
			f.Centres[recogniser(e.Set(), name).Fingerprint()] = centre
		}
		for s := range maps.Keys(bySubject) {
			subjects[s] = true
		}
	}
	made.Photos, made.Subjects = used, len(subjects)
	f.Made = made
	raw, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the metric: %w", err)
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: fitted on %d photos of %d subjects; %d of %d photos left out (no face or several)\n",
		out, used, len(subjects), len(photos)-used, len(photos))
	return nil
}

func recogniser(set models.Set, name string) models.Card {
	i := slices.IndexFunc(set.Recognisers, func(c models.Card) bool { return c.Name == name })
	return set.Recognisers[i]
}

// embedAll analyses the photos and gathers, for each recogniser, the embeddings of each subject.
func embedAll(ctx context.Context, c *cobra.Command, e *engine.Engine, photos []labelled.Row) (map[string]map[string][][]float32, int, error) {
	var mu sync.Mutex
	all := map[string]map[string][][]float32{}
	used := 0
	bar := progressbar.NewOptions(len(photos), progressbar.OptionSetWriter(c.ErrOrStderr()), progressbar.OptionSetDescription("photos"),
		progressbar.OptionShowIts(), progressbar.OptionShowCount(), progressbar.OptionThrottle(time.Second))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range photos {
		g.Go(func() error {
			_, a, err := analyseFile(ctx, e, p.Path)
			var unusable *engine.PhotoError
			if err != nil && !errors.As(err, &unusable) {
				return fmt.Errorf("line %d, %s: %w", p.Line, p.Path, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err := bar.Add(1); err != nil {
				return err
			}
			if err != nil || len(a.Faces) != 1 {
				return nil
			}
			used++
			for _, v := range a.Faces[0].Embeddings {
				if v.Vector == nil {
					continue
				}
				if all[v.Recogniser] == nil {
					all[v.Recogniser] = map[string][][]float32{}
				}
				all[v.Recogniser][p.Subject] = append(all[v.Recogniser][p.Subject], v.Vector)
			}
			return nil
		})
	}
	err := errors.Join(g.Wait(), bar.Finish())
	return all, used, err
}
