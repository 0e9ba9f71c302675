package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"homeward/client"
	"homeward/finder"
	"homeward/importer"
	"homeward/registry"
	"homeward/text"
)

// job enqueues a job whose folder, arguments and reason name a child.
func (s *testServer) job(t *testing.T, kind registry.JobKind, secret string) registry.JobID {
	t.Helper()
	j, existed, err := s.Finder.Registry.Enqueue(t.Context(), registry.NewJob{Kind: kind, About: "/archive/" + secret, Args: map[string]string{"manifest": secret}})
	if err != nil || existed {
		t.Fatal(existed, err)
	}
	return j.ID
}

// TestJobs sees and steers bulk work through the API as an administrator, who learns figures and no names.
func TestJobs(t *testing.T) {
	const secret = "Wistaria"
	s := newTestServer(t)
	r := s.Finder.Registry
	admin := s.colleague(t, registry.Administrator)
	c := client.New(s.URL, admin.key)
	if all, err := c.Jobs(t.Context()); err != nil || len(all.Jobs) != 0 {
		t.Fatal(all, err)
	}
	id := s.job(t, registry.JobImport, secret)
	if _, _, err := r.ClaimJob(t.Context(), registry.JobImport); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SaveJob(t.Context(), id, secret, registry.Progress{
		Stage: importer.StagePhotos, Done: 3000, Total: 10_000, Rate: 12.345, Counts: map[string]int64{"added": 2990, "unreadable": 10, "ms_decode": 77},
	}); err != nil {
		t.Fatal(err)
	}
	j, err := c.Job(t.Context(), string(id))
	if err != nil || j.State != "running" || j.Kind != "import" || j.Stage != "photos" || j.Done != 3000 || j.Total != 10_000 || j.Rate != 12.345 ||
		j.Counts["added"] != 2990 || j.StartedAt == nil || int(j.Left) != 567 {
		t.Errorf("%+v %v", j, err)
	}
	page := s.shownPage(t, admin.key, "/jobs")
	for _, want := range []string{"Import", "Running", "Reading photos", "3,000 of 10,000 (30 %)", "12.3 per second", "about 9 minutes left", "2,990", "Unreadable", `aria-label="Pause: Import of 20`, string(id)} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if strings.Contains(page, "77") && strings.Contains(page, "ms_decode") {
		t.Error("the page shows a count without words")
	}

	if j, err = c.PauseJob(t.Context(), string(id)); err != nil || j.Wish != "pause" || j.State != "running" {
		t.Errorf("%+v %v", j, err)
	}
	if err := r.EndJob(t.Context(), id, registry.JobPaused, ""); err != nil {
		t.Fatal(err)
	}
	if j, err = c.ResumeJob(t.Context(), string(id)); err != nil || j.State != "queued" || j.Rate != 0 {
		t.Errorf("%+v %v", j, err)
	}
	if _, _, err := r.ClaimJob(t.Context(), registry.JobImport); err != nil {
		t.Fatal(err)
	}
	if err := r.EndJob(t.Context(), id, registry.JobParked, "open /archive/"+secret+": no such file or directory"); err != nil {
		t.Fatal(err)
	}
	if j, err = c.Job(t.Context(), string(id)); err != nil || j.State != "parked" || j.Fault != "missing" {
		t.Errorf("%+v %v", j, err)
	}
	page = s.shownPage(t, admin.key, "/jobs")
	if !strings.Contains(page, "Needs attention") || !strings.Contains(page, "is not there") {
		t.Error("the page does not say why a job is parked")
	}
	if all := fmt.Sprint(c.Jobs(t.Context())); strings.Contains(page+all, secret) || strings.Contains(page+all, "archive/") {
		t.Error("who sees no case reads a folder's name")
	}
	if j, err = c.CancelJob(t.Context(), string(id)); err != nil || j.State != "cancelled" {
		t.Errorf("%+v %v", j, err)
	}

	for name, ask := range map[string]func() error{
		"not_found":       func() error { _, err := c.Job(t.Context(), "j_none"); return err },
		"not_found again": func() error { _, err := c.PauseJob(t.Context(), "j_none"); return err },
		"job_finished":    func() error { _, err := c.ResumeJob(t.Context(), string(id)); return err },
	} {
		code, _, _ := strings.Cut(name, " ")
		var p *client.Problem
		if err := ask(); !errors.As(err, &p) || p.Code() != code {
			t.Errorf("%s: %v", name, err)
		}
	}
	entries, _, err := r.Audit(t.Context(), registry.AuditQuery{Action: "job.", Account: admin.ID})
	if err != nil || len(entries) != 3 {
		t.Errorf("noted %+v %v", entries, err)
	}
	for _, role := range registry.Roles {
		if role == registry.Administrator || role == registry.Family {
			continue
		}
		if status, _ := s.tell(t, s.colleague(t, role).key, http.MethodPost, "/jobs/"+string(id)+"/cancel", nil, nil); status != http.StatusForbidden {
			t.Errorf("%s may: %d", role, status)
		}
	}
}

