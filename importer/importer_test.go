package importer

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nfnt/resize"
	"golang.org/x/sys/unix"

	"homeward/finder"
	photos "homeward/internal/testphotos"
	"homeward/internal/testworker"
	"homeward/jobs"
	"homeward/registry"
)

// open opens a registry with real models.
func open(t testing.TB, data string) *finder.Finder {
	t.Helper()
	f, err := finder.Open(t.Context(), finder.Config{Data: data, Models: "../models"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// empty deletes all cases, for the next import to begin anew.
func empty(t testing.TB, f *finder.Finder) {
	t.Helper()
	cases, _, err := f.Registry.ListCases(t.Context(), registry.CaseQuery{Limit: registry.MaxListed})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if err := f.Registry.DeleteCase(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// small is a portrait of few bytes, of which no other n has the same.
func small(t testing.TB, name string, n int) []byte {
	t.Helper()
	img := resize.Thumbnail(300, 300, photos.Decode(t, photos.Read(t, name)), resize.Bilinear)
	return append(photos.JPEG(t, img), bytes.Repeat([]byte("x"), n)...) // JPEG decoders ignore what follows the end
}

// result is what became of an import.
type result struct {
	Report
	job   registry.Job
	lines []Line
}

// line is the report on a file.
func (r result) line(t testing.TB, path string) Line {
	t.Helper()
	i := slices.IndexFunc(r.lines, func(l Line) bool { return l.Path == path })
	if i < 0 {
		t.Errorf("nothing is reported of %s", path)
		return Line{}
	}
	return r.lines[i]
}

// run imports in the foreground, as the command does.
func run(t testing.TB, f *finder.Finder, a Args) (result, error) {
	t.Helper()
	if a.Gallery == "" {
		a.Gallery = registry.Missing
	}
	j, _, err := f.Registry.Enqueue(t.Context(), a.NewJob())
	if err != nil {
		t.Fatal(err)
	}
	runner := jobs.Runner{Registry: f.Registry, Handlers: map[registry.JobKind]jobs.Handler{registry.JobImport: Job(f)}}
	var out result
	var failed error
	out.job, failed = runner.One(t.Context(), j.ID, nil)
	out.Report, err = ReadReport(t.Context(), f.Registry, j.ID, func(l Line) error {
		out.lines = append(out.lines, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, failed
}

// tree is a folder, or an archive, by its paths. A path that ends in "@" is a link to what it holds.
type tree map[string][]byte

func (files tree) names() []string {
	var out []string
	for name := range files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (files tree) folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if link, ok := strings.CutSuffix(p, "@"); ok {
			if err := os.Symlink(string(data), link); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (files tree) zip(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range files.names() {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Unix(1_000_000_000, 0)}
		if link, ok := strings.CutSuffix(name, "@"); ok {
			h.Name = link
			h.SetMode(os.ModeSymlink | 0o777)
		}
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (files tree) tar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range files.names() {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Unix(1_000_000_000, 0), Typeflag: tar.TypeReg}
		if link, ok := strings.CutSuffix(name, "@"); ok {
			h.Name, h.Size, h.Typeflag, h.Linkname = link, 0, tar.TypeSymlink, string(files[name])
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(files[name]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// sample is an archive of some of everything.
func sample(t testing.TB) tree {
	return tree{
		"案件_1/a.jpg":       small(t, photos.Obama, 0),
		"案件_1/b/again.jpg": small(t, photos.Obama, 0),
		"案件_1/c.jpg":       small(t, photos.Obama3, 0),
		"two/other.jpg":    small(t, photos.Biden, 0),
		"two/same.jpg":     photos.JPEG(t, resize.Resize(200, 0, photos.Decode(t, small(t, photos.Obama, 0)), resize.Lanczos3)),
		"two/both.jpg":     photos.Beside(t, photos.Read(t, photos.Biden), photos.Read(t, photos.Obama2)),
		"two/nobody.jpg":   photos.NoFace(t),
		"two/text.jpg":     []byte("This is not a photo."),
		"two/empty.jpg":    nil,
		"two/more.zip":     []byte("PK\x03\x04"),
		"nobody/text.jpg":  []byte("Nor is this."),
		"loose.jpg":        small(t, photos.Obama, 1),
		"two/link.jpg@":    []byte("other.jpg"),
		"two/.hidden":      []byte("x"),
		"Thumbs.db":        []byte("x"),
	}
}

// TestImport imports the same cases as a folder and as every kind of archive.
func TestImport(t *testing.T) {
	f := open(t, t.TempDir())
	files := sample(t)
	for name, source := range map[string]func() string{
		"folder":   func() string { return files.folder(t) },
		"a.zip":    func() string { return write(t, "a.zip", files.zip(t)) },
		"a.tar":    func() string { return write(t, "a.tar", files.tar(t)) },
		"a.tar.gz": func() string { return write(t, "a.tar.gz", gzipped(t, files.tar(t))) },
		"a.zst":    func() string { return write(t, "a.tar.zst", zstandard(t, files.tar(t))) },
	} {
		t.Run(name, func(t *testing.T) {
			empty(t, f)
			a := Args{Source: source(), Gallery: registry.Missing}
			if _, err := a.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			dry, err := DryRun(t.Context(), f.Registry, a, func(Line) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			if dry.CasesNew != 2 || dry.CasesKnown != 0 || dry.New != 6 || dry.Known != 1 || dry.Unreadable != 3 || dry.Skipped != 3 {
				t.Errorf("dry run: %+v", dry)
			}
			got, err := run(t, f, a)
			if err != nil {
				t.Fatal(err)
			}
			want := Report{CasesAdded: 2, Added: 6, Duplicates: 1, Unreadable: 3, Skipped: 3, NeedSubject: 1, NoFace: 1, Alike: 1}
			if got.Report != want {
				t.Errorf("%+v, want %+v\n%+v", got.Report, want, got.lines)
			}
			for path, outcome := range map[string]Outcome{
				"案件_1/c.jpg": Added, "two/both.jpg": SeveralFaces, "two/nobody.jpg": NoFace, "two/text.jpg": Unreadable, "two/empty.jpg": Unreadable,
				"two/more.zip": Skipped, "nobody/text.jpg": Unreadable, "loose.jpg": Skipped, "two/link.jpg": Skipped,
			} {
				if l := got.line(t, path); l.Outcome != outcome || outcome != Added && l.Reason == "" {
					t.Errorf("%+v, want %s", l, outcome)
				}
			}
			c, err := f.Registry.CaseByRef(t.Context(), registry.Missing, "案件_1")
			if err != nil || fmt.Sprint(c.Names) != "[案件 1]" || c.Photos != 2 {
				t.Errorf("%+v, %v", c, err)
			}
			if _, err := f.Registry.CaseByRef(t.Context(), registry.Missing, "nobody"); !errors.Is(err, registry.ErrNotFound) {
				t.Error("a folder without a photo has become a case:", err)
			}
			if a, b := got.line(t, "two/same.jpg").Remark, got.line(t, "案件_1/a.jpg").Remark+got.line(t, "案件_1/b/again.jpg").Remark; (a == "") == (b == "") ||
				!strings.Contains(a+b, "looks the same as photo p_") {
				t.Errorf("remarks %q, %q", a, b)
			}
			for _, k := range []string{CountReceive, CountDecode, CountInference, CountStore} {
				if got.job.Progress.Counts[k] <= 0 {
					t.Errorf("%s is %d", k, got.job.Progress.Counts[k])
				}
			}

			// Again, it adds nothing.
			again, err := run(t, f, a)
			if err != nil {
				t.Fatal(err)
			}
			want = Report{CasesKnown: 2, Duplicates: 7, Unreadable: 3, Skipped: 3, NeedSubject: 1, NoFace: 1}
			if again.Report != want || again.job.ID == got.job.ID {
				t.Errorf("again: %+v, want %+v", again.Report, want)
			}
			if dry, err = DryRun(t.Context(), f.Registry, a, func(Line) error { return nil }); err != nil || dry.New != 0 || dry.Known != 7 || dry.CasesKnown != 2 {
				t.Errorf("dry run afterwards: %+v, %v", dry, err)
			}
		})
	}
}

// TestDryRunWritesNothing runs where there is no registry.
func TestDryRunWithoutRegistry(t *testing.T) {
	a := Args{Source: sample(t).folder(t), Gallery: registry.Found}
	var lines []Line
	dry, err := DryRun(t.Context(), nil, a, func(l Line) error {
		lines = append(lines, l)
		return nil
	})
	if err != nil || dry.New != 6 || dry.CasesNew != 2 || len(lines) != 13 {
		t.Errorf("%+v, %v, %d lines", dry, err, len(lines))
	}
	if l := (result{lines: lines}).line(t, "two/other.jpg"); !strings.HasPrefix(l.Reason, "jpeg, ") {
		t.Errorf("%+v", l)
	}
}

const listed = `案件编号,照片,姓名,性别,出生日期
1,pics/a.jpg,样本一,男,1961-08-04
2,pics/b.jpg,样本二,,1942
1,pics\c.jpg,,,
3,pics/gone.jpg,样本三,女,
4,../a.jpg,,,
5,pics/a.jpg,,robot,
2,pics/a.jpg,,,
`

// TestManifest imports what a manifest names, rows of one case apart from one another, from a folder and from archives.
func TestManifest(t *testing.T) {
	files := tree{
		"pics/a.jpg": small(t, photos.Obama, 0), "pics/b.jpg": small(t, photos.Biden, 0), "pics/c.jpg": small(t, photos.Obama3, 0),
		"pics/other.jpg": small(t, photos.Obama2, 0),
	}
	within := tree{}
	for name, data := range files { // as a folder that was packed as one
		within["top/"+name] = data
	}
	within["top/list.csv"] = []byte(listed)
	files["list.csv"] = []byte(listed)
	outside := write(t, "list.csv", []byte("\ufeff"+listed))
	f := open(t, t.TempDir())
	for name, a := range map[string]Args{
		"folder":                 {Source: files.folder(t), Manifest: "list.csv"},
		"folder, outside":        {Source: files.folder(t), Manifest: outside},
		"zip":                    {Source: write(t, "a.zip", files.zip(t)), Manifest: "list.csv"},
		"zip, workbook":          {Source: write(t, "a.zip", files.zip(t)), Manifest: write(t, "list.xlsx", workbook(t, listed))},
		"tar":                    {Source: write(t, "a.tar", files.tar(t)), Manifest: "list.csv"},
		"tar, outside":           {Source: write(t, "a.tgz", gzipped(t, files.tar(t))), Manifest: outside},
		"zip, one folder":        {Source: write(t, "a.zip", within.zip(t)), Manifest: "top/list.csv"},
		"tar, one folder":        {Source: write(t, "a.tar", within.tar(t)), Manifest: "list.csv"},
		"tar, one folder, other": {Source: write(t, "a.tar", within.tar(t)), Manifest: outside},
		"folder in it":           {Source: within.folder(t), Manifest: "top/list.csv"},
	} {
		t.Run(name, func(t *testing.T) {
			empty(t, f)
			a.Gallery = registry.Found
			if _, err := a.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			dry, err := DryRun(t.Context(), f.Registry, a, func(Line) error { return nil })
			if err != nil || dry.New != 5 || dry.CasesNew != 4 || dry.Skipped != 2 || !strings.Contains(dry.Columns, "case=案件编号") {
				t.Errorf("dry run: %+v, %v", dry, err)
			}
			got, err := run(t, f, a)
			if err != nil {
				t.Fatal(err)
			}
			want := Report{CasesAdded: 4, Added: 5, Skipped: 2, Alike: 2}
			if got.Report != want {
				t.Errorf("%+v, want %+v\n%+v", got.Report, want, got.lines)
			}
			one, err := f.Registry.CaseByRef(t.Context(), registry.Found, "1")
			if err != nil || one.Sex != registry.Male || one.BornFrom.String() != "1961-08-04" || one.Photos != 2 {
				t.Errorf("%+v, %v", one, err)
			}
			three, err := f.Registry.CaseByRef(t.Context(), registry.Found, "3")
			if err != nil || three.Photos != 0 || fmt.Sprint(three.Names) != "[样本三]" {
				t.Errorf("a case is worth having without its photo: %+v, %v", three, err)
			}
			if l := got.line(t, "pics/gone.jpg"); l.Outcome != Skipped || l.Line != 5 || l.Reason == "" {
				t.Errorf("%+v", l)
			}
			if again, err := run(t, f, a); err != nil || again.Duplicates != 5 || again.Added != 0 || again.CasesAdded != 0 {
				t.Errorf("again: %+v, %v", again.Report, err)
			}
		})
	}
}

// TestWrapper imports archives of a folder of cases, which is no case itself.
func TestWrapper(t *testing.T) {
	files := tree{"export/one/a.jpg": small(t, photos.Obama, 0), "export/two/b.jpg": small(t, photos.Biden, 0)}
	f := open(t, t.TempDir())
	for _, a := range []Args{{Source: write(t, "a.zip", files.zip(t))}, {Source: write(t, "a.tar", files.tar(t))}} {
		empty(t, f)
		if got, err := run(t, f, a); err != nil || got.CasesAdded != 2 {
			t.Errorf("%+v, %v", got.Report, err)
		}
		if _, err := f.Registry.CaseByRef(t.Context(), registry.Missing, "one"); err != nil {
			t.Error(err)
		}
	}
}

// TestTricks imports archives that are made to do harm.
func TestTricks(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.jpg")
	if err := os.WriteFile(outside, small(t, photos.Obama, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	files := tree{
		"../up/a.jpg": small(t, photos.Obama, 0), "/abs/a.jpg": small(t, photos.Obama, 0), `..\back\a.jpg`: small(t, photos.Obama, 0),
		`C:\c\a.jpg`: small(t, photos.Obama, 0), "good/../../a.jpg": small(t, photos.Obama, 0),
		"good/link.jpg@": []byte(outside), "good/inner.zip": tree{"x/a.jpg": small(t, photos.Obama, 0)}.zip(t),
		"good/a.jpg": small(t, photos.Biden, 0), `win\b.jpg`: small(t, photos.Obama2, 0),
	}
	var withDevice bytes.Buffer
	w := tar.NewWriter(&withDevice)
	for _, h := range []*tar.Header{
		{Name: "good/null", Typeflag: tar.TypeChar}, {Name: "good/pipe", Typeflag: tar.TypeFifo},
		{Name: "good/hard.jpg", Typeflag: tar.TypeLink, Linkname: outside}, {Name: "good/huge.jpg", Typeflag: tar.TypeReg, Size: 65 << 20},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f := open(t, t.TempDir())
	both := append(files.tar(t)[:len(files.tar(t))-1024], withDevice.Bytes()...) // without the blocks that end the first
	for name, data := range map[string][]byte{"a.zip": files.zip(t), "a.tar": both} {
		t.Run(name, func(t *testing.T) {
			empty(t, f)
			got, err := run(t, f, Args{Source: write(t, name, data)})
			if err != nil {
				t.Fatal(err)
			}
			if got.Added != 2 || got.CasesAdded != 2 {
				t.Errorf("%+v %+v", got.Report, got.lines)
			}
			want := int64(7)
			if name == "a.tar" {
				want += 4
			}
			if got.Skipped != want {
				t.Errorf("%d skipped, want %d: %+v", got.Skipped, want, got.lines)
			}
			if l := got.line(t, "win/b.jpg"); l.Outcome != Added || l.Case != "win" {
				t.Errorf("%+v", l)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestBombs imports archives that expand to very much.
func TestBombs(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"one/bomb.jpg", "one/good.jpg"} {
		w, err := z.Create(name)
		if err == nil && name == "one/bomb.jpg" {
			_, err = io.CopyN(w, zeros{}, 60<<20)
		} else if err == nil {
			_, err = w.Write(small(t, photos.Obama, 0))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f := open(t, t.TempDir())
	got, err := run(t, f, Args{Source: write(t, "a.zip", b.Bytes())})
	if l := got.line(t, "one/bomb.jpg"); err != nil || got.Added != 1 || !strings.Contains(l.Reason, "expand") {
		t.Errorf("%+v %+v %v", got.Report, l, err)
	}

	b.Reset()
	g := gzip.NewWriter(&b)
	w := tar.NewWriter(g)
	if err := w.WriteHeader(&tar.Header{Name: "one/bomb.jpg", Size: 1 << 30, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), g.Close()); err != nil {
		t.Fatal(err)
	}
	a := Args{Source: write(t, "a.tar.gz", b.Bytes())}
	if got, err := run(t, f, a); !errors.Is(err, errBomb) || got.job.State != registry.JobParked {
		t.Errorf("%+v %v", got.job, err)
	}

	// A directory that says it has more entries than can be held.
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	record := make([]byte, 56+20)
	copy(record, "PK\x06\x06")
	binary.LittleEndian.PutUint64(record[32:], maxEntries+1)
	copy(record[56:], "PK\x06\x07")
	binary.LittleEndian.PutUint16(end[10:], 0xffff)
	a = Args{Source: write(t, "b.zip", append(append([]byte("PK\x03\x04"), make([]byte, 0)...), append(record, end...)...))}
	binary.LittleEndian.PutUint64(record[56+8:], 4)
	a.Source = write(t, "b.zip", append([]byte("PK\x03\x04"), append(record, end...)...))
	if _, err := a.Check(t.Context()); !errors.Is(err, errTooMany) {
		t.Error(err)
	}
}

// TestDamagedArchives keeps what comes before the damage, and says so.
func TestDamagedArchives(t *testing.T) {
	files := tree{"one/a.jpg": small(t, photos.Obama, 0), "two/b.jpg": small(t, photos.Biden, 0)}
	whole := files.tar(t)
	f := open(t, t.TempDir())
	for name, data := range map[string][]byte{
		"cut.tar":    whole[:len(whole)-4096-len(files["two/b.jpg"])/2],
		"cut.tar.gz": gzipped(t, whole)[:len(gzipped(t, whole))-len(files["two/b.jpg"])/2],
	} {
		t.Run(name, func(t *testing.T) {
			empty(t, f)
			a := Args{Source: write(t, name, data)}
			if _, err := a.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := run(t, f, a)
			if !errors.Is(err, errDamaged) || got.Added != 1 || got.Unreadable != 1 || got.job.State != registry.JobParked || !strings.Contains(got.job.Reason, "another copy") {
				t.Fatalf("%+v, %v, %+v", got.Report, err, got.job)
			}
			// A whole copy in its place, and it goes on.
			if strings.HasSuffix(name, ".gz") {
				whole = gzipped(t, whole)
			}
			if err := os.WriteFile(a.Source, whole, 0o644); err != nil {
				t.Fatal(err)
			}
			again, err := run(t, f, a)
			if err != nil || again.job.ID != got.job.ID || again.Added != 2 || again.NotTaken() != 0 {
				t.Errorf("%+v, %v", again.Report, err)
			}
			whole = files.tar(t)
		})
	}
	empty(t, f)
	z := files.zip(t)
	for name, data := range map[string][]byte{"cut.zip": z[:len(z)-30], "text.zip": []byte("nothing of the kind"), "empty.zip": nil} {
		if _, err := (Args{Source: write(t, name, data)}).Check(t.Context()); err == nil {
			t.Errorf("%s passes", name)
		} else {
			t.Log(err)
		}
	}
	// One entry of a ZIP is damaged, another encrypted.
	bad := bytes.Clone(z)
	i := bytes.Index(bad, []byte("one/a.jpg"))
	bad[i+200] ^= 0xff
	j := bytes.LastIndex(bad, []byte("two/b.jpg"))
	bad[j-46+8] |= 1
	got, err := run(t, f, Args{Source: write(t, "bad.zip", bad)})
	if err != nil || got.Unreadable != 1 || got.Skipped != 1 || got.CasesAdded != 0 {
		t.Errorf("%+v, %v, %+v", got.Report, err, got.lines)
	}
	none := tree{}
	if _, err := (Args{Source: write(t, "none.zip", none.zip(t))}).Check(t.Context()); !errors.Is(err, errNothing) {
		t.Error(err)
	}
	if _, err := (Args{Source: write(t, "none.tar", none.tar(t))}).Check(t.Context()); !errors.Is(err, errNothing) {
		t.Error(err)
	}
	if _, err := (Args{Source: filepath.Join(t.TempDir(), "none")}).Check(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestFolders imports folders with what may be in one.
func TestFolders(t *testing.T) {
	f := open(t, t.TempDir())
	dir := tree{"one/a.jpg": small(t, photos.Obama, 0), "one/self@": []byte("."), "one/up@": []byte(".."), "loop@": []byte("loop"), "gone@": []byte("nowhere")}.folder(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "one", "pipe.jpg"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "Sample Five "), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Sample Five ", "b.jpg"), small(t, photos.Biden, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := run(t, f, Args{Source: dir})
	if err != nil || got.Added != 2 || got.Skipped != 5 || got.CasesAdded != 2 {
		t.Errorf("%+v, %v, %+v", got.Report, err, got.lines)
	}
	manifest := write(t, "m.csv", []byte("case,photo\n1,one/up/one/a.jpg\n1,loop\n1,one/pipe.jpg\n1,one\n1,one/a.jpg\n"))
	got, err = run(t, f, Args{Source: dir, Manifest: manifest})
	if err != nil || got.Added != 1 || got.Skipped != 4 {
		t.Errorf("%+v, %v, %+v", got.Report, err, got.lines)
	}
}

// TestCrashes imports photos that end the process which decodes them, or looks at them: the others do not notice.
func TestCrashes(t *testing.T) {
	good := small(t, photos.Obama, 0)
	files := tree{"one/decoder.jpg": testworker.InDecoder(good), "one/model.jpg": testworker.InModel(good)}
	for i := range 6 {
		files[fmt.Sprintf("one/%d.jpg", i)] = small(t, photos.Obama, i)
	}
	f := open(t, t.TempDir())
	got, err := run(t, f, Args{Source: files.folder(t)})
	if err != nil || got.Added != 7 || got.Unreadable != 1 || got.SetAside != 1 || got.Waiting != 0 {
		t.Errorf("%+v, %v", got.Report, err)
	}
	if l := got.line(t, "one/model.jpg"); l.Outcome != SetAside || !strings.Contains(l.Reason, "stopped at this photo") {
		t.Errorf("%+v", l)
	}
	if l := got.line(t, "one/decoder.jpg"); l.Outcome != Unreadable || !strings.Contains(l.Reason, "stopped at this photo") {
		t.Errorf("%+v", l)
	}
}

// TestNotAllowed reads a folder of which some may not be read.
func TestNotAllowed(t *testing.T) {
	dir := tree{"one/a.jpg": []byte("x"), "one/b.jpg": []byte("x"), "two/c.jpg": []byte("x")}.folder(t)
	for _, name := range []string{"one/b.jpg", "two"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := os.Chmod(filepath.Join(dir, "two"), 0o755); err != nil {
			t.Error(err)
		}
	})
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]string{}
	done := make(chan error)
	go func() {
		if os.Geteuid() == 0 { // this thread is nobody's from here on, and ends with the function
			runtime.LockOSThread()
			if err := unix.Setfsuid(65534); err != nil {
				done <- err
				return
			}
		}
		done <- f.each(t.Context(), func(e entry) error {
			got[e.path] = e.bad
			if e.bad != "" {
				return nil
			}
			r, err := e.open()
			if err != nil {
				got[e.path] = plain(err)
				return nil
			}
			return r.Close()
		})
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got["one/a.jpg"] != "" || got["one/b.jpg"] != "permission denied" || got["two"] != "cannot be read: permission denied" || len(got) != 3 {
		t.Errorf("%q", got)
	}
}

// TestNames reads the names of archives that Chinese Windows made.
func TestNames(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.CreateHeader(&zip.FileHeader{Name: "\xcd\xf5\xd0\xa1\xc3\xf7\\1.jpg", NonUTF8: true})
	if err == nil {
		_, err = f.Write([]byte("x"))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	src, err := openSource(write(t, "a.zip", b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var names []string
	if err := src.each(t.Context(), func(e entry) error {
		names = append(names, e.path)
		return nil
	}); err != nil || fmt.Sprint(names) != "[王小明/1.jpg]" {
		t.Error(names, err)
	}
}

// FuzzArchive reads archives of any bytes.
func FuzzArchive(f *testing.F) {
	files := tree{"one/a.jpg": []byte("photo"), "../two/b.jpg": []byte("photo"), "three@": []byte("one")}
	for _, data := range [][]byte{files.zip(f), files.tar(f), gzipped(f, files.tar(f)), zstandard(f, files.tar(f)), []byte("PK\x05\x06"), nil} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		src, err := openSource(write(t, "archive", data))
		if err != nil {
			return
		}
		defer src.Close()
		_ = src.each(t.Context(), func(e entry) error { // any error will do
			if clean, err := cleanPath(e.path); e.bad == "" && (err != nil || clean != e.path) {
				t.Errorf("%q passes", e.path)
			}
			if e.bad == "" {
				_, _ = readPhoto(e)
			}
			return nil
		})
	})
}

// TestManyFiles imports one folder of ten thousand files.
func TestManyFiles(t *testing.T) {
	const n = 10_000
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "one"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, "one", fmt.Sprintf("%05d.jpg", i)), []byte("no photo"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "one", "photo.jpg"), small(t, photos.Obama, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	f := open(t, t.TempDir())
	got, err := run(t, f, Args{Source: dir})
	if err != nil || got.Added != 1 || got.Unreadable != n || len(got.lines) != n+1 {
		t.Errorf("%+v, %v", got.Report, err)
	}
	if p := got.job.Progress; p.Counts["unreadable"] != n || p.Counts["added"] != 1 {
		t.Errorf("%+v", p)
	}
}

// TestChangedFile reads a file that is longer, or shorter, than its folder says.
func TestChangedFile(t *testing.T) {
	data := small(t, photos.Obama, 0)
	for _, size := range []int{len(data) - 1, len(data) + 1} {
		_, err := io.ReadAll(&photo{r: bytes.NewReader(data), size: int64(size), passed: func() {}})
		if !errors.Is(err, errChanged) {
			t.Error(err)
		}
	}
	_, err := io.Copy(io.Discard, &photo{r: zeros{}, size: 1 << 40, passed: func() {}})
	var s *sourceError
	if !errors.As(err, &s) || !s.final {
		t.Error(err)
	}
}

// TestTwoImportsAtOnce imports one folder twice at the same time: each photo is there once.
func TestTwoImportsAtOnce(t *testing.T) {
	files := tree{}
	for i := range 12 {
		files[fmt.Sprintf("case %d/a.jpg", i%3)+fmt.Sprint(i)] = small(t, photos.Obama, i)
	}
	dir := files.folder(t)
	data := t.TempDir()
	var results [2]result
	done := make(chan error, 2)
	for i := range results {
		f := open(t, data)
		a := Args{Source: dir, Gallery: registry.Missing}
		if i == 1 { // of the same files, by another way
			a.Source += "/."
		}
		go func() {
			var err error
			results[i], err = run(t, f, a)
			done <- err
		}()
	}
	for range results {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	a, b := results[0].Report, results[1].Report
	if a.Added+b.Added != 12 || a.Duplicates+b.Duplicates != 12 || a.CasesAdded+b.CasesAdded != 3 || a.NotTaken()+b.NotTaken() != 0 {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// TestSameImportTwice starts an import that is under way.
func TestSameImportTwice(t *testing.T) {
	f := open(t, t.TempDir())
	a := Args{Source: t.TempDir(), Gallery: registry.Missing}
	first, existed, err := f.Registry.Enqueue(t.Context(), a.NewJob())
	if err != nil || existed {
		t.Fatal(existed, err)
	}
	if second, existed, err := f.Registry.Enqueue(t.Context(), a.NewJob()); err != nil || !existed || second.ID != first.ID {
		t.Error(second.ID, existed, err)
	}
	a.Gallery = registry.Found
	if _, existed, err := f.Registry.Enqueue(t.Context(), a.NewJob()); err != nil || existed {
		t.Error(existed, err)
	}
}

// TestPaused stops an import and lets it go on: what is done is not read again.
func TestPaused(t *testing.T) {
	files := tree{}
	for i := range 30 {
		files[fmt.Sprintf("case %d/%d.jpg", i%4, i)] = small(t, photos.Obama, i)
	}
	f := open(t, t.TempDir())
	a := Args{Source: files.folder(t), Gallery: registry.Missing}
	j, _, err := f.Registry.Enqueue(t.Context(), a.NewJob())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	handler := Job(f)
	runner := jobs.Runner{Registry: f.Registry, Handlers: map[registry.JobKind]jobs.Handler{
		registry.JobImport: func(ctx context.Context, task *jobs.Task) error {
			go func() {
				for {
					if files, _, _, err := f.Registry.ImportCounts(context.Background(), j.ID); err != nil || files[registry.ImportAdded] >= 5 {
						cancel()
						return
					}
					time.Sleep(time.Millisecond)
				}
			}()
			return handler(ctx, task)
		},
	}}
	paused, err := runner.One(ctx, j.ID, nil)
	if err != nil || paused.State != registry.JobPaused {
		t.Fatalf("%+v, %v", paused, err)
	}
	before, _, _, err := f.Registry.ImportCounts(t.Context(), j.ID)
	if err != nil || before[registry.ImportAdded] >= 30 {
		t.Fatal(before, err)
	}
	got, err := run(t, f, a)
	if err != nil || got.job.ID != j.ID || got.Added != 30 || got.Duplicates != 0 {
		t.Errorf("%+v, %v", got.Report, err)
	}
}
