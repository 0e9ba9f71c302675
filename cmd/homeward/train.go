package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"homeward/finder"
	"homeward/labelled"
	"homeward/match"
	"homeward/models"
)

// training is what `train` was asked for.
type training struct {
	manifests, calibrate, ages []string
	from                       string
	registry                   bool
	terms                      map[string]string
	notes                      string
	out, cache                 string
}

func trainCommand(o *options) *cobra.Command {
	var (
		t     = training{terms: map[string]string{}}
		terms []string
	)
	c := &cobra.Command{
		Use:   "train [MANIFEST...]",
		Short: "Fit the metric from labelled photos, or from confirmed reunions",
		Long: `Fit the metric of the model set from CSV manifests with the columns path, subject, age, side, from the registry's reunions that
DNA has confirmed (--registry), or from both. Ageing is learned from people with photos years apart: five years or more by
their ages, or one on each side (young, old).

A calibration needs people whom neither the metric nor the recognisers were trained on: name them with --calibrate. Where the
recognisers know everyone, take the calibration of another metric file with --calibration-from. With neither, a fifth of
the people is left out in turn.

The result takes the place of models/metrics/SET.json; at the next start all templates are made again from the stored
embeddings, without looking at a photo.`,
		Args: args(0, -1, "manifests"),
		RunE: func(c *cobra.Command, manifests []string) error {
			t.manifests = manifests
			for _, term := range terms {
				set, text, ok := strings.Cut(term, "=")
				if !ok {
					return usageError{fmt.Errorf("--terms %q: write SET=TERMS", term)}
				}
				t.terms[set] = text
			}
			switch {
			case len(manifests) == 0 && !t.registry:
				return usageError{errors.New("train takes one manifest or more, or --registry")}
			case len(t.calibrate) > 0 && t.from != "":
				return usageError{errors.New("--calibrate and --calibration-from: choose one")}
			case t.from != "" && len(t.ages) > 0:
				return usageError{errors.New("--ages and --calibration-from: choose one; the other metric's calibration comes with its own ages")}
			}
			return train(c, o, t)
		},
	}
	f := c.Flags()
	f.StringVar(&t.out, "out", "metric.json", "file to write")
	f.StringSliceVar(&t.calibrate, "calibrate", nil, "manifests of other people, to calibrate on")
	f.StringSliceVar(&t.ages, "ages", nil, "manifests of faces of known age, to learn how far looks can be trusted")
	f.StringVar(&t.from, "calibration-from", "", "metric file whose calibration is taken")
	f.BoolVar(&t.registry, "registry", false, "use the confirmed reunions of the registry (--data)")
	f.StringArrayVar(&terms, "terms", nil, "terms of use of a set, by its folder, for the record: --terms 'lag=research, no redistribution'")
	f.StringVar(&t.notes, "notes", "", "a note for the metric's card")
	cacheFlag(c, &t.cache)
	return c
}

