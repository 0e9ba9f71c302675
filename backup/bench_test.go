package backup

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"homeward/registry"
)

// BenchmarkBackup backs up 400 photos of 1 MB: for the first time, again, again while every byte is read back, and restores them.
func BenchmarkBackup(b *testing.B) {
	const photos, size = 400, 1 << 20
	data := b.TempDir()
	r := openRegistry(b, data, registry.Options{})
	id := newCase(b, r)
	for i := range photos {
		if _, err := addPhoto(b.Context(), r, id, randomPhoto(uint64(i), size)); err != nil {
			b.Fatal(err)
		}
	}
	dir := filepath.Join(b.TempDir(), "backup")
	b.Run("first", func(b *testing.B) {
		b.SetBytes(photos * size)
		for b.Loop() {
			if err := os.RemoveAll(dir); err != nil {
				b.Fatal(err)
			}
			backUp(b, r, dir)
		}
	})
	b.Run("second", func(b *testing.B) {
		b.SetBytes(photos * size)
		var stored int64
		for b.Loop() {
			stored = backUp(b, r, dir).Stored
		}
		b.ReportMetric(float64(stored), "B-stored/op")
	})
	b.Run("verify-deep", func(b *testing.B) {
		b.SetBytes(photos * size)
		for b.Loop() {
			verify(b, mustOpen(b, dir, r.OperatorKey()), true)
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(photos * size)
		for b.Loop() {
			into := filepath.Join(b.TempDir(), "data")
			if _, err := Restore(b.Context(), dir, into, RestoreOptions{OperatorKey: filepath.Join(data, keyName)}); err != nil {
				b.Fatal(err)
			}
			if err := os.RemoveAll(into); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDatabase backs up a database of 20,000 photos with one face each, whose files are a few bytes: nearly all of the time is the
// database's. It then says what share of the chunks of several sizes is used again after a hundredth of the photos was added, and after
// a hundredth of the cases, anywhere, was changed.
func BenchmarkDatabase(b *testing.B) {
	const cases, each = 10_000, 2
	r := openRegistry(b, b.TempDir(), registry.Options{})
	var ids []registry.CaseID
	grow := func(n int) {
		for range n {
			id := newCase(b, r)
			ids = append(ids, id)
			for range each {
				if _, err := addPhoto(b.Context(), r, id, randomPhoto(rand.Uint64(), 16)); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	grow(cases)
	dir := filepath.Join(b.TempDir(), "backup")
	backUp(b, r, dir) // what it costs to open the files for the first time is not the database's
	b.Run("unchanged", func(b *testing.B) {
		var rep Report
		for b.Loop() {
			rep = backUp(b, r, dir)
		}
		b.ReportMetric(float64(rep.NewChunks)/float64(rep.Chunks)*100, "%-new")
		b.ReportMetric(float64(rep.Stored), "B-stored/op")
		b.SetBytes(rep.Database)
	})
	first := pages(b, r)
	grow(cases / 100)
	second := pages(b, r)
	for range cases / 100 {
		id := ids[rand.IntN(len(ids))]
		c, err := r.Case(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		c.Notes += ", seen at the station"
		if _, err := r.UpdateCase(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	third := pages(b, r)
	for _, size := range []int{16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20} {
		for _, change := range []struct {
			what       string
			then, next []byte
		}{{"added", first, second}, {"changed", second, third}} {
			b.Run(fmt.Sprintf("%dkB/%s", size>>10, change.what), func(b *testing.B) {
				for b.Loop() {
					compareChunks(b, change.then, change.next, size)
				}
			})
		}
	}
}

// pages is the database's file.
func pages(b *testing.B, r *registry.Registry) (all []byte) {
	b.Helper()
	if err := r.Snapshot(b.Context(), func(s *registry.Snapshot) error {
		return s.EachPage(func(page []byte) error {
			all = append(all, page...)
			return nil
		})
	}); err != nil {
		b.Fatal(err)
	}
	return all
}

func compareChunks(b *testing.B, then, next []byte, size int) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		b.Fatal(err)
	}
	cut := func(raw []byte, do func(chunk []byte)) {
		for ; len(raw) > 0; raw = raw[min(size, len(raw)):] {
			do(raw[:min(size, len(raw))])
		}
	}
	have := make(map[sum]bool)
	cut(then, func(chunk []byte) { have[sha256.Sum256(chunk)] = true })
	var chunks, again, stored, whole int
	cut(next, func(chunk []byte) {
		n := len(enc.EncodeAll(chunk, nil))
		chunks++
		if whole += n; have[sha256.Sum256(chunk)] {
			again++
		} else {
			stored += n
		}
	})
	b.ReportMetric(float64(again)/float64(chunks)*100, "%-again")
	b.ReportMetric(float64(stored)/1e6, "MB-stored")
	b.ReportMetric(float64(whole)/1e6, "MB-packed")
	b.ReportMetric(float64(chunks), "files")
}

// BenchmarkWriterBesideBackup says how long a write takes while backups run one after another, and how far the log beside the database
// grows.
func BenchmarkWriterBesideBackup(b *testing.B) {
	for _, beside := range []bool{false, true} {
		b.Run(fmt.Sprintf("backup=%v", beside), func(b *testing.B) {
			data := b.TempDir()
			r := openRegistry(b, data, registry.Options{})
			id := newCase(b, r)
			for i := range 500 {
				if _, err := addPhoto(b.Context(), r, id, randomPhoto(uint64(i), 100<<10)); err != nil {
					b.Fatal(err)
				}
			}
			ctx, stop := context.WithCancel(b.Context())
			var g sync.WaitGroup
			dir := b.TempDir()
			if beside {
				g.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						if _, err := Run(context.Background(), r, filepath.Join(dir, fmt.Sprint(n)), Options{}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			var most time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := r.CreateCase(b.Context(), registry.Case{Gallery: registry.Found}); err != nil {
					b.Fatal(err)
				}
				most = max(most, time.Since(began))
			}
			stop()
			g.Wait()
			b.ReportMetric(float64(most.Microseconds())/1e3, "ms-most")
			if info, err := os.Stat(filepath.Join(data, "registry.db-wal")); err == nil {
				b.ReportMetric(float64(info.Size())/1e6, "MB-log")
			}
		})
	}
}
