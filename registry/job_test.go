package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// openToDie opens a Registry for die.
func openToDie(t testing.TB, dir string, opts Options) *Registry {
	t.Helper()
	r, err := Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func enqueue(t testing.TB, r *Registry, n NewJob) Job {
	t.Helper()
	j, existed, err := r.Enqueue(t.Context(), n)
	if err != nil || existed {
		t.Fatal(existed, err)
	}
	return j
}

func claimJob(t testing.TB, r *Registry, kinds ...JobKind) Job {
	t.Helper()
	j, ok, err := r.ClaimJob(t.Context(), kinds...)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return j
}

// claimNoJob checks that there is nothing to hand out.
func claimNoJob(t testing.TB, r *Registry, kinds ...JobKind) {
	t.Helper()
	if j, ok, err := r.ClaimJob(t.Context(), kinds...); err != nil || ok {
		t.Errorf("handed out %+v %v", j, err)
	}
}

// jobIs checks a job's state and tries, and returns it.
func jobIs(t testing.TB, r *Registry, id JobID, s JobState, tries int) Job {
	t.Helper()
	j, err := r.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if j.State != s || j.Tries != tries {
		t.Errorf("job is %s after %d tries, want %s after %d; %+v", j.State, j.Tries, s, tries, j)
	}
	return j
}

func endJob(t testing.TB, r *Registry, id JobID, as JobState) {
	t.Helper()
	if err := r.EndJob(t.Context(), id, as, ""); err != nil {
		t.Fatal(err)
	}
}

func wishJob(t testing.TB, r *Registry, id JobID, w JobWish) Job {
	t.Helper()
	j, err := r.WishJob(t.Context(), id, w)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func saveJob(t testing.TB, r *Registry, id JobID, place string) JobWish {
	t.Helper()
	w, err := r.SaveJob(t.Context(), id, place, Progress{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestJob(t *testing.T) {
	var now clock
	r := open(t, t.TempDir(), now.options())
	officer := as(t, r, Officer)
	j, existed, err := r.Enqueue(officer, NewJob{Kind: JobImport, About: "/archive", Args: map[string]string{"manifest": "a.csv"}})
	if err != nil || existed {
		t.Fatal(existed, err)
	}
	if !strings.HasPrefix(string(j.ID), "j_") || string(j.Args) != `{"manifest":"a.csv"}` || j.State != JobQueued ||
		j.CreatedBy != string(ActorOf(officer).Account) || !j.CreatedAt.Equal(clockStart) {
		t.Errorf("%+v", j)
	}
	if read := jobIs(t, r, j.ID, JobQueued, 0); fmt.Sprint(read) != fmt.Sprint(j) {
		t.Errorf("read %+v, made %+v", read, j)
	}
	now.pass(time.Minute)
	if got := claimJob(t, r, JobBackup, JobImport); got.ID != j.ID || got.State != JobRunning || got.Tries != 1 || !got.StartedAt.Equal(r.now()) {
		t.Errorf("%+v", got)
	}
	now.pass(10 * time.Second)
	p := Progress{Stage: "reading", Done: 3, Total: 10, Counts: map[string]int64{"added": 2, "skipped": 1}, Rate: 0.3}
	if w, err := r.SaveJob(t.Context(), j.ID, "3", p); err != nil || w != NoWish {
		t.Error(w, err)
	}
	got := jobIs(t, r, j.ID, JobRunning, 0)
	if fmt.Sprint(got.Progress) != fmt.Sprint(p) || got.Place != "3" || got.Spent != 10*time.Second {
		t.Errorf("%+v", got)
	}
	now.pass(5 * time.Second)
	endJob(t, r, j.ID, JobDone)
	if got := jobIs(t, r, j.ID, JobDone, 0); got.Spent != 15*time.Second || !got.EndedAt.Equal(r.now()) {
		t.Errorf("%+v", got)
	}
	claimNoJob(t, r, JobImport)
	if want := []string{"job.enqueued", "job.done"}; !slices.Equal(noted(t, r), want) {
		t.Errorf("noted %q", noted(t, r))
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Action: "job."})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Subject != string(j.ID) || len(e.Detail) != 1 || e.Detail["kind"] != "import" {
			t.Errorf("noted %+v", e)
		}
	}
}

func TestJobNotThere(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	_, job := r.Job(t.Context(), "j_none")
	_, take := r.TakeJob(t.Context(), "j_none")
	_, steer := r.WishJob(t.Context(), "j_none", WishPause)
	for name, err := range map[string]error{"read": job, "take": take, "wish": steer} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := r.Enqueue(t.Context(), NewJob{}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, _, err := r.Enqueue(t.Context(), NewJob{Kind: JobImport, Args: func() {}}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if all, err := r.Jobs(t.Context(), 10); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
	j := enqueue(t, r, NewJob{Kind: JobImport})
	if _, err := r.WishJob(t.Context(), j.ID, "dance"); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	claimJob(t, r, JobImport)
	if err := r.EndJob(t.Context(), j.ID, JobRunning, ""); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	jobIs(t, r, j.ID, JobRunning, 1)
}

// TestJobOneUnfinished: of one kind there is one unfinished job about the same, in whatever state.
func TestJobOneUnfinished(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	n := NewJob{Kind: JobImport, About: "/archive"}
	first := enqueue(t, r, n)
	again := func(want JobState) {
		t.Helper()
		if j, existed, err := r.Enqueue(t.Context(), n); err != nil || !existed || j.ID != first.ID || j.State != want {
			t.Errorf("%+v %v %v", j, existed, err)
		}
	}
	again(JobQueued)
	claimJob(t, r, JobImport)
	again(JobRunning)
	endJob(t, r, first.ID, JobPaused)
	again(JobPaused)
	if _, err := r.TakeJob(t.Context(), first.ID); err != nil {
		t.Error(err)
	}
	endJob(t, r, first.ID, JobParked)
	again(JobParked)
	enqueue(t, r, NewJob{Kind: JobImport, About: "/other"})
	enqueue(t, r, NewJob{Kind: JobBackup, About: "/archive"})
	wishJob(t, r, first.ID, WishCancel)
	if second := enqueue(t, r, n); second.ID == first.ID {
		t.Error("a cancelled job was enqueued again")
	}
}

// TestJobEnqueueTogether enqueues the same from two Registries at once: one job comes of it.
func TestJobEnqueueTogether(t *testing.T) {
	dir := t.TempDir()
	rs := []*Registry{open(t, dir, Options{}), open(t, dir, Options{})}
	var made sync.Map
	var news, wg = make(chan JobID, 40), sync.WaitGroup{}
	for i := range 20 {
		wg.Go(func() {
			j, existed, err := rs[i%2].Enqueue(t.Context(), NewJob{Kind: JobReindex, About: "set"})
			if err != nil {
				t.Error(err)
			}
			if !existed {
				news <- j.ID
			}
			made.Store(j.ID, true)
		})
	}
	wg.Wait()
	n := 0
	made.Range(func(any, any) bool { n++; return true })
	if len(news) != 1 || n != 1 {
		t.Errorf("%d new jobs, %d jobs", len(news), n)
	}
}

// TestJobEnqueueInTransaction: a job is there with what it is about, or neither is.
func TestJobEnqueueInTransaction(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	failed := errors.New("no")
	for _, fail := range []error{failed, nil} {
		err := r.change(t.Context(), "switch", func(ctx context.Context, tx *sql.Tx) error {
			if _, _, err := r.enqueue(ctx, tx, NewJob{Kind: JobCrossmatch, About: "set"}); err != nil {
				return err
			}
			return fail
		})
		if !errors.Is(err, fail) {
			t.Fatal(err)
		}
		all, err := r.Jobs(t.Context(), 10)
		if err != nil || (len(all) == 1) != (fail == nil) {
			t.Errorf("after %v: %v %v", fail, all, err)
		}
	}
	if want := []string{"job.enqueued"}; !slices.Equal(noted(t, r), want) {
		t.Error(noted(t, r))
	}
}

// TestJobOrder: oldest first, one of each kind at a time, and only of the kinds asked for.
func TestJobOrder(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, Options{}), open(t, dir, Options{})
	first := enqueue(t, a, NewJob{Kind: JobImport, About: "1"})
	second := enqueue(t, a, NewJob{Kind: JobImport, About: "2"})
	backup := enqueue(t, a, NewJob{Kind: JobBackup, About: "1"})
	claimNoJob(t, a, JobReindex)
	claimNoJob(t, a)
	if j := claimJob(t, a, JobImport); j.ID != first.ID {
		t.Error("not the oldest")
	}
	claimNoJob(t, b, JobImport)
	if j := claimJob(t, b, JobImport, JobBackup); j.ID != backup.ID {
		t.Errorf("%+v", j)
	}
	endJob(t, a, first.ID, JobDone)
	if j := claimJob(t, b, JobImport); j.ID != second.ID {
		t.Errorf("%+v", j)
	}
	// What one is at is not the other's to save, end, fail or take.
	_, saved := a.SaveJob(t.Context(), second.ID, "", Progress{})
	_, failed := a.FailJob(t.Context(), second.ID, "why")
	_, taken := a.TakeJob(t.Context(), second.ID)
	_, takenAgain := b.TakeJob(t.Context(), second.ID)
	_, done := a.TakeJob(t.Context(), first.ID)
	for what, err := range map[string]error{
		"save": saved, "fail": failed, "take": taken, "take again": takenAgain, "take a job that is done": done,
		"end": a.EndJob(t.Context(), second.ID, JobDone, ""), "end twice": a.EndJob(t.Context(), first.ID, JobDone, ""),
	} {
		if !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	all, err := a.Jobs(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	var order []JobID
	for _, j := range all {
		order = append(order, j.ID)
	}
	if want := []JobID{backup.ID, second.ID, first.ID}; !slices.Equal(order, want) {
		t.Errorf("listed %v, want %v", order, want)
	}
	if some, err := a.Jobs(t.Context(), 1); err != nil || len(some) != 1 {
		t.Error(some, err)
	}
}

// TestJobClaimTogether lets many claim at once: no job is handed out twice.
func TestJobClaimTogether(t *testing.T) {
	dir := t.TempDir()
	rs := []*Registry{open(t, dir, Options{}), open(t, dir, Options{})}
	kinds := []JobKind{JobImport, JobReindex, JobBackup}
	for _, k := range kinds {
		for i := range 4 {
			enqueue(t, rs[0], NewJob{Kind: k, About: fmt.Sprint(i)})
		}
	}
	var mu sync.Mutex
	got := make(map[JobID]int)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			j, ok, err := rs[i%2].ClaimJob(t.Context(), kinds...)
			if err != nil {
				t.Error(err)
			}
			if ok {
				mu.Lock()
				got[j.ID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(got) != len(kinds) { // one of each kind
		t.Errorf("%d jobs were handed out", len(got))
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("%s was handed out %d times", id, n)
		}
	}
}

func TestJobFails(t *testing.T) {
	var now clock
	dir := t.TempDir()
	r := open(t, dir, now.options())
	j := enqueue(t, r, NewJob{Kind: JobImport})
	wait := jobBackoff
	for try := 1; try <= JobTries; try++ {
		claimJob(t, r, JobImport)
		got, err := r.FailJob(t.Context(), j.ID, fmt.Sprint("why ", try))
		if err != nil || got.Tries != try || got.Reason != fmt.Sprint("why ", try) {
			t.Fatalf("%+v %v", got, err)
		}
		if try == JobTries {
			break
		}
		if got.State != JobQueued || !got.Due.Equal(r.now().Add(wait)) {
			t.Errorf("after %d tries: %s, due %v", try, got.State, got.Due.Sub(r.now()))
		}
		now.pass(wait - time.Millisecond)
		claimNoJob(t, r, JobImport)
		now.pass(time.Millisecond)
		wait *= 2
	}
	jobIs(t, r, j.ID, JobParked, JobTries)
	now.pass(time.Hour)
	claimNoJob(t, r, JobImport)
	// A parked job that is to pause stays as it is; one that goes on has all its tries.
	if got := wishJob(t, r, j.ID, WishPause); got.State != JobParked {
		t.Errorf("%+v", got)
	}
	if got := wishJob(t, r, j.ID, NoWish); got.State != JobQueued || got.Tries != 0 || got.Reason != "" {
		t.Errorf("%+v", got)
	}
	claimJob(t, r, JobImport)
	if got, err := r.FailJob(t.Context(), j.ID, "why"); err != nil || !got.Due.Equal(r.now().Add(jobBackoff)) {
		t.Errorf("%+v %v", got, err)
	}
	// Who says so need not wait.
	wishJob(t, r, j.ID, NoWish)
	claimJob(t, r, JobImport)
	// A job that comes further has all its tries again.
	saveJob(t, r, j.ID, "further")
	if got, err := r.FailJob(t.Context(), j.ID, "why"); err != nil || got.Tries != 0 || got.State != JobQueued || !got.Due.Equal(r.now().Add(jobBackoff)) {
		t.Errorf("%+v %v", got, err)
	}
	now.pass(jobBackoff)
	claimJob(t, r, JobImport)
	saveJob(t, r, j.ID, "further") // the same place is no further
	jobIs(t, r, j.ID, JobRunning, 1)
	if err := r.EndJob(t.Context(), j.ID, JobParked, "for good"); err != nil {
		t.Fatal(err)
	}
	if got := jobIs(t, r, j.ID, JobParked, 1); got.Reason != "for good" {
		t.Errorf("%+v", got)
	}
	// Taking it in hand is saying that it goes on.
	if got, err := r.TakeJob(t.Context(), j.ID); err != nil || got.Tries != 1 || got.Reason != "" {
		t.Errorf("%+v %v", got, err)
	}
	if want := []string{"job.enqueued", "job.parked", "job.resumed", "job.resumed", "job.parked", "job.resumed"}; !slices.Equal(noted(t, r), want) {
		t.Errorf("noted %q", noted(t, r))
	}
}

func TestJobBackoffIsBounded(t *testing.T) {
	longest := jobBackoff << (JobTries - 2)
	if longest > jobBackoffMost || jobBackoff <= 0 {
		t.Errorf("%v is more than %v", longest, jobBackoffMost)
	}
}

func TestJobWishes(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	about := 0
	fresh := func() JobID {
		about++
		return enqueue(t, r, NewJob{Kind: JobKind(fmt.Sprint("kind ", about))}).ID
	}
	running := func() JobID {
		id := fresh()
		claimJob(t, r, JobKind(fmt.Sprint("kind ", about)))
		return id
	}
	t.Run("queued", func(t *testing.T) {
		id := fresh()
		wishJob(t, r, id, WishPause)
		jobIs(t, r, id, JobPaused, 0)
		claimNoJob(t, r, JobKind(fmt.Sprint("kind ", about)))
		wishJob(t, r, id, NoWish)
		jobIs(t, r, id, JobQueued, 0)
		wishJob(t, r, id, WishCancel)
		if j := jobIs(t, r, id, JobCancelled, 0); j.EndedAt.IsZero() {
			t.Errorf("%+v", j)
		}
		for _, w := range []JobWish{WishPause, WishCancel, NoWish} {
			if _, err := r.WishJob(t.Context(), id, w); !errors.Is(err, ErrConflict) {
				t.Errorf("%q: %v", w, err)
			}
		}
		if _, err := r.TakeJob(t.Context(), id); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
	})
	t.Run("paused", func(t *testing.T) {
		id := fresh()
		wishJob(t, r, id, WishPause)
		wishJob(t, r, id, WishCancel)
		jobIs(t, r, id, JobCancelled, 0)
	})
	t.Run("running", func(t *testing.T) {
		id := running()
		wishJob(t, r, id, WishPause)
		if j := jobIs(t, r, id, JobRunning, 1); j.Wish != WishPause {
			t.Errorf("%+v", j)
		}
		if w := saveJob(t, r, id, "a"); w != WishPause {
			t.Error(w)
		}
		wishJob(t, r, id, NoWish) // changed their mind
		if w := saveJob(t, r, id, "b"); w != NoWish {
			t.Error(w)
		}
		wishJob(t, r, id, WishPause)
		wishJob(t, r, id, WishCancel)
		if w := saveJob(t, r, id, "c"); w != WishCancel {
			t.Error(w)
		}
		endJob(t, r, id, JobCancelled)
		jobIs(t, r, id, JobCancelled, 0)
	})
	// A wish that comes as the job leaves its process is not lost; a job that is done is done.
	for _, c := range []struct {
		wish     JobWish
		as, want JobState
	}{
		{WishPause, JobQueued, JobPaused},
		{WishPause, JobPaused, JobPaused},
		{WishPause, JobDone, JobDone},
		{WishPause, JobParked, JobParked},
		{WishCancel, JobQueued, JobCancelled},
		{WishCancel, JobPaused, JobCancelled},
		{WishCancel, JobParked, JobCancelled},
		{WishCancel, JobDone, JobDone},
	} {
		id := running()
		wishJob(t, r, id, c.wish)
		endJob(t, r, id, c.as)
		if j, err := r.Job(t.Context(), id); err != nil || j.State != c.want || j.Wish != NoWish {
			t.Errorf("%s of a job that is to %s: %+v %v", c.as, c.wish, j, err)
		}
	}
	for w, want := range map[JobWish]JobState{WishPause: JobPaused, WishCancel: JobCancelled} {
		id := running()
		wishJob(t, r, id, w)
		if j, err := r.FailJob(t.Context(), id, "why"); err != nil || j.State != want {
			t.Errorf("failure of a job that is to %s: %+v %v", w, j, err)
		}
	}
}

// TestJobWishesNoted: a wish is on record once, as its person's.
func TestJobWishesNoted(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	j := enqueue(t, r, NewJob{Kind: JobImport})
	claimJob(t, r, JobImport)
	boss := as(t, r, Administrator)
	for range 2 {
		if _, err := r.WishJob(boss, j.ID, WishPause); err != nil {
			t.Fatal(err)
		}
	}
	endJob(t, r, j.ID, JobPaused)
	if _, err := r.WishJob(boss, j.ID, NoWish); err != nil {
		t.Fatal(err)
	}
	claimJob(t, r, JobImport)
	endJob(t, r, j.ID, JobPaused) // nobody's wish but the process's
	if want := []string{"job.enqueued", "job.paused", "job.resumed", "job.paused"}; !slices.Equal(noted(t, r), want) {
		t.Errorf("noted %q", noted(t, r))
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Account: ActorOf(boss).Account})
	if err != nil || len(entries) != 2 {
		t.Error(entries, err)
	}
}

// TestJobHandedBack: a Registry that closes hands back what it was running, and what it had reserved.
func TestJobHandedBack(t *testing.T) {
	dir := t.TempDir()
	a := openToDie(t, dir, Options{})
	b := open(t, dir, Options{})
	running := enqueue(t, a, NewJob{Kind: JobImport})
	reserved := enqueue(t, a, NewJob{Kind: JobBackup, Here: true})
	paused := enqueue(t, a, NewJob{Kind: JobReindex})
	claimJob(t, a, JobImport)
	claimJob(t, a, JobReindex)
	wishJob(t, b, paused.ID, WishPause)
	claimNoJob(t, b, JobImport, JobBackup)
	if _, err := b.TakeJob(t.Context(), reserved.ID); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	jobIs(t, b, running.ID, JobQueued, 0)
	jobIs(t, b, paused.ID, JobPaused, 0)
	if j := claimJob(t, b, JobImport, JobBackup); j.ID != running.ID || j.Tries != 1 {
		t.Errorf("%+v", j)
	}
	if j := claimJob(t, b, JobImport, JobBackup); j.ID != reserved.ID {
		t.Errorf("%+v", j)
	}
}

// TestJobHere: a reserved job is its Registry's to take.
func TestJobHere(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, Options{}), open(t, dir, Options{})
	j := enqueue(t, a, NewJob{Kind: JobImport, Here: true})
	claimNoJob(t, b, JobImport)
	if got, err := a.TakeJob(t.Context(), j.ID); err != nil || got.Tries != 1 {
		t.Error(got, err)
	}
	endJob(t, a, j.ID, JobQueued) // no longer reserved
	if got := claimJob(t, b, JobImport); got.ID != j.ID {
		t.Errorf("%+v", got)
	}
}

// TestJobOfDead: what an ended process had is shown as it is and handed out, its try counted, and parked after the last.
func TestJobOfDead(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{})
	j := enqueue(t, b, NewJob{Kind: JobImport})
	for try := 1; try <= JobTries; try++ {
		a := openToDie(t, dir, Options{})
		claimJob(t, a, JobImport)
		jobIs(t, b, j.ID, JobRunning, try)
		die(t, a)
		want := JobQueued
		if try == JobTries {
			want = JobParked
		}
		jobIs(t, b, j.ID, want, try)
		if all, err := b.Jobs(t.Context(), 10); err != nil || len(all) != 1 || all[0].State != want {
			t.Error(all, err)
		}
	}
	claimNoJob(t, b, JobImport)
	if got, existed, err := b.Enqueue(t.Context(), NewJob{Kind: JobImport}); err != nil || !existed || got.State != JobParked || got.Reason != JobStopped {
		t.Errorf("%+v %v %v", got, existed, err)
	}
	if want := []string{"job.enqueued", "job.parked"}; !slices.Equal(noted(t, b), want) {
		t.Errorf("noted %q", noted(t, b))
	}
	wishJob(t, b, j.ID, NoWish)
	claimJob(t, b, JobImport)

	// What was wished of a job while its process died is not lost, and what was reserved is free.
	a := openToDie(t, dir, Options{})
	cancelled := enqueue(t, a, NewJob{Kind: JobBackup})
	claimJob(t, a, JobBackup)
	wishJob(t, b, cancelled.ID, WishCancel)
	reserved := enqueue(t, a, NewJob{Kind: JobReindex, Here: true})
	die(t, a)
	jobIs(t, b, cancelled.ID, JobCancelled, 1)
	jobIs(t, b, reserved.ID, JobQueued, 0)
	if got := claimJob(t, b, JobReindex); got.ID != reserved.ID {
		t.Errorf("%+v", got)
	}
	if _, existed, err := b.Enqueue(t.Context(), NewJob{Kind: JobBackup}); err != nil || existed {
		t.Error(existed, err)
	}
}

// TestJobReapedByOpen: opening queues again what ended processes had.
func TestJobReapedByOpen(t *testing.T) {
	dir := t.TempDir()
	a := openToDie(t, dir, Options{})
	j := enqueue(t, a, NewJob{Kind: JobImport})
	claimJob(t, a, JobImport)
	saveJob(t, a, j.ID, "here")
	die(t, a)
	b := open(t, dir, Options{})
	stored, err := jobsWhere(t.Context(), b.readers, "id = ?", j.ID)
	if err != nil || stored[0].State != JobQueued || stored[0].owner != "" || stored[0].Place != "here" {
		t.Errorf("%+v %v", stored, err)
	}
}

func TestProgressLeft(t *testing.T) {
	for _, c := range []struct {
		p    Progress
		left time.Duration
		ok   bool
	}{
		{Progress{Done: 10, Total: 40, Rate: 0.5}, time.Minute, true},
		{Progress{Done: 10, Rate: 1}, 0, false},
		{Progress{Done: 10, Total: 40}, 0, false},
		{Progress{Done: 40, Total: 40, Rate: 1}, 0, false},
		{Progress{Done: 41, Total: 40, Rate: 1}, 0, false},
		{Progress{Total: 1 << 60, Rate: 1e-9}, 0, false},
	} {
		if left, ok := c.p.Left(); left != c.left || ok != c.ok {
			t.Errorf("%+v: %v %v", c.p, left, ok)
		}
	}
}

func TestForgetJobs(t *testing.T) {
	var now clock
	r := open(t, t.TempDir(), now.options())
	old := enqueue(t, r, NewJob{Kind: JobImport, About: "old"})
	kept := enqueue(t, r, NewJob{Kind: JobImport, About: "unfinished"})
	claimJob(t, r, JobImport)
	for i := range forgetAtOnce + 3 {
		if _, err := r.writer.Exec(`INSERT INTO import_files (job_id, path, line, size, mtime, result, reason, remark, ref, taken, photo_id)
			VALUES (?, ?, 0, 1, 1, 'added', '', '', '', '', '')`, old.ID, i); err != nil {
			t.Fatal(err)
		}
	}
	endJob(t, r, old.ID, JobDone)
	now.pass(time.Hour)
	cancelled := enqueue(t, r, NewJob{Kind: JobBackup})
	wishJob(t, r, cancelled.ID, WishCancel)
	if n, err := r.ForgetJobs(t.Context(), clockStart); err != nil || n != 0 {
		t.Error(n, err)
	}
	if n, err := r.ForgetJobs(t.Context(), clockStart.Add(time.Minute)); err != nil || n != 1 {
		t.Error(n, err)
	}
	if _, err := r.Job(t.Context(), old.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	var left int
	if err := r.readers.QueryRow("SELECT count(*) FROM import_files").Scan(&left); err != nil || left != 0 {
		t.Error(left, err)
	}
	jobIs(t, r, kept.ID, JobQueued, 0)
	if n, err := r.ForgetJobs(t.Context(), clockStart.Add(100*time.Hour)); err != nil || n != 1 {
		t.Error(n, err)
	}
}

// TestJobKillVictim works on jobs until it is killed, and tells what was acknowledged, one line each: "enqueued J", "saved J PLACE",
// "done J", "paused J", "cancelled J".
func TestJobKillVictim(t *testing.T) {
	dir := os.Getenv(envKillDir)
	if dir == "" {
		t.Skip("runs only as the victim of the kill tests")
	}
	r := open(t, dir, Options{step: killSelf(t)})
	for {
		j, existed, err := r.Enqueue(t.Context(), NewJob{Kind: JobImport, About: "archive"})
		if err != nil {
			t.Fatal(err)
		}
		if !existed {
			fmt.Println("enqueued", j.ID)
		}
		if j.State == JobParked { // this process was ended too often before it came further
			if _, err := r.WishJob(t.Context(), j.ID, NoWish); err != nil {
				t.Fatal(err)
			}
		}
		claimed := false
		if rand.IntN(2) == 0 {
			if _, claimed, err = r.ClaimJob(t.Context(), JobImport); err != nil {
				t.Fatal(err)
			}
		}
		if !claimed { // also where it is not due
			if _, err := r.TakeJob(t.Context(), j.ID); err != nil {
				t.Fatal(err)
			}
		}
		place := j.Place + "x"
		if _, err := r.SaveJob(t.Context(), j.ID, place, Progress{Done: int64(len(place))}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("saved", j.ID, place)
		switch {
		case len(place) > 3:
			if err := r.EndJob(t.Context(), j.ID, JobDone, ""); err != nil {
				t.Fatal(err)
			}
			fmt.Println("done", j.ID)
		case rand.IntN(2) == 0:
			if _, err := r.FailJob(t.Context(), j.ID, "why"); err != nil {
				t.Fatal(err)
			}
			if _, err := r.WishJob(t.Context(), j.ID, NoWish); err != nil { // not to wait
				t.Fatal(err)
			}
		default:
			if err := r.EndJob(t.Context(), j.ID, JobQueued, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// examineJobs holds the jobs against what victims said: nothing acknowledged is lost, nothing is there twice, nobody dead is at a job.
func examineJobs(t *testing.T, dir string, said []string) {
	t.Helper()
	r, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	rows, err := jobsWhere(t.Context(), r.readers, "true")
	if err != nil {
		t.Fatal(err)
	}
	jobs := make(map[JobID]jobRow)
	unfinished := 0
	for _, j := range rows {
		jobs[j.ID] = j
		if !j.State.Finished() {
			unfinished++
		}
		if j.owner != "" || j.here || j.State == JobRunning {
			t.Errorf("somebody dead is at %+v", j)
		}
	}
	if unfinished > 1 {
		t.Errorf("%d unfinished jobs about the same", unfinished)
	}
	for _, line := range said {
		word := strings.Fields(line)
		if len(word) < 2 || !strings.HasPrefix(word[1], "j_") {
			continue
		}
		j, there := jobs[JobID(word[1])]
		switch {
		case !there:
			t.Errorf("acknowledged and lost: %s", line)
		case word[0] == "done" && j.State != JobDone:
			t.Errorf("acknowledged as done, and %s", j.State)
		case word[0] == "saved" && len(j.Place) < len(word[2]):
			t.Errorf("acknowledged at place %s, and back at %s", word[2], j.Place)
		}
	}
	if _, err := r.VerifyAudit(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

func TestJobKillAtRandom(t *testing.T) {
	dir := t.TempDir()
	var said []string
	for range 10 {
		said = append(said, runVictim(t, "TestJobKillVictim", dir, "", 1+rand.IntN(12))...)
		examineJobs(t, dir, said)
	}
}

func TestJobKillAtEveryStep(t *testing.T) {
	for _, step := range []string{"job.enqueued", "job.claimed", "job.taken", "job.saved", "job.failed", "job.ended", "job.wished"} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			var said []string
			for nth := 1; nth <= 2; nth++ {
				said = append(said, runVictim(t, "TestJobKillVictim", dir, fmt.Sprint(step, " ", nth), 0)...)
				examineJobs(t, dir, said)
			}
		})
	}
	t.Run("job.reaped", func(t *testing.T) {
		dir := t.TempDir()
		said := runVictim(t, "TestJobKillVictim", dir, "job.saved 2", 0)
		said = append(said, runVictim(t, "TestJobKillVictim", dir, "job.reaped 1", 0)...)
		examineJobs(t, dir, said)
	})
}

// TestJobHandBackFails: a Registry that cannot hand its jobs back leaves them to whoever comes next.
func TestJobHandBackFails(t *testing.T) {
	dir := t.TempDir()
	r := openToDie(t, dir, Options{step: func(step string) error {
		if step == "job.handed" {
			return errors.New("no")
		}
		return nil
	}})
	j := enqueue(t, r, NewJob{Kind: JobImport})
	claimJob(t, r, JobImport)
	if err := r.Close(); err == nil {
		t.Error("closed without handing back")
	}
	jobIs(t, open(t, dir, Options{}), j.ID, JobQueued, 1)
}
