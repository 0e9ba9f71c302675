package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nfnt/resize"

	"homeward/importer"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// importing is the command, to be run in a process of its own.
func importing(t *testing.T, data string, more ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"--data", data, "--models", "../../models", "import"}, more...)...)
	cmd.Env = append(os.Environ(), beHomeward+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// imports are the jobs of imports, and what was stored.
func imports(t *testing.T, data string) (list []registry.Job, sum importer.Report, lines []importer.Line, stored int) {
	t.Helper()
	r, err := registry.Open(t.Context(), data, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if list, err = r.Jobs(t.Context(), 100); err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	sum, err = importer.ReadReport(t.Context(), r, list[0].ID, func(l importer.Line) error {
		lines = append(lines, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	cases, _, err := r.ListCases(t.Context(), registry.CaseQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		stored += c.Photos
	}
	return list, sum, lines, stored
}

// TestKilledImport kills an import at random moments and gives the command again each time: in the end every photo is there once, and the
// report is whole.
func TestKilledImport(t *testing.T) {
	const n, kills = 40, 6
	portrait := resize.Thumbnail(240, 240, photos.Decode(t, photos.Read(t, photos.Obama)), resize.Bilinear)
	dir := t.TempDir()
	list := filepath.Join(dir, "list.csv")
	rows := "case,photo\n"
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for i := range n {
		name, photo := fmt.Sprintf("case%d/%02d.jpg", i%4, i), variant(t, portrait, i)
		if i%8 == 7 {
			photo = []byte("no photo")
		}
		if err := os.MkdirAll(filepath.Join(dir, "photos", filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "photos", name), photo, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(photo))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(photo); err != nil {
			t.Fatal(err)
		}
		rows += fmt.Sprintf("%d,%s\n", i%4, name)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"list.csv": rows, "photos.tar": packed.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, args := range map[string][]string{
		"folder": {filepath.Join(dir, "photos")}, "list": {filepath.Join(dir, "photos.tar"), "--manifest", list},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			killed := 0
			for range kills {
				cmd, out := importing(t, data, args...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				exited := make(chan error, 1)
				go func() { exited <- cmd.Wait() }()
				// Once something is stored, or it is over.
				before := countFilesIn(filepath.Join(data, "photos"))
				for over := false; !over && countFilesIn(filepath.Join(data, "photos")) <= before; {
					select {
					case err := <-exited:
						exited <- err
						over = true
					case <-time.After(5 * time.Millisecond):
					}
				}
				time.Sleep(rand.N(300 * time.Millisecond))
				_ = cmd.Process.Kill() // it may be over already
				var exit *exec.ExitError
				if err := <-exited; errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
					killed++
				} else if err != nil {
					t.Fatalf("%v\n%s", err, out)
				} else {
					break
				}
			}
			if killed > 0 {
				cmd, out := importing(t, data, args...)
				if err := cmd.Run(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			jobs, sum, lines, stored := imports(t, data)
			const good = n - n/8
			if len(jobs) != 1 || jobs[0].State != registry.JobDone {
				t.Errorf("%+v", jobs)
			}
			if sum.Added != good || sum.Duplicates != 0 || sum.Unreadable != n/8 || sum.CasesAdded != 4 || len(lines) != n || stored != good {
				t.Errorf("after %d kills: %+v, %d lines, %d stored", killed, sum, len(lines), stored)
			}
			if files := countFiles(t, filepath.Join(data, "photos")); files != good {
				t.Errorf("%d files", files)
			}
			t.Logf("%d kills", killed)
		})
	}
}

// countFilesIn is countFiles while the folder changes.
func countFilesIn(dir string) int {
	found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		return 0
	}
	return len(found)
}

// TestImportOnFullDisk imports onto a disk that is too small: it stops with the reason and nothing half-done, and goes on when there is
// space.
func TestImportOnFullDisk(t *testing.T) {
	data := t.TempDir()
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=3m"); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Skip("mounting a small disk needs root")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, 0); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	portrait := photos.Decode(t, photos.Read(t, photos.Obama))
	const n = 24
	if err := os.Mkdir(filepath.Join(dir, "one"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		photo := append(variant(t, portrait, i), bytes.Repeat([]byte("x"), 100_000)...)
		if err := os.WriteFile(filepath.Join(dir, "one", fmt.Sprintf("%02d.jpg", i)), photo, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd, out := importing(t, data, dir)
	if err := cmd.Run(); err == nil || !strings.Contains(out.String(), "the disk is full") || !strings.Contains(out.String(), "goes on where it stopped") {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	cmd, out = importing(t, data, dir)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	jobs, sum, _, stored := imports(t, data)
	if len(jobs) != 1 || sum.Added != n || sum.Waiting != 0 || stored != n || countFiles(t, filepath.Join(data, "photos")) != n {
		t.Errorf("%d jobs, %+v, %d stored", len(jobs), sum, stored)
	}
}
