package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"homeward/registry"
)

// The kill tests run this test binary again as a process that backs up, prunes or restores, and end it by SIGKILL: at random moments, and
// at every step between two writes.
const (
	envKillData = "HOMEWARD_TEST_KILL_DATA" // the registry; set in the process that is to be killed
	envKillDir  = "HOMEWARD_TEST_KILL_DIR"  // the backup
	envKillInto = "HOMEWARD_TEST_KILL_INTO" // where the victim restores to
	envKillStep = "HOMEWARD_TEST_KILL_STEP" // step at which it kills itself, and at which passing of it: "chunk.synced 3"
)

// killSelf makes the step function of a process that is to kill itself.
func killSelf(t *testing.T) func(string) error {
	name, nth, ok := strings.Cut(os.Getenv(envKillStep), " ")
	if !ok {
		return nil
	}
	left, err := strconv.Atoi(nth)
	if err != nil {
		t.Fatal(err)
	}
	steps := make(chan int, 1)
	steps <- left
	return func(step string) error {
		if step == name {
			left := <-steps - 1
			if left == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			steps <- left
		}
		return nil
	}
}

// TestKillBackupVictim adds photos and backs up, over and over, and prunes now and then. It says what it is about to do, and what was
// acknowledged: "backup", "snapshot ID", "prune".
func TestKillBackupVictim(t *testing.T) {
	if os.Getenv(envKillDir) == "" {
		t.Skip("runs only as the victim of the kill tests")
	}
	dir := os.Getenv(envKillDir)
	r := openRegistry(t, os.Getenv(envKillData), registry.Options{})
	b := (*Backup)(nil)
	for i := 1; ; i++ {
		fill(t, r, 3)
		fmt.Println("backup")
		report, err := Run(t.Context(), r, dir, Options{step: killSelf(t)})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("snapshot", report.ID)
		if i%3 == 0 {
			if b == nil {
				b = mustOpen(t, dir, r.OperatorKey())
				b.step = killSelf(t)
			}
			fmt.Println("prune")
			if _, err := b.Prune(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestKillRestoreVictim restores the newest snapshot.
func TestKillRestoreVictim(t *testing.T) {
	if os.Getenv(envKillInto) == "" {
		t.Skip("runs only as the victim of the kill tests")
	}
	fmt.Println("restore")
	_, err := Restore(t.Context(), os.Getenv(envKillDir), os.Getenv(envKillInto), RestoreOptions{
		OperatorKey: filepath.Join(os.Getenv(envKillData), keyName), step: killSelf(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("restored")
	select {}
}

// victim runs a victim until it is dead, killing it a while after it has said so many lines, or never when lines is 0. It returns what it
// said.
func victim(t *testing.T, test, step string, lines int, while time.Duration, env ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(append(os.Environ(), env...), envKillStep+"="+step)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for s := bufio.NewScanner(out); s.Scan(); {
		said = append(said, s.Text())
		if len(said) == lines {
			time.Sleep(while)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the victim was not killed: %v\n%s", err, strings.Join(said, "\n"))
	}
	return said
}

// examine looks at a backup after a kill: all that was acknowledged is there unless a prune may have removed it, every snapshot is whole,
// the oldest and the newest restore, and the next backup works.
func examine(t *testing.T, data, dir string, said []string) {
	t.Helper()
	key, err := registry.ReadOperatorKey(filepath.Join(data, keyName))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir, key)
	if errors.Is(err, ErrNoBackup) { // killed before there was one
		b = nil
	} else if err != nil {
		t.Fatal(err)
	}
	if b != nil {
		v := verify(t, b, true)
		if len(v.Damaged) > 0 {
			// A header of which the copy is not written yet is all that may be missing.
			if v.Snapshots > 0 || len(v.Damaged) > 1 || v.Damaged[0].File != headerCopy {
				t.Errorf("after %q: %+v", said, v.Damaged)
			}
		}
		all, err := ids(dir)
		if err != nil {
			t.Fatal(err)
		}
		acknowledged := 0
		for _, line := range said {
			if text, ok := strings.CutPrefix(line, "snapshot "); ok {
				if acknowledged, err = strconv.Atoi(text); err != nil {
					t.Fatal(err)
				}
			}
		}
		if acknowledged > 0 && (len(all) == 0 || all[len(all)-1] < acknowledged) {
			t.Errorf("snapshot %d was acknowledged, and there are %v", acknowledged, all)
		}
		if len(all) > 0 {
			readable(t, restored(t, dir, filepath.Join(data, keyName), all[0]))
			readable(t, restored(t, dir, filepath.Join(data, keyName), 0))
		}
	}
	r := openRegistry(t, data, registry.Options{})
	backUp(t, r, dir)
	b = mustOpen(t, dir, key)
	if v := verify(t, b, true); len(v.Damaged) > 0 {
		t.Errorf("after the next backup: %+v", v.Damaged)
	}
	if _, err := os.Lstat(filepath.Join(dir, tmpName)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("temporary files stay:", err)
	}
	if _, err := b.Prune(t.Context(), 3); err != nil {
		t.Error(err)
	}
	if v := verify(t, b, false); v.Unused != 0 || len(v.Damaged) > 0 {
		t.Errorf("after a prune: %+v", v)
	}
}

// registryWithCase makes a registry that is there before the first victim, so that there is a key.
func registryWithCase(t *testing.T) string {
	t.Helper()
	data := t.TempDir()
	r, err := registry.Open(t.Context(), data, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, r, 1)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestKillBackupAtRandom(t *testing.T) {
	data, dir := registryWithCase(t), t.TempDir()
	for range 8 {
		said := victim(t, "TestKillBackupVictim", "", 1+rand.IntN(10), rand.N(50*time.Millisecond), envKillData+"="+data, envKillDir+"="+dir)
		examine(t, data, dir, said)
	}
}

func TestKillBackupAtEveryStep(t *testing.T) {
	for _, step := range []string{
		"header.written", "header.synced", "header.renamed", "database.kept", "chunk.written", "chunk.synced", "chunk.renamed",
		"photo.written", "photo.synced", "photo.renamed", "snapshot.begun", "snapshot.written", "snapshot.synced", "snapshot.renamed",
		"prune.snapshot", "prune.file",
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			data, dir := registryWithCase(t), t.TempDir()
			for _, nth := range []string{" 1", " 2"} {
				if strings.HasPrefix(step, "header.") && nth == " 2" { // a backup is new once
					continue
				}
				if step == "database.kept" || strings.HasPrefix(step, "snapshot.") { // once in a Run
					nth = " 1"
				}
				examine(t, data, dir, victim(t, "TestKillBackupVictim", step+nth, 0, 0, envKillData+"="+data, envKillDir+"="+dir))
			}
		})
	}
}

// TestKillRestore kills a restore at every step and at random moments. There is no registry then until it has its name, and the next try
// makes one.
func TestKillRestore(t *testing.T) {
	data, dir := registryWithCase(t), t.TempDir()
	r := openRegistry(t, data, registry.Options{})
	want := fill(t, r, 20)
	backUp(t, r, dir)
	key := filepath.Join(data, keyName)
	into := filepath.Join(t.TempDir(), "data")
	env := []string{envKillData + "=" + data, envKillDir + "=" + dir, envKillInto + "=" + into}
	after := func(t *testing.T, named bool) {
		t.Helper()
		if _, err := os.Lstat(into); !named && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal("there is something in the registry's place:", err)
		}
		if !named {
			if _, err := Restore(t.Context(), dir, into, RestoreOptions{OperatorKey: key}); err != nil {
				t.Fatal(err)
			}
			if entries, err := os.ReadDir(filepath.Dir(into)); err != nil || len(entries) != 1 {
				t.Error(entries, err)
			}
		}
		back, err := registry.Open(t.Context(), into, registry.Options{OperatorKey: key, Existing: true})
		if err != nil {
			t.Fatal(err)
		}
		holds(t, back, want)
		if err := errors.Join(back.Close(), os.RemoveAll(filepath.Dir(into)), os.Mkdir(filepath.Dir(into), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []string{"restore.begun 1", "restore.database 1", "restore.registry 1", "restore.photo 1", "restore.photo 15", "restore.photos 1", "restore.named 1"} {
		t.Run(step, func(t *testing.T) {
			victim(t, "TestKillRestoreVictim", step, 0, 0, env...)
			after(t, step == "restore.named 1")
		})
	}
	for range 6 {
		said := victim(t, "TestKillRestoreVictim", "", 1+rand.IntN(2), rand.N(150*time.Millisecond), env...)
		_, err := os.Lstat(into)
		if len(said) > 1 && err != nil {
			t.Error("an acknowledged restore is not there:", err)
		}
		after(t, err == nil)
	}
	if v := verify(t, mustOpen(t, dir, r.OperatorKey()), true); len(v.Damaged) > 0 {
		t.Errorf("%+v", v)
	}
}