func train(c *cobra.Command, o *options, t training) error {
	cat, set, err := finder.LoadSet(o.config())
	if err != nil {
		return err
	}
	var calibration match.Fitted
	if t.from != "" {
		if calibration, err = match.ReadFitted(t.from); err != nil {
			return err
		}
	}
	rows, err := readManifests(t.manifests)
	if err != nil {
		return err
	}
	others, err := readManifests(t.calibrate)
	if err != nil {
		return err
	}
	if err := apartFrom(rows, others); err != nil {
		return err
	}
	all, err := samples(c, cat, set, slices.Concat(rows, others), t.cache, false)
	if err != nil {
		return err
	}
	aged, err := t.aged(c, cat, set)
	if err != nil {
		return err
	}
	learn, calibrate := usable(all[:len(rows)]), usable(all[len(rows):])
	left := len(all) - len(learn) - len(calibrate)
	var reunited []match.Sample
	command := []string{"homeward train"}
	if t.registry {
		reunited, err = finder.ReunionSamples(c.Context(), o.config(), set)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.ErrOrStderr(), "%d photos of confirmed reunions\n", len(reunited))
		learn = append(learn, reunited...)
		command = append(command, "--registry")
	}
	recognisers := finder.Recognisers(set)
	var f match.Fitted
	if t.from != "" {
		f, err = match.FitTemplates(set.Metric, recognisers, learn, calibration)
		command = append(command, "--calibration-from", filepath.Base(t.from))
	} else {
		f, err = match.Fit(set.Metric, recognisers, learn, calibrate, aged)
	}
	if err != nil {
		return err
	}
	f.Card = match.Card{
		Date: time.Now().UTC().Format(time.DateOnly), Notes: t.notes,
		Training: dataOf(t.manifests, rows, all[:len(rows)], t.terms), Calibration: dataOf(t.calibrate, others, all[len(rows):], t.terms),
	}
	if t.registry {
		f.Card.Training = append(f.Card.Training, match.Data{Name: "confirmed reunions of the registry", Photos: len(reunited)})
	}
	if t.from != "" {
		f.Card.Calibration, f.Card.Ages = calibration.Card.Calibration, calibration.Card.Ages
	}
	for _, m := range t.manifests {
		command = append(command, nameOf(m))
	}
	for _, m := range t.calibrate {
		command = append(command, "--calibrate", nameOf(m))
	}
	for _, m := range t.ages {
		command = append(command, "--ages", nameOf(m))
		f.Card.Ages = append(f.Card.Ages, match.Data{Name: nameOf(m), Terms: t.terms[filepath.Base(filepath.Dir(m))], Photos: len(aged)})
	}
	f.Card.Command = strings.Join(command, " ")
	if err := writeFile(t.out, func(w io.Writer) error { return f.Write(w) }); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: fitted on %d faces, calibrated on %d; %d of %d photos left out (no face, or none that a recogniser could work on)\n",
		t.out, len(learn), len(calibrate), left, len(all))
	return nil
}

// aged are the faces of known age that the age model is fitted on. No recogniser has to look at them.
func (t training) aged(c *cobra.Command, cat *models.Catalogue, set models.Set) ([]match.Sample, error) {
	if len(t.ages) == 0 {
		return nil, nil
	}
	rows, err := readManifests(t.ages)
	if err != nil {
		return nil, err
	}
	set.Recognisers = nil
	all, err := samples(c, cat, set, rows, t.cache, false)
	if err != nil {
		return nil, err
	}
	var out []match.Sample
	for _, s := range all {
		if s.Problem == "" && s.Age >= 0 {
			out = append(out, matchSample(s))
		}
	}
	return out, nil
}

// nameOf names a set by its folder and its file.
func nameOf(manifest string) string {
	return filepath.Join(filepath.Base(filepath.Dir(manifest)), filepath.Base(manifest))
}

// apartFrom makes sure that no photo calibrates what it taught.
func apartFrom(rows, others []labelled.Row) error {
	taught := make(map[string]bool, len(rows))
	for _, r := range rows {
		taught[filepath.Clean(r.Path)] = true
	}
	for _, r := range others {
		if taught[filepath.Clean(r.Path)] {
			return fmt.Errorf("line %d, %s is in the training and in the calibration: a calibration on people who were learned from promises too much; name other people", r.Line, r.Path)
		}
	}
	return nil
}

// dataOf counts what was used of each manifest.
func dataOf(manifests []string, rows []labelled.Row, all []labelled.Sample, terms map[string]string) []match.Data {
	out := []match.Data{}
	at := 0
	for _, m := range manifests {
		d := match.Data{Name: nameOf(m)}
		d.Terms = terms[filepath.Base(filepath.Dir(m))]
		subjects := map[string]bool{}
		for at < len(rows) && rows[at].Manifest == m {
			if all[at].Problem == "" {
				d.Photos++
				subjects[rows[at].Subject] = true
			}
			at++
		}
		d.Subjects = len(subjects)
		out = append(out, d)
	}
	return out
}
