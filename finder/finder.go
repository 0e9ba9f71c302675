package finder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"homeward/engine"
	"homeward/index"
	"homeward/match"
	"homeward/models"
	"homeward/registry"
)

// Config says what a Finder works with.
type Config struct {
	Data        string // the registry's directory
	OperatorKey string // path of the operator's key; empty for the one in Data
	Existing    bool   // refuse to make a registry where there is none
	Models      string // directory of the model cards; empty for models.DefaultDir
	Set         string // name of the model set; empty for "default"
	Workers     int    // photos analysed at once; 0 for one per core
	// LeadThreshold is the score, as log10 of the likelihood ratio of faces and records, at which a pair becomes a lead; 0 for
	// DefaultLeadThreshold. Another threshold holds for what is compared from then on.
	LeadThreshold float64
	Log           *slog.Logger
}

// Finder joins engine, metric, index and registry. It is safe for concurrent use.
type Finder struct {
	Registry *registry.Registry
	Models   *models.Catalogue

	engine  *engine.Engine
	current atomic.Pointer[generation]
	words   *index.Words

	followed atomic.Int64 // the last change the indexes have seen
	catchUp  sync.Mutex   // held while changes are applied

	wordsLoaded atomic.Bool
	loading     sync.Mutex // held while words are loaded

	threshold float64       // of leads, as a log-LR
	changed   chan struct{} // holds word that the indexes have followed something
	standing  sync.Mutex    // held while the standing search compares
	searching atomic.Int64  // searches that people wait for
	destroyed func([]registry.CaseID)

	probes  *probes
	work    chan struct{}
	looking chan struct{} // holds one for each photo in memory, at most workers

	mu   sync.Mutex
	owed []registry.PhotoID // claimed by us and not yet handed back
	log  *slog.Logger
}

