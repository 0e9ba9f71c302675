package finder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"homeward/index"
	"homeward/match"
	"homeward/models"
	"homeward/registry"
	"homeward/worker"
)

// Config says what a Finder works with.
type Config struct {
	Data        string // the registry's directory
	OperatorKey string // path of the operator's key; empty for the one in Data
	Existing    bool   // refuse to make a registry where there is none
	GoOver      bool   // go over to models or a metric that were replaced under their names; else that is ErrOtherModels
	Models      string // directory of the model cards; empty for models.DefaultDir
	// Set is the name of the model set that a new registry works with; empty for "default". A registry that has one works with that: another
	// that is named here is refused.
	Set     string
	Workers int // photos analysed at once; 0 for one per core
	// LeadThreshold is the score, as log10 of the likelihood ratio of faces and records, at which a pair becomes a lead; 0 for
	// DefaultLeadThreshold. Another threshold holds for what is compared from then on; Crossmatch compares the rest again.
	LeadThreshold float64
	Log           *slog.Logger
}

// Finder joins engine, metric, index and registry. It is safe for concurrent use.
type Finder struct {
	Registry *registry.Registry
	Models   *models.Catalogue

	config   Config
	pictures *looker // of photos, for people to look at
	current  atomic.Pointer[generation]
	swapping sync.Mutex  // held while another generation is made the current one
	behind   atomic.Bool // the registry's active generation is not the current one
	failed   swapFailure // guarded by swapping
	words    *index.Words

	followed atomic.Int64 // the last change the indexes have seen
	catchUp  sync.Mutex   // held while changes are applied

	wordsLoaded atomic.Bool
	loading     sync.Mutex // held while words are loaded

	shortlist  int // cases that the index brings up at a time to be compared in full
	crossBlock int // cases that a cross-match compares and saves at a time

	threshold float64       // of leads, as a log-LR
	changed   chan struct{} // holds word that the indexes have followed something
	standing  sync.Mutex    // held while the standing search compares
	searching atomic.Int64  // searches that people wait for
	destroyed func([]registry.CaseID)

	counts counts

	probes *probes
	work   chan struct{}
	ended  endings

	mu       sync.Mutex
	building map[string]struct{} // the generations that this process is building
	owed     []registry.PhotoID  // claimed by us and not yet handed back
	log      *slog.Logger
}

// Open opens the registry, loads and checks the models and fills the index of faces. Run must be called for queued photos
// to be analysed and for other processes' changes to be seen; words can be searched once LoadWords has ended.
func Open(ctx context.Context, c Config) (_ *Finder, err error) {
	f, err := newFinder(c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	options := registry.Options{OperatorKey: c.OperatorKey, Existing: true}
	f.Registry, err = registry.Open(ctx, c.Data, options)
	isNew := errors.Is(err, registry.ErrNotFound) && !c.Existing
	if err != nil && !isNew {
		return nil, err
	}
	g, err := f.choose(ctx)
	if err != nil {
		return nil, err
	}
	f.current.Store(g)
	// Every process that looks at photos does so again as it starts; this one says it before a registry is made or photos come.
	if err := f.Models.VerifySet(ctx, g.set); err != nil {
		return nil, err
	}
	if isNew {
		options.Existing = false
		if f.Registry, err = registry.Open(ctx, c.Data, options); err != nil {
			return nil, err
		}
	}
	// The first generation of a registry, unless another process made one meanwhile.
	if _, err := f.Registry.ActiveGeneration(ctx); errors.Is(err, registry.ErrNotFound) {
		err = f.Registry.TakeOver(ctx, g.record(), f.crossmatch())
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	if err := f.loadFaces(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// LoadSet reads the model cards and finds the set that is wanted, without looking at the models' files.
func LoadSet(c Config) (cat *models.Catalogue, set models.Set, err error) {
	if cat, err = loadCards(c); err != nil {
		return nil, set, err
	}
	set, err = cat.Set(cmp.Or(c.Set, "default"))
	return cat, set, err
}

// loadCards reads the model cards.
func loadCards(c Config) (_ *models.Catalogue, err error) {
	if c.Models == "" {
		if c.Models, err = models.DefaultDir(); err != nil {
			return nil, err
		}
	}
	return models.Load(c.Models)
}

// newFinder makes a Finder that has neither a registry nor a generation yet.
func newFinder(c Config) (*Finder, error) {
	if c.LeadThreshold == 0 {
		c.LeadThreshold = DefaultLeadThreshold
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	cat, err := loadCards(c)
	if err != nil {
		return nil, err
	}
	words, err := index.NewWords()
	if err != nil {
		return nil, err
	}
	kept, err := newProbes()
	if err != nil {
		return nil, errors.Join(err, words.Close())
	}
	return &Finder{
		Models: cat, config: c, pictures: newLooker(c, worker.Options{}),
		shortlist: shortlist, crossBlock: crossBlock,
		threshold: c.LeadThreshold * math.Ln10,
		changed:   make(chan struct{}, 1),
		words:     words,
		probes:    kept,
		work:      make(chan struct{}, 1),
		building:  make(map[string]struct{}),
		log:       c.Log,
	}, nil
}

// workers is how many photos are analysed at once.
func (c Config) workers() int {
	if c.Workers <= 0 {
		return runtime.NumCPU()
	}
	return c.Workers
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
	// Photos that have not been looked at under this model set cannot be found under it: analyse them again.
	again, err := f.Registry.QueueMissing(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	if again > 0 {
		f.log.Warn("photos were analysed under another model set and are queued again", "photos", again, "set", f.now().templates)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		u := f.use()
		defer u.release()
		if err := u.eyes.warm(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	})
	for range f.config.workers() {
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
	g.Go(func() error { return f.keepUp(ctx) })
	g.Go(func() error {
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		told := ""
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				f.releaseOwed()
				f.forgetProbes()
				f.now().eyes.rest()
				f.wake()
				if err := f.CatchUp(ctx); err != nil && ctx.Err() == nil && err.Error() != told {
					told = err.Error() // once, and not every second
					f.log.Error("follow the registry: it will be tried again", "error", err)
				} else if err == nil {
					told = ""
				}
			}
		}
	})
	return g.Wait()
}

// Close releases everything. No other method may be running.
func (f *Finder) Close() error {
	var errs []error
	if g := f.now(); g != nil {
		errs = append(errs, g.faces.Close(), g.retire())
	}
	errs = append(errs, f.pictures.close())
	if f.words != nil {
		errs = append(errs, f.words.Close())
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
