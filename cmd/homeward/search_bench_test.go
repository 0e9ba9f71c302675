package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"homeward/api"
	"homeward/client"
	"homeward/finder"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// BenchmarkSearchDuringImport measures how long a person waits for a search while an import runs in another process, and how long where
// none does: searches with a photo, which the models look at first, and with an enrolled face, in turn by one client, of a server
// with 5,000 enrolled faces. HOMEWARD_ARCHIVE names an archive to import (scripts/mixed-archive makes one, of 3,000 photos for a
// start); without it portraits are imported. Run it with -benchtime 1x.
func BenchmarkSearchDuringImport(b *testing.B) {
	const faces, searches, fewest = 5000, 200, 100
	data, archive := b.TempDir(), os.Getenv("HOMEWARD_ARCHIVE")
	if archive == "" {
		archive = portraits(b, 2000)
	}
	face := fillRegistry(b, data, faces)
	// An account makes as many searches as people do; this many at once take several.
	var keys []string
	for range 1 + 2*2*(searches+searches/10)/100 {
		keys = append(keys, newKey(b, data))
	}
	// The command as it is built: the test's own hurries its bulk work.
	self := filepath.Join(b.TempDir(), "homeward")
	if out, err := exec.Command("go", "build", "-o", self, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for b.Loop() {
		p := startServerOf(b, self, data, keys[0])
		var clients []*client.Client
		for _, key := range keys {
			clients = append(clients, client.New(p.address, key))
		}
		n := 0
		next := func() *client.Client { n++; return clients[n%len(clients)] }
		probe, among := photos.Read(b, photos.Obama2), client.Filter{Gallery: "missing"}
		kinds := map[string]func() (api.Search, error){
			"photo": func() (api.Search, error) { return next().SearchPhoto(b.Context(), among, bytes.NewReader(probe)) },
			"face":  func() (api.Search, error) { return next().SearchFace(b.Context(), among, face) },
		}
		measure := func(count int, ended <-chan error) map[string][]time.Duration {
			took := map[string][]time.Duration{}
			for range count {
				select {
				case err := <-ended:
					if len(took["photo"]) < fewest {
						b.Fatalf("the import ended after %d searches: name a larger archive in HOMEWARD_ARCHIVE (%v)", len(took["photo"]), err)
					}
					return took
				default:
				}
				for kind, search := range kinds {
					began := time.Now()
					found, err := search()
					took[kind] = append(took[kind], time.Since(began))
					if err != nil || len(found.Candidates) == 0 {
						b.Fatalf("%s search: %d candidates, %v", kind, len(found.Candidates), err)
					}
				}
			}
			return took
		}
		measure(searches/10, nil) // the first ones load models
		idle := measure(searches, nil)

		ctx, stop := context.WithCancel(b.Context())
		cmd := exec.CommandContext(ctx, self, "--data", data, "--models", "../../models", "import", archive, "--gallery", "found")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		stored := filepath.Join(data, "photos")
		before := countFiles(b, stored)
		for countFiles(b, stored) < before+20 { // it is at work
			select {
			case err := <-ended:
				b.Fatalf("the import ended at once: %v\n%s", err, &out)
			case <-time.After(50 * time.Millisecond):
			}
		}
		before = countFiles(b, stored)
		began := time.Now()
		busy := measure(searches, ended)
		b.ReportMetric(float64(countFiles(b, stored)-before)/time.Since(began).Seconds(), "imported/s")
		stop()
		<-ended
		p.stop(b)

		for kind := range kinds {
			for when, took := range map[string][]time.Duration{"idle": idle[kind], "import": busy[kind]} {
				b.ReportMetric(quantile(took, 0.5), fmt.Sprintf("ms-%s-%s-median", kind, when))
				b.ReportMetric(quantile(took, 0.99), fmt.Sprintf("ms-%s-%s-p99", kind, when))
			}
			b.ReportMetric(quantile(busy[kind], 0.99)/quantile(idle[kind], 0.99), kind+"-p99-ratio")
		}
	}
}

// quantile is in milliseconds.
func quantile(of []time.Duration, q float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return float64(of[min(len(of)-1, int(q*float64(len(of))))].Microseconds()) / 1000
}

// fillRegistry enrols so many made-up missing children and one found child's portrait, whose face it returns.
func fillRegistry(b *testing.B, data string, faces int) string {
	b.Helper()
	ctx := b.Context()
	config := finder.Config{Data: data, Models: "../../models"}
	f, err := finder.Open(ctx, config)
	if err != nil {
		b.Fatalf("%v (run scripts/setup)", err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			b.Error(err)
		}
	}()
	metric, err := finder.MetricFor(config.Models, f.Set())
	if err != nil {
		b.Fatal(err)
	}
	r, set := f.Registry, f.TemplateSet()
	enrol := func(i int) error {
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		embeddings := map[string][]float32{}
		for _, of := range f.Set().Recognisers {
			v := make([]float32, of.Output.Dim)
			for d := range v {
				v[d] = float32(rng.NormFloat64())
			}
			embeddings[of.Fingerprint()] = v
		}
		template, err := metric.Template(embeddings)
		if err != nil {
			return err
		}
		c, err := r.CreateCase(ctx, registry.Case{Gallery: registry.Missing, Sex: []registry.Sex{registry.Female, registry.Male}[i%2]})
		if err != nil {
			return err
		}
		up, err := r.NewUpload(ctx, c.ID)
		if err != nil {
			return err
		}
		defer up.Close()
		if _, err := fmt.Fprint(up, "never looked at ", i); err != nil {
			return err
		}
		if err := up.Finish(); err != nil {
			return err
		}
		p, _, err := up.Commit(ctx, registry.NewPhoto{Format: "jpeg", Width: 100, Height: 100})
		if err != nil {
			return err
		}
		face := registry.NewFace{Face: registry.Face{W: 50, H: 50, AgeYears: 3 + float32(i%10), AgeSD: 3, Quality: 0.8, Searchable: true}, Embeddings: embeddings, Template: template}
		return r.SaveAnalysis(ctx, p.ID, set, registry.NewAnalysis{Width: 100, Height: 100, Faces: []registry.NewFace{face}})
	}
	var all errgroup.Group
	all.SetLimit(8)
	for i := range faces {
		all.Go(func() error { return enrol(i) })
	}
	if err := all.Wait(); err != nil {
		b.Fatal(err)
	}
	c, err := r.CreateCase(ctx, registry.Case{Gallery: registry.Found})
	if err != nil {
		b.Fatal(err)
	}
	p, _, err := f.AddPhoto(ctx, c.ID, finder.NewPhoto{}, bytes.NewReader(photos.Read(b, photos.Obama)))
	if err != nil || len(p.Faces) != 1 {
		b.Fatalf("%d faces, %v", len(p.Faces), err)
	}
	// Otherwise the server would compare all of them while searches are timed.
	f.Refresh(ctx)
	for {
		n, err := f.Standing(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if n == 0 {
			return string(p.Faces[0].ID)
		}
	}
}

// portraits makes an archive of so many portraits, each a case of its own and another's bytes nowhere.
func portraits(b *testing.B, n int) string {
	b.Helper()
	const kinds = 40
	dir := b.TempDir()
	var photo [][]byte
	for i, name := range []string{photos.Obama, photos.Obama3, photos.Biden, photos.Astronaut} {
		img := photos.Decode(b, photos.Read(b, name))
		for k := range kinds / 4 {
			photo = append(photo, variant(b, img, 4*k+i))
		}
	}
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprintf("case-%05d", i))
		if err := os.Mkdir(folder, 0o755); err != nil {
			b.Fatal(err)
		}
		content := append(bytes.Clone(photo[i%kinds]), make([]byte, i/kinds)...) // JPEG decoders ignore what follows the end
		if err := os.WriteFile(filepath.Join(folder, "a.jpg"), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}
