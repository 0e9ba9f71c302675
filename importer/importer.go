package importer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"

	"homeward/engine"
	"homeward/finder"
	"homeward/jobs"
	"homeward/registry"
)

// Stages of an import, as Progress.Stage.
const (
	StageSurvey  = "survey"  // opening the archive, reading the manifest
	StageList    = "list"    // noting what the manifest names in an archive
	StagePhotos  = "photos"  // reading photos
	StageCompare = "compare" // holding what was added against what was there
)

// Keys of Progress.Counts beside registry.ImportResult: milliseconds, summed over all photos.
const (
	CountReceive   = "ms_receive" // reading and encrypting files
	CountDecode    = "ms_decode"
	CountInference = "ms_inference"
	CountStore     = "ms_store" // photos and faces
)

const (
	// inFlight is how many photos are under way for each that is looked at, so that files are read and stored meanwhile.
	inFlight = 2
	// batch is how many files' outcomes are noted at a time, and lines of a manifest read at a time.
	batch = 200
	// noteEvery is how often outcomes are noted, progress is saved, and the indexes follow.
	noteEvery = time.Second
	// casesKept is how many cases are remembered by their reference.
	casesKept = 4096
)

// Job is the handler of jobs of the kind registry.JobImport.
func Job(f *finder.Finder) jobs.Handler {
	return func(ctx context.Context, t *jobs.Task) error {
		var a Args
		if err := json.Unmarshal(t.Job.Args, &a); err != nil {
			return jobs.Final(fmt.Errorf("read what to import: %w", err))
		}
		cases, err := lru.New[string, registry.CaseID](casesKept)
		if err != nil {
			return err
		}
		im := &importing{finder: f, task: t, job: t.Job.ID, counts: maps.Clone(t.Job.Progress.Counts), cases: cases}
		if im.counts == nil {
			im.counts = map[string]int64{}
		}
		im.fresh, _ = strconv.ParseInt(t.Job.Place, 10, 64) // empty at first
		err = im.run(ctx, a)
		if unmendable(err) {
			err = jobs.Final(err)
		}
		return err
	}
}

// unmendable says whether trying again would end as this did.
func unmendable(err error) bool {
	for _, final := range []error{errNoArchive, errDamaged, errBomb, errTooMany, errNothing, errUnclear, errFolders, os.ErrNotExist, os.ErrPermission} {
		if errors.Is(err, final) {
			return true
		}
	}
	var m *manifestError
	return errors.As(err, &m)
}

var errNothing = errors.New("no photos found: put each case's photos into a folder of its own, or name a --manifest")

// importing is an import under way.
type importing struct {
	*plan
	finder *finder.Finder
	task   *jobs.Task
	job    registry.JobID

	making sync.Mutex                          // held while a case is found or made
	cases  *lru.Cache[string, registry.CaseID] // by gallery and reference

	mu     sync.Mutex
	stage  string
	done   int64 // of the stage
	fresh  int64 // files of which something was found out, over all tries: what the import has come further by
	counts map[string]int64
	notes  []registry.ImportFile
}

// work is a photo to read.
type work struct {
	file   registry.ImportFile
	facts  registry.Case // of the case, where file.Case is not known yet
	entry  entry
	passed func() // says that the entry was read, or never will be
}

func (im *importing) run(ctx context.Context, a Args) (err error) {
	if err := im.enter(ctx, StageSurvey, 0); err != nil {
		return err
	}
	if im.plan, err = a.open(ctx, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, im.src.Close()) }()
	// All files are passed again, those that are done quickly, and counted as they are.
	for _, result := range []registry.ImportResult{registry.ImportAdded, registry.ImportDuplicate, registry.ImportUnreadable, registry.ImportSkipped} {
		im.counts[string(result)] = 0
	}
	failed := im.files(ctx)
	if failed == nil && im.done == 0 {
		failed = errNothing
	}
	if errors.Is(failed, errDamaged) {
		failed = fmt.Errorf("%w; what came before is in", failed)
	}
	// What was done is done, and tidied up, however it ended.
	after := context.WithoutCancel(ctx)
	if im.manifest == nil {
		failed = errors.Join(failed, im.finder.Registry.DropEmptyImports(after, im.job))
	}
	im.finder.Refresh(after)
	if failed != nil && !errors.Is(failed, errDamaged) {
		return failed
	}
	// What an interrupted import has stored and not looked at is looked at now.
	im.finder.Drain(ctx)
	return errors.Join(failed, im.compare(ctx))
}

