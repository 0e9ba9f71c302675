package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
)

// State is how a file of a model compares with its card.
type State string

const (
	FileOK        State = "ok"
	FileMissing   State = "missing"
	WrongSize     State = "wrong size"
	WrongChecksum State = "wrong checksum"
	Unreadable    State = "unreadable"
)

// Check is what was found about one file of a model.
type Check struct {
	Card   string `json:"card"`
	File   string `json:"file"`
	State  State  `json:"state"`
	Advice string `json:"advice,omitempty"` // what to do, unless the file is as it should be
}

// OK tells whether the file is there and unchanged.
func (c Check) OK() bool { return c.State == FileOK }

// Verify hashes every file of every card, several at once, and reports each in the order of the cards. When ctx ends,
// the files not yet read are Unreadable.
func (c *Catalogue) Verify(ctx context.Context) []Check { return c.verify(ctx, c.cards) }

// VerifySet hashes the files of the set's models, and returns an error that names those which are not as their cards say
// and what to do. It is meant for every start: a model that differs by a byte would silently make templates that match
// nothing. The default set's 106 MB take 0.1 to 0.2 s.
func (c *Catalogue) VerifySet(ctx context.Context, s Set) error {
	var bad []string
	for _, check := range c.verify(ctx, s.cards()) {
		if !check.OK() {
			bad = append(bad, fmt.Sprintf("%s is %s: %s", check.File, check.State, check.Advice))
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("checking the files of model set %s: %w", s.Name, err)
	}
	if len(bad) > 0 {
		return fmt.Errorf("the files of model set %s are not as its cards say: %s", s.Name, strings.Join(bad, "; "))
	}
	return nil
}

func (c *Catalogue) verify(ctx context.Context, cards []Card) []Check {
	var checks []Check
	var files []File
	for _, card := range cards {
		for _, f := range card.Files {
			checks, files = append(checks, Check{Card: card.Name, File: f.Name}), append(files, f)
		}
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		wg.Go(func() {
			for i := range next {
				checks[i].State, checks[i].Advice = compare(ctx, c.Path(files[i]), files[i])
			}
		})
	}
	for i := range files {
		next <- i
	}
	close(next)
	wg.Wait()
	return checks
}

// compare reads a file and says how it differs from its card, and what to do.
func compare(ctx context.Context, path string, want File) (State, string) {
	fetch := "run scripts/fetch-models"
	if want.Own {
		fetch = "bring " + path + " back from the project's repository, or train it again (models/train)"
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return FileMissing, fetch
	}
	if err != nil {
		return Unreadable, err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Unreadable, err.Error()
	}
	if !info.Mode().IsRegular() {
		return Unreadable, path + " is not a file: remove it and " + fetch
	}
	if info.Size() != want.Size {
		return WrongSize, fetch
	}
	h := sha256.New()
	// One read ahead of the limit, so that a file that grows meanwhile is seen to.
	if _, err := io.Copy(h, io.LimitReader(untilDone{ctx, f}, want.Size+1)); err != nil {
		return Unreadable, err.Error()
	}
	if hex.EncodeToString(h.Sum(nil)) != want.SHA256 {
		return WrongChecksum, fetch
	}
	return FileOK, ""
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