// Open opens the registry, loads and checks the models and fills the index of faces. Run must be called for queued photos
// to be analysed and for other processes' changes to be seen; words can be searched once LoadWords has ended.
func Open(ctx context.Context, c Config) (_ *Finder, err error) {
	f, err := openModels(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	f.Registry, err = registry.Open(ctx, c.Data, registry.Options{OperatorKey: c.OperatorKey, Existing: c.Existing})
	if err != nil {
		return nil, err
	}
	if err := f.reproject(ctx); err != nil {
		return nil, err
	}
	if err := f.loadFaces(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// OpenEngine loads and checks the models, and makes the engine that runs them.
func OpenEngine(ctx context.Context, c Config) (*engine.Engine, error) {
	cat, set, err := openSet(ctx, c)
	if err != nil {
		return nil, err
	}
	return engine.New(cat, set, engine.Options{Workers: c.Workers})
}

// openSet reads the model cards and checks the files of the set that is wanted.
func openSet(ctx context.Context, c Config) (*models.Catalogue, models.Set, error) {
	cat, set, err := LoadSet(c)
	if err != nil {
		return nil, set, err
	}
	return cat, set, cat.VerifySet(ctx, set)
}

// LoadSet reads the model cards and finds the set that is wanted, without looking at the models' files.
func LoadSet(c Config) (cat *models.Catalogue, set models.Set, err error) {
	if c.Models == "" {
		if c.Models, err = models.DefaultDir(); err != nil {
			return nil, set, err
		}
	}
	if cat, err = models.Load(c.Models); err != nil {
		return nil, set, err
	}
	if c.Set == "" {
		c.Set = "default"
	}
	set, err = cat.Set(c.Set)
	return cat, set, err
}

// openModels makes a Finder that can see and fuse, but has no registry yet.
func openModels(ctx context.Context, c Config) (*Finder, error) {
	cat, set, err := openSet(ctx, c)
	if err != nil {
		return nil, err
	}
	metric, err := MetricFor(cat.Dir(), set)
	if err != nil {
		return nil, err
	}
	eng, err := engine.New(cat, set, engine.Options{Workers: c.Workers})
	if err != nil {
		return nil, err
	}
	if c.LeadThreshold == 0 {
		c.LeadThreshold = DefaultLeadThreshold
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	words, err := index.NewWords()
	if err != nil {
		return nil, errors.Join(err, eng.Close())
	}
	kept, err := newProbes()
	if err != nil {
		return nil, errors.Join(err, eng.Close(), words.Close())
	}
	f := &Finder{
		Models: cat, engine: eng,
		threshold: c.LeadThreshold * math.Ln10,
		changed:   make(chan struct{}, 1),
		words:     words,
		probes:    kept,
		work:      make(chan struct{}, 1),
		looking:   make(chan struct{}, eng.Workers()),
		log:       c.Log,
	}
	f.current.Store(newGeneration(set, metric))
	return f, nil
}

// MetricPath is where the set's metric is.
func MetricPath(modelsDir string, set models.Set) string {
	return filepath.Join(modelsDir, "metrics", set.Metric+".json")
}

// Recognisers are the set's recognisers as a metric knows them.
func Recognisers(set models.Set) []match.Recogniser {
	out := make([]match.Recogniser, len(set.Recognisers))
	for i, r := range set.Recognisers {
		out[i] = match.Recogniser{Name: r.Name, Fingerprint: r.Fingerprint(), Dim: r.Output.Dim}
	}
	return out
}

// MetricFor reads the set's metric. A set whose recognisers it was not fitted for is refused: without a metric of its own
// its scores would mean nothing.
func MetricFor(modelsDir string, set models.Set) (*match.Metric, error) {
	path := MetricPath(modelsDir, set)
	fitted, err := match.ReadFitted(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("model set %s has no metric: fit one with homeward train --set %s --out %s", set.Name, set.Name, path)
	}
	if err != nil {
		return nil, err
	}
	m, err := match.NewMetric(fitted)
	if err != nil {
		return nil, err
	}
	var fingerprints []string
	for _, r := range set.Recognisers {
		fingerprints = append(fingerprints, r.Fingerprint())
	}
	if err := m.Fits(fingerprints); err != nil {
		return nil, fmt.Errorf("model set %s: %w", set.Name, err)
	}
	return m, nil
}

// TemplateSet is what templates made now are marked with: the model set's id and the metric's.
func (f *Finder) TemplateSet() string { return f.now().templates }

// Set is the model set in use.
func (f *Finder) Set() models.Set { return f.now().set }

// followEvery bounds how long another process's change (an import, a command) takes to reach this one's indexes.
const followEvery = time.Second

// Run analyses queued photos, follows the registry, searches for leads and destroys the cases whose time has come, until ctx ends, then returns once all work in hand is finished or
// handed back.
func (f *Finder) Run(ctx context.Context) error {
	// Photos that other models analysed cannot be found under this one: analyse them again.
	again, err := f.Registry.RequeueOther(ctx, f.now().templates)
	if err != nil {
		return fmt.Errorf("queue photos of other model sets: %w", err)
	}
	if again > 0 {
		f.log.Warn("photos were analysed under another model set and are queued again", "photos", again, "set", f.now().templates)
	}
	g, ctx := errgroup.WithContext(ctx)
	for range f.engine.Workers() {
		g.Go(func() error { return f.analyseQueue(ctx) })
	}
	g.Go(func() error {
		if err := f.LoadWords(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	})
	g.Go(func() error { return f.stand(ctx) })
	g.Go(func() error { return f.retain(ctx) })
	g.Go(func() error {
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				f.releaseOwed()
				f.forgetProbes()
				f.wake()
				f.Refresh(ctx)
			}
		}
	})
	return g.Wait()
}

// Close releases everything. No other method may be running.
func (f *Finder) Close() error {
	var errs []error
	errs = append(errs, f.now().faces.Close())
	if f.words != nil {
		errs = append(errs, f.words.Close())
	}
	if f.engine != nil {
		errs = append(errs, f.engine.Close())
	}
	if f.Registry != nil {
		errs = append(errs, f.Registry.Close())
	}
	return errors.Join(errs...)
}

// Status is how the Finder is doing.
type Status struct {
	Words      bool // words can be searched; faces always can
	Cases      int  // with at least one reference
	References int
	Queued     int // photos waiting for analysis
	Standing   int // cases waiting for the standing search; MostStanding stands for more
}

// Status reports readiness and load.
func (f *Finder) Status(ctx context.Context) (Status, error) {
	s := Status{Words: f.wordsLoaded.Load()}
	s.Cases, s.References = f.now().faces.Size()
	var err error
	if s.Queued, err = f.Registry.QueueDepth(ctx); err != nil {
		return s, fmt.Errorf("status: %w", err)
	}
	due, err := f.Registry.DueCases(ctx, MostStanding)
	if err != nil {
		return s, fmt.Errorf("status: %w", err)
	}
	s.Standing = len(due)
	return s, nil
}