// enter begins a stage.
func (im *importing) enter(ctx context.Context, stage string, total int64) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.stage, im.done = stage, 0
	return im.task.Save(ctx, strconv.FormatInt(im.fresh, 10), registry.Progress{Stage: stage, Total: total, Counts: im.counts})
}

// files reads all files, several at a time.
func (im *importing) files(ctx context.Context) (err error) {
	if im.manifest != nil && im.src.at() == nil {
		if err := im.enter(ctx, StageList, im.total); err != nil {
			return err
		}
		if err := im.want(ctx); err != nil {
			return err
		}
	}
	if err := im.enter(ctx, StagePhotos, im.total); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	g, gctx := errgroup.WithContext(working)
	todo := make(chan work)
	var listed error // which does not end what is under way: what came before some damage is kept
	g.Go(func() error {
		defer close(todo)
		listed = im.list(gctx, func(w work) error {
			passed := make(chan struct{})
			if w.passed = func() {}; w.entry.once {
				w.passed = sync.OnceFunc(func() { close(passed) })
			}
			select {
			case todo <- w:
			case <-gctx.Done():
				return gctx.Err()
			}
			if w.entry.once {
				<-passed // whoever took it says so, also when it fails
			}
			return nil
		})
		return nil
	})
	for range inFlight * im.finder.Workers() {
		g.Go(func() error {
			for w := range todo {
				err := im.photo(gctx, w)
				w.passed()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	ended := make(chan struct{})
	var saved error
	var beside sync.WaitGroup
	beside.Go(func() {
		tick := time.NewTicker(noteEvery)
		defer tick.Stop()
		for saved == nil {
			select {
			case <-ended:
				return
			case <-tick.C:
				im.finder.Refresh(gctx)
				saved = im.save(ctx)
			}
		}
		stop()
	})
	if err = g.Wait(); err == nil {
		err = listed
	}
	close(ended)
	beside.Wait()
	if saved != nil {
		err = saved
	}
	return errors.Join(err, im.save(context.WithoutCancel(ctx)))
}

// save notes outcomes and progress durably.
func (im *importing) save(ctx context.Context) error {
	im.mu.Lock()
	notes, p := im.notes, registry.Progress{Stage: im.stage, Done: im.done, Total: max(im.total, im.done), Counts: maps.Clone(im.counts)}
	if im.total == 0 {
		p.Total = 0
	}
	im.notes = nil
	place := strconv.FormatInt(im.fresh, 10)
	im.mu.Unlock()
	if err := im.finder.Registry.NoteImports(ctx, notes); err != nil {
		return err
	}
	return im.task.Save(ctx, place, p)
}

// list hands out all files that are to be read.
func (im *importing) list(ctx context.Context, do func(work) error) error {
	switch {
	case im.manifest == nil:
		return im.src.each(ctx, func(e entry) error {
			file := registry.ImportFile{Job: im.job, Path: e.path, Size: e.size, ModTime: e.modified}
			noted, err := im.finder.Registry.ImportsAt(ctx, im.job, e.path)
			if err != nil {
				return err
			}
			if len(noted) > 0 && noted[0].Done(e.size, e.modified) {
				im.passed(noted[0].Result)
				return nil
			}
			facts, bad := im.caseIn(e.path)
			file.Ref = facts.Ref
			if e.bad != "" {
				bad = e.bad
			}
			if bad != "" {
				return im.skip(ctx, file, bad)
			}
			return do(work{file: file, facts: facts, entry: e})
		})
	case im.src.at() != nil:
		return im.rows(ctx, func(r row, id registry.CaseID) error {
			e := im.lookup(r.photo)
			file := registry.ImportFile{Job: im.job, Path: r.photo, Line: r.line, Size: e.size, ModTime: e.modified, Taken: r.taken, Case: id, Remark: r.remark}
			noted, err := im.finder.Registry.ImportsAt(ctx, im.job, r.photo)
			if err != nil {
				return err
			}
			for _, n := range noted {
				if n.Line == r.line && n.Done(e.size, e.modified) {
					im.passed(n.Result)
					return nil
				}
			}
			if e.bad != "" {
				return im.skip(ctx, file, e.bad)
			}
			return do(work{file: file, entry: e})
		})
	}
	err := im.src.each(ctx, func(e entry) error { return im.wanted(ctx, e, do) })
	if err != nil {
		return err
	}
	n, err := im.finder.Registry.Unwanted(ctx, im.job, "not in the archive")
	im.mu.Lock()
	im.counts[string(registry.ImportSkipped)] += n
	im.mu.Unlock()
	return err
}

// rows hands out the lines of a manifest that can be used, each with its case, found or made.
func (im *importing) rows(ctx context.Context, do func(row, registry.CaseID) error) error {
	var rows []row
	flush := func() error {
		cases := make([]registry.Case, len(rows))
		for i, r := range rows {
			cases[i] = r.facts
		}
		made, err := im.finder.Registry.ImportCases(ctx, im.job, cases)
		if err != nil {
			return err
		}
		for i, r := range rows {
			if err := made[i].Err; err != nil {
				if err := im.skip(ctx, registry.ImportFile{Job: im.job, Path: r.photo, Line: r.line, Ref: r.facts.Ref, Remark: r.remark}, "its case cannot be created: "+err.Error()); err != nil {
					return err
				}
				continue
			}
			if err := do(r, made[i].ID); err != nil {
				return err
			}
		}
		rows = rows[:0]
		return nil
	}
	err := im.manifest.rows(func(r row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.bad != "" {
			return im.skip(ctx, registry.ImportFile{Job: im.job, Path: r.said, Line: r.line, Ref: r.facts.Ref, Remark: r.remark}, r.bad)
		}
		if rows = append(rows, r); len(rows) < batch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// want notes what a manifest names in an archive, which then can be read from one end to the other.
func (im *importing) want(ctx context.Context) error {
	var files []registry.ImportFile
	flush := func() error {
		err := im.finder.Registry.WantImports(ctx, files)
		im.mu.Lock()
		im.done += int64(len(files))
		im.mu.Unlock()
		files = files[:0]
		if err != nil {
			return err
		}
		return im.save(ctx)
	}
	err := im.rows(ctx, func(r row, id registry.CaseID) error {
		files = append(files, registry.ImportFile{Job: im.job, Path: r.photo, Line: r.line, Result: registry.ImportWanted, Taken: r.taken, Case: id, Remark: r.remark})
		if len(files) < batch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// wanted hands out a file of an archive, once for each line of the manifest that names it.
func (im *importing) wanted(ctx context.Context, e entry, do func(work) error) error {
	var todo []registry.ImportFile
	for _, name := range im.names(e.path) {
		noted, err := im.finder.Registry.ImportsAt(ctx, im.job, name)
		if err != nil {
			return err
		}
		for _, n := range noted {
			switch {
			case n.Done(e.size, e.modified):
				im.passed(n.Result)
			case n.Case != "" || n.Result == registry.ImportWanted:
				todo = append(todo, n)
			}
		}
		if len(noted) > 0 {
			break
		}
	}
	if len(todo) > 1 && e.once && e.bad == "" { // it is read once and used several times
		data, err := readPhoto(e)
		if err != nil {
			e.bad = "cannot be read: " + plain(err)
		}
		e.once, e.open = false, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	}
	for _, file := range todo {
		file.Size, file.ModTime = e.size, e.modified
		if e.bad != "" {
			if err := im.skip(ctx, file, e.bad); err != nil {
				return err
			}
			continue
		}
		if err := do(work{file: file, entry: e}); err != nil {
			return err
		}
	}
	return nil
}

// passed counts a file with which nothing is left to do.
func (im *importing) passed(result registry.ImportResult) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.counts[string(result)]++
	im.done++
}

// skip notes why a file is not even tried.
func (im *importing) skip(ctx context.Context, file registry.ImportFile, reason string) error {
	return im.note(ctx, file, registry.ImportSkipped, reason)
}

// note notes what became of a file.
func (im *importing) note(ctx context.Context, file registry.ImportFile, result registry.ImportResult, reason string) error {
	file.Result, file.Reason = result, reason
	im.mu.Lock()
	if result != registry.ImportAdded { // which is on record with its photo
		im.notes = append(im.notes, file)
	}
	im.counts[string(result)]++
	im.done++
	im.fresh++
	full := len(im.notes) >= batch
	im.mu.Unlock()
	if full {
		return im.save(ctx)
	}
	return nil
}

// photo imports one photo. Only an error that would meet every file ends the import.
func (im *importing) photo(ctx context.Context, w work) error {
	file := w.file
	again := func(result registry.ImportResult, reason string) error { // worth another look when the import goes on
		file.ModTime = time.Time{}
		return im.note(ctx, file, result, reason)
	}
	switch {
	case w.entry.size > finder.MaxPhotoBytes:
		return im.skip(ctx, file, tooLarge)
	case nested(file.Path):
		return im.skip(ctx, file, nestedReason)
	}
	src, err := w.entry.open()
	if err != nil {
		return again(registry.ImportUnreadable, "cannot be opened: "+plain(err))
	}
	defer src.Close()
	body := bufio.NewReader(&photo{r: src, size: w.entry.size, passed: w.passed})
	// What is no photo is known by its first bytes, before anything is made for it.
	head, err := body.Peek(1024)
	if err == nil || err == io.EOF {
		_, err = engine.Sniff(head)
	}
	if err != nil {
		return im.unusable(ctx, file, err)
	}
	if file.Case == "" {
		id, err := im.caseFor(ctx, w.facts)
		if errors.Is(err, registry.ErrInvalid) {
			return im.skip(ctx, file, "its case cannot be created: "+err.Error())
		}
		if err != nil {
			return err
		}
		file.Case = id
	}
	var spent finder.Spent
	p, existed, err := im.finder.AddPhoto(ctx, file.Case, finder.NewPhoto{
		Name: path.Base(file.Path), Taken: file.Taken, Bulk: true, Import: &file, Spent: &spent,
	}, body)
	if errors.Is(err, registry.ErrNotFound) {
		im.cases.Remove(key(w.facts))
		return again(registry.ImportSkipped, "its case was deleted meanwhile")
	}
	if err != nil {
		return im.unusable(ctx, file, err)
	}
	file.Photo = p.ID
	im.mu.Lock()
	for k, d := range map[string]time.Duration{CountReceive: spent.Receive, CountDecode: spent.Decode, CountInference: spent.Inference, CountStore: spent.Store} {
		im.counts[k] += d.Milliseconds()
	}
	im.mu.Unlock()
	if existed {
		return im.note(ctx, file, registry.ImportDuplicate, "")
	}
	return im.note(ctx, file, registry.ImportAdded, "")
}

// unusable notes a file that no photo could be made of, and gives back an error that is not the file's doing.
func (im *importing) unusable(ctx context.Context, file registry.ImportFile, err error) error {
	var refused *engine.PhotoError
	var invalid *registry.FieldError
	var source *sourceError
	switch {
	case errors.Is(err, errBomb):
		return err
	case errors.As(err, &refused):
		return im.note(ctx, file, registry.ImportUnreadable, refused.Text)
	case errors.As(err, &invalid):
		return im.note(ctx, file, registry.ImportSkipped, invalid.Error())
	case errors.As(err, &source):
		if !source.final {
			file.ModTime = time.Time{}
		}
		return im.note(ctx, file, registry.ImportUnreadable, "cannot be read: "+plain(source.err))
	}
	return fmt.Errorf("import a photo: %w", err)
}

func key(c registry.Case) string { return string(c.Gallery) + " " + c.Ref }

// caseFor finds or makes a case.
func (im *importing) caseFor(ctx context.Context, c registry.Case) (registry.CaseID, error) {
	im.making.Lock()
	defer im.making.Unlock()
	if id, ok := im.cases.Get(key(c)); ok {
		return id, nil
	}
	made, err := im.finder.Registry.ImportCases(ctx, im.job, []registry.Case{c})
	if err == nil {
		err = made[0].Err
	}
	if err != nil {
		return "", err
	}
	im.cases.Add(key(c), made[0].ID)
	return made[0].ID, nil
}

// compare holds the photos that were added against those that look the same.
func (im *importing) compare(ctx context.Context) error {
	if err := im.enter(ctx, StageCompare, im.counts[string(registry.ImportAdded)]); err != nil {
		return err
	}
	looks, err := im.finder.Registry.Looks(ctx)
	if err != nil {
		return err
	}
	return im.finder.Registry.RemarkImports(ctx, im.job, func(l registry.Look) (int64, bool) {
		for _, other := range looks {
			if other.N >= l.N {
				break
			}
			if engine.LooksSame(other.Look, l.Look) {
				return other.N, true
			}
		}
		return 0, false
	}, func(n int) {
		im.mu.Lock()
		im.done = int64(n)
		p := registry.Progress{Stage: im.stage, Done: im.done, Total: im.counts[string(registry.ImportAdded)], Counts: maps.Clone(im.counts)}
		im.mu.Unlock()
		_ = im.task.Save(ctx, strconv.FormatInt(im.fresh, 10), p) // what it says is of no matter to the work
	})
}
