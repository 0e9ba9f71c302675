package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"homeward/engine"
	"homeward/evaluation"
	"homeward/finder"
	"homeward/labelled"
	"homeward/match"
	"homeward/models"
)

func evalCommand(o *options) *cobra.Command {
	var e evaluating
	c := &cobra.Command{
		Use:   "eval MANIFEST",
		Short: "Measure how well the metric and each recogniser find people across age",
		Long: `Measure, on a labelled set (columns path, subject, age, side), how well people are verified and found: the metric beside the plain
cosine of each recogniser and of all of them fused. Writes DIR/evaluation.json and DIR/evaluation.html.

With --folds the metric is fitted anew on the other folds' people for each fold, so that a set it was trained on can be
measured; recognisers are used as they are.`,
		Args: args(1, 1, "one manifest"),
		RunE: func(c *cobra.Command, given []string) error {
			if e.folds == 1 || e.folds < 0 {
				return usageError{errors.New("--folds: choose two or more, or 0 for none")}
			}
			if e.bootstrap < 0 {
				return usageError{errors.New("--bootstrap: choose a number of resamples, or 0 for no intervals")}
			}
			return e.run(c, o, given[0])
		},
	}
	f := c.Flags()
	f.StringVar(&e.out, "out", "evaluation", "folder to write to")
	f.IntVar(&e.folds, "folds", 0, "fit the metric anew for each of so many folds of people; 0: use the model set's metric")
	f.StringSliceVar(&e.distractors, "distractors", nil, "manifests of strangers who stand in the galleries")
	f.IntVar(&e.bootstrap, "bootstrap", 200, "resamples of the people for 95 % intervals; 0 for none")
	f.Uint64Var(&e.seed, "seed", 1, "seed of the resamples")
	f.StringVar(&e.pairs, "pairs", "", "list of pairs as LFW has it: measure only how many are told right, by its folds")
	f.BoolVar(&e.thumbnails, "photos-in-report", false, "put thumbnails of the hardest pairs into the report; keep such a report as private as the photos")
	cacheFlag(c, &e.cache)
	return c
}

type evaluating struct {
	out, cache  string
	pairs       string
	folds       int
	distractors []string
	bootstrap   int
	seed        uint64
	thumbnails  bool
}

func (e evaluating) run(c *cobra.Command, o *options, manifest string) error {
	cat, set, err := finder.LoadSet(o.config())
	if err != nil {
		return err
	}
	metric, err := finder.MetricFor(cat.Dir(), set)
	if err != nil {
		return err
	}
	rows, err := readManifests([]string{manifest})
	if err != nil {
		return err
	}
	if e.pairs != "" {
		if rows, err = e.paired(rows); err != nil {
			return err
		}
	}
	strangers, err := readManifests(e.distractors)
	if err != nil {
		return err
	}
	all, err := samples(c, cat, set, append(rows, strangers...), e.cache, false)
	if err != nil {
		return err
	}
	photos := make([]evaluation.Photo, len(all))
	for i, s := range all {
		photos[i] = evaluation.Photo{
			Name: s.Name, Path: s.Path, Subject: s.Subject, Age: s.Age, Side: s.Side, Looks: s.AgeYears, Quality: s.Quality, Problem: s.Problem,
		}
		if s.Problem == "" && len(s.Embeddings) == 0 {
			photos[i].Problem = "no recogniser could work on the face"
		}
		if i >= len(rows) { // a stranger may bear the name of someone in the set, or of another stranger
			photos[i].Subject = "stranger " + strconv.Itoa(i)
		}
	}
	if e.pairs != "" {
		return e.accuracy(c.OutOrStdout(), photos, comparers(metric, set, all))
	}
	options := evaluation.Options{Set: nameOf(manifest), Seed: e.seed, Bootstrap: e.bootstrap}
	for i := len(rows); i < len(all); i++ {
		options.Distractors = append(options.Distractors, i)
	}
	ctx := c.Context()
	var result *evaluation.Result
	if e.folds == 0 {
		result, err = evaluation.Run(ctx, photos, comparers(metric, set, all), options)
	} else {
		result, err = evaluation.RunFolds(ctx, photos, e.folds, func(_ context.Context, fold int, train []int) ([]evaluation.Comparer, error) {
			fmt.Fprintf(c.ErrOrStderr(), "fold %d of %d: fitting the metric on the others' photos\n", fold+1, e.folds)
			var learn []match.Sample
			for _, i := range train {
				if i < len(rows) && photos[i].Problem == "" {
					learn = append(learn, matchSample(all[i]))
				}
			}
			f, err := match.FitTemplates(set.Metric, finder.Recognisers(set), learn, metric.Fitted())
			if err != nil {
				return nil, err
			}
			m, err := match.NewMetric(f)
			if err != nil {
				return nil, err
			}
			return comparers(m, set, all), nil
		}, options)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(e.out, 0o755); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(e.out, "evaluation.json"), result.WriteJSON); err != nil {
		return err
	}
	html := evaluation.HTMLOptions{Title: "Homeward on " + nameOf(manifest)}
	if e.thumbnails {
		html.Thumbnail = func(p evaluation.Photo) ([]byte, error) {
			photo, err := readPhoto(p.Path)
			if err != nil {
				return nil, err
			}
			return engine.Rendition(photo, 112)
		}
	}
	if err := writeFile(filepath.Join(e.out, "evaluation.html"), func(w io.Writer) error { return result.WriteHTML(w, html) }); err != nil {
		return err
	}
	printEvaluation(c.OutOrStdout(), result)
	fmt.Fprintf(c.OutOrStdout(), "%s holds evaluation.json and evaluation.html\n", e.out)
	return nil
}

