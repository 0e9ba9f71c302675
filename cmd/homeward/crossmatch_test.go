package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"homeward/finder"
	"homeward/registry"
)

// TestKilledCrossmatch kills cross-matches at random moments, of which each goes on where the one before stopped: in the end every lead is
// there, and was opened once.
func TestKilledCrossmatch(t *testing.T) {
	const each, kills = 40, 12
	ctx, data := t.Context(), t.TempDir()
	modelsDir, err := filepath.Abs("../../models")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := finder.Open(ctx, finder.Config{Data: data, Models: modelsDir})
	if err != nil {
		t.Fatalf("%v (run scripts/setup)", err)
	}
	for i := range 2 * each {
		template := make([]float32, 129)
		for d := range template {
			template[d] = float32(rand.NormFloat64())
		}
		storeTemplate(t, f, []registry.Gallery{registry.Missing, registry.Found}[i%2], template)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	command := func(data string) *exec.Cmd {
		// Everybody is anybody's lead.
		cmd := exec.Command(self, "--data", data, "--models", modelsDir, "crossmatch", "--lead-threshold=-1e6")
		cmd.Env = append(os.Environ(), beHomeward+"=1")
		return cmd
	}
	// How long one takes, on a copy.
	whole := t.TempDir()
	if err := os.CopyFS(whole, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if out, err := command(whole).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	took := time.Since(began)
	killed := 0
	for range kills {
		cmd := command(data)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(took/4 + rand.N(3*took/4))
		_ = cmd.Process.Kill() // it may be over already
		if err := cmd.Wait(); err != nil {
			killed++
		}
	}
	// A job that was begun too often without coming further waits for a person, who says to go on.
	out, err := command(data).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("killed %d of %d; then: %s", killed, kills, out)
	r, err := registry.Open(ctx, data, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	seen := map[string]bool{}
	q := registry.LeadQuery{Order: registry.ByNewest, Limit: registry.MaxListed}
	for more := true; more; more = q.Cursor != "" {
		var leads []registry.Lead
		if leads, q.Cursor, err = r.Leads(ctx, q); err != nil {
			t.Fatal(err)
		}
		for _, l := range leads {
			seen[string(l.Missing+l.Found)] = true
			if l.Round != 1 || l.State != registry.LeadOpen {
				t.Fatalf("%+v", l)
			}
		}
	}
	if len(seen) != each*each {
		t.Errorf("%d pairs are leads, want %d", len(seen), each*each)
	}
	opened := 0
	notes := registry.AuditQuery{Action: "lead.opened", Limit: registry.MaxListed}
	for more := true; more; more = notes.Cursor != "" {
		var entries []registry.AuditEntry
		if entries, notes.Cursor, err = r.Audit(ctx, notes); err != nil {
			t.Fatal(err)
		}
		opened += len(entries)
	}
	if opened != each*each {
		t.Errorf("%d leads were opened, want %d", opened, each*each)
	}
}

// storeTemplate makes a case with a photo of which nothing is known but a template.
func storeTemplate(t *testing.T, f *finder.Finder, g registry.Gallery, template []float32) {
	t.Helper()
	ctx, r := t.Context(), f.Registry
	c, err := r.CreateCase(ctx, registry.Case{Gallery: g})
	if err != nil {
		t.Fatal(err)
	}
	up, err := r.NewUpload(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	if _, err = fmt.Fprint(up, "never looked at ", c.ID); err == nil {
		err = up.Finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := up.Commit(ctx, registry.NewPhoto{Format: "jpeg", Width: 100, Height: 100})
	if err != nil {
		t.Fatal(err)
	}
	face := registry.NewFace{Face: registry.Face{W: 50, H: 50, AgeYears: 8, AgeSD: 3, Quality: 0.8, Searchable: true}, Template: template}
	if err := r.SaveAnalysis(ctx, p.ID, f.TemplateSet(), registry.NewAnalysis{Width: 100, Height: 100, Faces: []registry.NewFace{face}}); err != nil {
		t.Fatal(err)
	}
}
