package registry

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The kill tests run this test binary again as a process that works on a registry, and end it by SIGKILL: at random
// moments, and at every step between two writes.
const (
	envKillDir  = "HOMEWARD_TEST_KILL_DIR"  // the registry's folder; set in the process that is to be killed
	envKillStep = "HOMEWARD_TEST_KILL_STEP" // step at which it kills itself, and at which passing of it: "upload.row 3"
)

// photoSize of the photo with a seed: some smaller than a segment, some of many.
func photoSize(seed uint64) int { return 1 + int(seed*7919%200_000) }

// TestKillVictim is the process that is to be killed. It tells what it is about to do and what was acknowledged, one line
// each: "case C", "add SEED P", "delete P", "deleted P", "analysed P".
func TestKillVictim(t *testing.T) {
	dir := os.Getenv(envKillDir)
	if dir == "" {
		t.Skip("runs only as the victim of the kill tests")
	}
	r := open(t, dir, Options{step: killSelf(t)})
	c := newCase(t, r, Missing)
	fmt.Println("case", c.ID)
	for i := 0; ; i++ {
		seed := rand.Uint64N(1 << 30)
		p, existed, err := addPhoto(t.Context(), r, c.ID, randomPhoto(seed, photoSize(seed)), NewPhoto{Name: fmt.Sprint(seed), Claim: true})
		if err != nil || existed {
			t.Fatal(existed, err)
		}
		fmt.Println("add", seed, p.ID)
		if err := r.SaveAnalysis(t.Context(), p.ID, "set", NewAnalysis{Faces: []NewFace{face(0, 1), face(500, 2)}}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("analysed", p.ID)
		if i%3 == 2 {
			fmt.Println("delete", p.ID)
			if err := r.DeletePhoto(t.Context(), p.ID); err != nil {
				t.Fatal(err)
			}
			fmt.Println("deleted", p.ID)
		}
	}
}

// killSelf makes the step function of a process that is to kill itself at the step of envKillStep; nil where that is empty.
func killSelf(t *testing.T) func(string) error {
	name, nth, ok := strings.Cut(os.Getenv(envKillStep), " ")
	if !ok {
		return nil
	}
	left, err := strconv.Atoi(nth)
	if err != nil {
		t.Fatal(err)
	}
	return func(step string) error {
		if step == name {
			if left--; left == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		return nil
	}
}

// victim runs a victim until it is dead, killing it after that many lines and a little more, or never when lines is 0.
// It returns what the victim said.
func victim(t *testing.T, dir, step string, lines int) []string {
	t.Helper()
	return runVictim(t, "TestKillVictim", dir, step, lines)
}

func runVictim(t *testing.T, test, dir, step string, lines int) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), envKillDir+"="+dir, envKillStep+"="+step)
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
			time.Sleep(rand.N(5 * time.Millisecond))
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

// examine opens the registry that victims worked on and holds it against what they said.
func examine(t *testing.T, dir string, said []string) {
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
	strays(t, r)
	for _, check := range []string{"integrity_check", "foreign_key_check"} {
		var result string
		if err := r.readers.QueryRow("PRAGMA " + check).Scan(&result); err == nil && result != "ok" {
			t.Error(check, result)
		}
	}
	photos := make(map[PhotoID]Photo)
	var cases []CaseID
	if _, err := r.EachReference(t.Context(), "set", func(c Case, _ []Reference) error {
		cases = append(cases, c.ID)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		ps, err := r.PhotosOf(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			photos[p.ID] = p
			seed, err := strconv.ParseUint(p.Name, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := readPhoto(r, p.ID); err != nil || !bytes.Equal(got, randomPhoto(seed, photoSize(seed))) {
				t.Errorf("photo %s is not whole: %v", p.ID, err)
			}
			if analysed := p.State == Analysed; analysed != (len(p.Faces) == 2) {
				t.Errorf("photo %s is %s with %d faces", p.ID, p.State, len(p.Faces))
			}
		}
	}
	deleting := make(map[PhotoID]bool) // by now deleted, or not: both are right
	for _, line := range said {
		if id, ok := strings.CutPrefix(line, "delete "); ok {
			deleting[PhotoID(id)] = true
		}
	}
	for _, line := range said {
		word := strings.Fields(line)
		id := PhotoID(word[len(word)-1])
		p, there := photos[id]
		switch {
		case word[0] == "deleted" && there:
			t.Errorf("deleted photo %s is back", id)
		case word[0] == "add" && !there && !deleting[id]:
			t.Errorf("acknowledged photo %s is lost", id)
		case word[0] == "analysed" && p.State != Analysed && !deleting[id]:
			t.Errorf("acknowledged analysis of photo %s is lost", id)
		}
	}
	var owned int
	if err := r.readers.QueryRow("SELECT count(*) FROM photos WHERE owner <> ''").Scan(&owned); err != nil || owned != 0 {
		t.Error(owned, "photos are held by nobody", err)
	}
}

func TestKillAtRandom(t *testing.T) {
	dir := t.TempDir()
	var said []string
	for range 12 {
		said = append(said, victim(t, dir, "", 1+rand.IntN(15))...)
		examine(t, dir, said)
	}
}

func TestKillAtEveryStep(t *testing.T) {
	for _, step := range []string{
		"open.key", "upload.synced", "upload.renamed", "upload.durable", "upload.row", "upload.committed", "files.remove",
	} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			said := victim(t, dir, step+" 1", 0)
			examine(t, dir, said)
			if step != "open.key" { // a registry is new once
				said = append(said, victim(t, dir, step+" 2", 0)...)
				examine(t, dir, said)
			}
		})
	}
}

// TestKillBesideLiveProcess kills a victim while this process has the registry open: nothing of this one's is touched,
// and what the victim left goes once it can.
func TestKillBesideLiveProcess(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := newCase(t, r, Found)
	u, err := r.NewUpload(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	const seed = 5
	content := randomPhoto(seed, photoSize(seed))
	if _, err := u.Write(content[:100]); err != nil {
		t.Fatal(err)
	}
	said := victim(t, dir, "upload.durable 2", 0)
	second, err := Open(t.Context(), dir, Options{}) // sweeps, as far as it may
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(content[100:]); err != nil {
		t.Fatal(err)
	}
	p, _, err := u.Commit(t.Context(), NewPhoto{Name: fmt.Sprint(seed), Format: "jpeg"})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	examine(t, dir, append(said, fmt.Sprint("add ", seed, " ", p.ID)))
}