// paired are the rows that some listed pair is of: no other photo needs to be looked at.
func (e evaluating) paired(rows []labelled.Row) ([]labelled.Row, error) {
	photos := make([]evaluation.Photo, len(rows))
	for i, r := range rows {
		photos[i].Name = r.Name
	}
	pairs, _, err := e.readPairs(photos)
	if err != nil {
		return nil, err
	}
	named := make([]bool, len(rows))
	for _, p := range pairs {
		named[p.A], named[p.B] = true, true
	}
	var out []labelled.Row
	for i, r := range rows {
		if named[i] {
			out = append(out, r)
		}
	}
	return out, nil
}

func (e evaluating) readPairs(photos []evaluation.Photo) (pairs []evaluation.FoldPair, left int, err error) {
	f, err := os.Open(e.pairs)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if pairs, left, err = evaluation.ReadPairs(f, photos); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", e.pairs, err)
	}
	return pairs, left, nil
}

// accuracy prints the share of listed pairs that each comparer tells right.
func (e evaluating) accuracy(w io.Writer, photos []evaluation.Photo, comparers []evaluation.Comparer) error {
	pairs, left, err := e.readPairs(photos)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d pairs, %d left out for want of a photo or a face\n", len(pairs), left)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tTOLD RIGHT\tSTANDARD ERROR")
	for _, c := range comparers {
		mean, se := evaluation.Accuracy(pairs, c)
		fmt.Fprintf(t, "%s\t%.4f\t%.4f\n", c.Name, mean, se)
	}
	return t.Flush()
}

// comparers are the metric, all recognisers fused, and each by itself.
func comparers(m *match.Metric, set models.Set, all []labelled.Sample) []evaluation.Comparer {
	faces := make([]match.Face, len(all))
	single := make([]*match.Evidence, len(all))
	for i, s := range all {
		if s.Problem == "" && len(s.Embeddings) > 0 {
			faces[i] = m.Face(matchSample(s))
			single[i] = m.Evidence(faces[i : i+1])
		}
	}
	var fusedCases sync.Map // evidence of a case by its photos
	out := []evaluation.Comparer{{
		Name: "metric", LogLR: true,
		Pair: func(i, j int) float64 {
			if single[i] == nil || single[j] == nil {
				return -math.MaxFloat32
			}
			return m.Compare(single[i], single[j]).LogLR
		},
		Case: func(probe int, photos []int) float64 {
			key := fmt.Sprint(photos)
			e, ok := fusedCases.Load(key)
			if !ok {
				var own []match.Face
				for _, p := range photos {
					own = append(own, faces[p])
				}
				e, _ = fusedCases.LoadOrStore(key, m.Evidence(own))
			}
			if e.(*match.Evidence) == nil || single[probe] == nil {
				return -math.MaxFloat32
			}
			return m.Compare(single[probe], e.(*match.Evidence)).LogLR
		},
	}}
	cosine := func(name string, vectors [][]float32) evaluation.Comparer {
		pair := func(i, j int) float64 { return match.Inner(vectors[i], vectors[j]) }
		return evaluation.Comparer{Name: name, Pair: pair, Case: func(probe int, photos []int) float64 {
			best := math.Inf(-1)
			for _, p := range photos {
				best = max(best, pair(probe, p))
			}
			return best
		}}
	}
	fused := make([][]float32, len(all))
	for i, s := range all {
		fused[i] = m.Fused(s.Embeddings)
	}
	out = append(out, cosine("raw_fused", fused))
	at := 0
	for _, r := range set.Recognisers {
		own := make([][]float32, len(all))
		for i, v := range fused {
			own[i] = match.Unit(v[at : at+r.Output.Dim])
		}
		at += r.Output.Dim
		out = append(out, cosine("raw_"+r.Name, own))
	}
	return out
}

func printEvaluation(w io.Writer, r *evaluation.Result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tTAR AT FAR 0.1 %\t\tRANK 1 / RANK 10")
	fmt.Fprintln(t, "\tALL\tUNDER 13\tCHILD → ADULT\tYOUNG → OLD\tADULT → CHILD CASES\tLEAVE ONE OUT")
	share := func(x float64) string {
		if math.IsNaN(x) {
			return "–"
		}
		return strings.TrimPrefix(fmt.Sprintf("%.3f", x), "0")
	}
	for _, m := range r.Comparers {
		row := []string{m.Name, share(m.Verification["all"].TAR[1].Value), share(m.Verification["both_under_13"].TAR[1].Value)}
		for _, protocol := range []string{"child_to_adult", "young_to_old", "adult_to_child_cases", "leave_one_out"} {
			id := m.Identification[protocol]
			row = append(row, share(id.Rank[0].Value)+" / "+share(id.Rank[2].Value))
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // what it writes to says so itself
}
