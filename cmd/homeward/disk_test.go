package main

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homeward/api"
	"homeward/client"
	photos "homeward/internal/testphotos"
)

// homeward runs a command on data, and returns what it said.
func homeward(t *testing.T, data string, args ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"--data", data, "--models", "../../models"}, args...)...)
	cmd.Env = append(os.Environ(), beHomeward+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// problemCode is the code of the problem that a request was answered with.
func problemCode(err error) string {
	var p *client.Problem
	if errors.As(err, &p) {
		return p.Code()
	}
	return ""
}

// public asks for what shows nobody's case, and so is not noted.
func public(t *testing.T, p *process) {
	t.Helper()
	for _, path := range []string{"/gallery", "/api/v1/ready", "/report"} {
		res, err := http.Get(p.address + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Error(path, res.Status)
		}
	}
	if _, err := p.Models(t.Context()); err != nil {
		t.Error("models:", err)
	}
}

// TestFullDiskWhileServing fills the disk under a running server. Photos are refused while there is still room to note what is searched,
// and an import waits; when there is no room at all, nothing that must be noted is answered, which is whatever shows a case; with room again, everything goes on by itself.
func TestFullDiskWhileServing(t *testing.T) {
	data, archive := t.TempDir(), t.TempDir()
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=48m"); err != nil {
		t.Skip("mounting a small disk needs root:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	p := startServer(t, data, newKey(t, data))
	defer p.stop(t)
	c, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "missing"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(photos.Read(t, photos.Obama))); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(data, "ballast")
	leave := func(free int64) {
		t.Helper()
		_ = os.Remove(ballast)
		var disk unix.Statfs_t
		if err := unix.Statfs(data, &disk); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ballast, make([]byte, int64(disk.Bavail)*disk.Bsize-free), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	search := func() error {
		found, err := p.SearchPhoto(t.Context(), client.Filter{}, bytes.NewReader(photos.Read(t, photos.Obama2)))
		if err == nil && len(found.Candidates) != 1 {
			t.Error(len(found.Candidates), "candidates")
		}
		return err
	}
	upload := func() error {
		_, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(photos.Read(t, photos.Obama3)))
		return err
	}

	leave(900 << 10) // less than one in fifty
	if err := upload(); problemCode(err) != "disk_full" {
		t.Error("upload:", err)
	}
	if err := search(); err != nil {
		t.Error("a search is still noted and answered:", err)
	}
	if err := os.Mkdir(filepath.Join(archive, "one"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(archive, "one", "a.jpg"), photos.Read(t, photos.Biden), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := homeward(t, data, "import", "--detach", archive); err != nil {
		t.Fatal(err, out)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.output.String(), "job goes back to the queue"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the import does not wait\n", p.output.String())
		}
	}

	leave(0)
	for range 200 { // until what the log has left is used up
		if err = search(); err != nil {
			break
		}
	}
	if problemCode(err) != "disk_full" {
		t.Error("a search that cannot be noted:", err)
	}
	public(t, p)
	if err := upload(); problemCode(err) != "disk_full" {
		t.Error("upload:", err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := search(); err != nil {
		t.Error("with room again:", err)
	}
	if err := upload(); err != nil {
		t.Error("with room again:", err)
	}
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(p.output.String(), "job ends"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the import does not go on\n", p.output.String())
		}
	}
	waitUntilAnalysed(t, p)
	if out, err := homeward(t, data, "check", "--deep"); err != nil || !strings.Contains(out, "2 cases, 3 photos") {
		t.Error(err, out)
	}
}

// TestReadOnlyDisk has the file system turn read-only under a running server, as Linux does with one that fails. Whatever must be written or
// noted is refused in words, and the rest goes on; nothing that was acknowledged is lost once the disk is mended.
func TestReadOnlyDisk(t *testing.T) {
	folder := t.TempDir()
	image, data := filepath.Join(folder, "image"), filepath.Join(folder, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 96<<20); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := run("mkfs.ext4", "-q", image); err != nil {
		t.Skip("cannot make a file system:", err, out)
	}
	mount := func() error {
		out, err := run("mount", "-o", "loop,errors=remount-ro", image, data)
		if err != nil {
			err = errors.Join(err, errors.New(out))
		}
		return err
	}
	if err := mount(); err != nil {
		t.Skip("cannot mount a file system:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(data, unix.MNT_DETACH) })
	device, err := run("losetup", "-n", "-O", "NAME", "-j", image)
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t, data)
	p := startServer(t, data, key)
	c, err := p.CreateCase(t.Context(), api.NewCase{Gallery: "missing"})
	if err != nil {
		t.Fatal(err)
	}
	portrait := photos.Decode(t, photos.Read(t, photos.Obama))
	for n := range 3 {
		if _, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(variant(t, portrait, n+1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error"), []byte("1"), 0); err != nil {
		t.Skip("cannot make the file system fail:", err)
	}
	for range 3 {
		if _, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(variant(t, portrait, 9))); problemCode(err) != "disk_failed" {
			t.Error("upload:", err)
		}
		if _, err := p.SearchCase(t.Context(), client.Filter{}, c.ID); problemCode(err) != "disk_failed" {
			t.Error("a search that cannot be noted:", err)
		}
		if _, err := p.Case(t.Context(), c.ID); problemCode(err) != "disk_failed" {
			t.Error("a look that cannot be noted:", err)
		}
		public(t, p)
		if h, err := p.Ready(t.Context()); err != nil || h.References != 3 {
			t.Error("readiness:", h, err)
		}
	}
	select {
	case err := <-p.exited:
		t.Fatalf("the server ended: %v\n%s", err, p.output.String())
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.exited // with whatever it could not store any more
	if err := syscall.Unmount(data, 0); err != nil {
		t.Fatal(err)
	}
	if out, err := run("fsck.ext4", "-p", "-f", image); err != nil && !strings.Contains(out, "errors") && err.Error() != "exit status 1" {
		t.Fatal(err, out)
	}
	if err := mount(); err != nil {
		t.Fatal(err)
	}
	p = startServer(t, data, key)
	defer p.stop(t)
	if list, err := p.Photos(t.Context(), c.ID); err != nil || len(list) != 3 {
		t.Error(len(list), err)
	}
	if _, err := p.AddPhoto(t.Context(), c.ID, client.NewPhoto{}, bytes.NewReader(variant(t, portrait, 9))); err != nil {
		t.Error(err)
	}
	if out, err := homeward(t, data, "check", "--deep"); err != nil {
		t.Error(err, out)
	}
}