// TestJobFaults: what a reason comes down to names nothing.
func TestJobFaults(t *testing.T) {
	s := newTestServer(t)
	r := s.Finder.Registry
	admin := client.New(s.URL, s.colleague(t, registry.Administrator).key)
	for reason, want := range map[string]string{
		registry.JobStopped: "stopped", "store photo: the disk is full: free some space": "full", "write /a/b: no space left on device": "full",
		"open /a: permission denied": "denied", "read row: stored data is damaged": "damaged", "something about a child": "other",
	} {
		id := s.job(t, registry.JobImport, reason)
		if _, err := r.TakeJob(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := r.EndJob(t.Context(), id, registry.JobParked, reason); err != nil {
			t.Fatal(err)
		}
		if j, err := admin.Job(t.Context(), string(id)); err != nil || j.Fault != want {
			t.Errorf("%q is %q, want %q; %v", reason, j.Fault, want, err)
		}
	}
}

// TestJobWords: people have words for every kind, state, stage and outcome that there is.
func TestJobWords(t *testing.T) {
	catalogue, err := text.Load()
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for kind, stages := range map[registry.JobKind][]string{
		registry.JobImport:     {importer.StageSurvey, importer.StageList, importer.StagePhotos, importer.StageCompare},
		registry.JobReindex:    {finder.ReindexTemplates, finder.ReindexPhotos, finder.ReindexComparing},
		registry.JobCrossmatch: {string(registry.Missing), string(registry.Found)},
		registry.JobBackup:     {"database", "photos"},
	} {
		keys = append(keys, "jobs.kind."+string(kind))
		for _, stage := range stages {
			keys = append(keys, "jobs.stage."+string(kind)+"."+stage)
		}
	}
	for _, s := range []registry.JobState{registry.JobQueued, registry.JobRunning, registry.JobPaused, registry.JobParked, registry.JobDone, registry.JobCancelled} {
		keys = append(keys, "jobs.state."+string(s))
	}
	for _, count := range []string{
		string(registry.ImportAdded), string(registry.ImportDuplicate), string(registry.ImportUnreadable), string(registry.ImportSkipped),
		finder.ReindexProjected, finder.ReindexAnalysed, finder.ReindexSetAside,
		finder.CrossCompared, finder.CrossPairs, finder.CrossInFull, finder.CrossOpened, finder.CrossChanged,
	} {
		keys = append(keys, "jobs.count."+count)
	}
	for _, lang := range catalogue.Languages() {
		for _, key := range keys {
			if catalogue.Pick(lang.Code).T(key) == key {
				t.Errorf("%s has no words for %s", lang.Code, key)
			}
		}
	}
}

// TestJobsInABrowser watches a job on a phone and at a desk, in two languages, and steers it: the page follows by itself.
func TestJobsInABrowser(t *testing.T) {
	checker := axe(t)
	for _, at := range []struct {
		name, language        string
		width, height         int64
		running, paused, done string
		figures               string
	}{
		{"jobs desktop", "en", 1280, 900, "Running", "Paused", "Done", "5,000 of 10,000 (50 %) · 50 per second · about 2 minutes left"},
		{"jobs phone", "zh", 360, 740, "进行中", "已暂停", "已完成", "5,000 / 10,000（50%） · 每秒 50 · 约剩 2 分钟"},
	} {
		t.Run(at.name, func(t *testing.T) {
			s := newTestServer(t)
			r := s.Finder.Registry
			failed := s.job(t, registry.JobBackup, "old")
			if _, err := r.TakeJob(t.Context(), failed); err != nil {
				t.Fatal(err)
			}
			if err := r.EndJob(t.Context(), failed, registry.JobParked, "the disk is full"); err != nil {
				t.Fatal(err)
			}
			id := s.job(t, registry.JobImport, "new")
			if _, err := r.TakeJob(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			save := func(done int64) {
				t.Helper()
				if _, err := r.SaveJob(t.Context(), id, fmt.Sprint(done), registry.Progress{
					Stage: importer.StagePhotos, Done: done, Total: 10_000, Rate: 50, Counts: map[string]int64{"added": done - 20, "duplicate": 12, "unreadable": 8},
				}); err != nil {
					t.Fatal(err)
				}
			}
			save(1000)

			b := s.browse(t, at.name, s.colleague(t, registry.Administrator).ID, at.language)
			b.do(chromedp.EmulateViewport(at.width, at.height))
			b.open("/jobs")
			item := "#" + string(id)
			b.see(item+" .badge", at.running)
			b.picture("1 running")
			b.accessible(checker, at.name)
			if at.language == "zh" {
				b.eval(`document.querySelectorAll(".number, .who").forEach(e => e.remove()), ""`)
				if said := b.eval(latin); said != "" {
					t.Errorf("in English: %s", said)
				}
			}
			if wide := b.eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide != "0" {
				t.Errorf("the page is %s pixels too wide", wide)
			}
			// What changes is shown without a reload, and a button that is held stays held.
			b.eval(`(window.same = true, document.querySelector("` + item + ` button").focus())`)
			save(5000)
			b.see(item+" .figures", at.figures)
			if !b.is(`window.same && document.activeElement.matches("` + item + ` button")`) {
				t.Error("the page was loaded anew, or what was held was lost")
			}
			b.eval(`document.querySelector("` + item + ` button[data-api$='/pause']").click()`)
			b.until(`!window.same`)
			if j, err := r.Job(t.Context(), id); err != nil || j.Wish != registry.WishPause {
				t.Errorf("%+v %v", j, err)
			}
			if err := r.EndJob(t.Context(), id, registry.JobPaused, ""); err != nil {
				t.Fatal(err)
			}
			b.see(item+" .badge", at.paused)
			b.picture("2 paused")
			b.accessible(checker, at.name+", paused")
			b.eval(`(window.same = true, document.querySelector("` + item + ` form button:not([data-api])").click())`)
			b.until(`!window.same`)
			if _, err := r.TakeJob(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if err := r.EndJob(t.Context(), id, registry.JobDone, ""); err != nil {
				t.Fatal(err)
			}
			b.see(item+" .badge", at.done)
			// Who does not want it to move can stop it.
			b.eval(`(document.querySelector("#live").click(), window.same = true)`)
			b.accessible(checker, at.name+", done")
		})
	}
}
