package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"homeward/registry"
)

// Pruned is what Prune removed.
type Pruned struct {
	Removed []int `json:"removed"` // snapshots
	Kept    []int `json:"kept"`
	Damaged []int `json:"damaged,omitempty"` // of those kept: not whole, and beyond the number that was to be kept
	Files   int64 `json:"files"`             // chunks and photos that no kept snapshot needs
	Bytes   int64 `json:"bytes"`
}

// Prune removes all snapshots but the newest keep ones that are whole as far as is known, and what only they needed. A snapshot that lacks
// something, or of which something was found damaged, stays while it is newer than these; one whose own file cannot be read does not.
// Ended in the midst, it has removed some, and the next one goes on; no snapshot that it keeps ever loses anything. ErrDamaged, with
// nothing removed, when it cannot tell what a snapshot needs, or no snapshot can be read. ErrBusy while somebody else is at the backup.
func (b *Backup) Prune(ctx context.Context, keep int) (out Pruned, err error) {
	defer func() { err = wrap(err, "prune backup %s", b.dir) }()
	if keep < 1 {
		return Pruned{}, fmt.Errorf("keep at least one snapshot: %w", registry.ErrInvalid)
	}
	l, err := lock(b.dir, true)
	if err != nil {
		return Pruned{}, err
	}
	defer l.Close()
	all, err := ids(b.dir)
	if err != nil {
		return Pruned{}, err
	}
	notes, err := b.damagedNotes()
	if err != nil {
		return Pruned{}, err
	}
	there := make(map[sum]bool)
	for _, folder := range []string{chunksName, photosName} {
		if err := eachFile(filepath.Join(b.dir, folder), func(name sum, _ string) error {
			there[name] = !notes[name]
			return nil
		}); err != nil {
			return Pruned{}, err
		}
	}
	used := make(map[sum]bool)
	out.Removed, out.Kept = []int{}, []int{}
	for i := len(all) - 1; i >= 0; i-- {
		id := all[i]
		if len(out.Kept)-len(out.Damaged) == keep {
			out.Removed = append(out.Removed, id)
			continue
		}
		if err := ctx.Err(); err != nil {
			return Pruned{}, err
		}
		m, err := b.manifest(id)
		if errors.Is(err, ErrDamaged) { // for good: nothing can write it anew
			out.Removed = append(out.Removed, id)
			continue
		}
		whole := true
		if err == nil {
			err = b.eachNeeded(m, func(name sum) {
				used[name] = true
				whole = whole && there[name]
			})
		}
		if errors.Is(err, ErrDamaged) {
			return Pruned{}, fmt.Errorf("snapshot %d: %w; nothing was removed. Run 'homeward backup' first, which may heal it, or remove %s to give the snapshot up", id, err, snapshotFile(id))
		}
		if err != nil {
			return Pruned{}, err
		}
		if out.Kept = append(out.Kept, id); !whole {
			out.Damaged = append(out.Damaged, id)
		}
	}
	if len(out.Kept) == 0 && len(all) > 0 {
		return Pruned{}, fmt.Errorf("no snapshot can be read: %w; nothing was removed", ErrDamaged)
	}
	for _, id := range out.Removed {
		if err := os.Remove(filepath.Join(b.dir, snapshotFile(id))); err != nil {
			return out, err
		}
		if err := b.at("prune.snapshot"); err != nil {
			return out, err
		}
	}
	// What they needed may only go once they are gone for good.
	if len(all) > 0 {
		if err := syncDir(filepath.Join(b.dir, snapshotsName)); err != nil {
			return out, err
		}
	}
	for _, folder := range []string{chunksName, photosName} {
		err := eachFile(filepath.Join(b.dir, folder), func(name sum, path string) error {
			if used[name] {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			info, err := os.Lstat(path)
			if err != nil {
				return err
			}
			if err := os.Remove(path); err != nil {
				return err
			}
			b.touched(filepath.Dir(path))
			out.Files++
			out.Bytes += info.Size()
			return b.at("prune.file")
		})
		if err != nil {
			return out, err
		}
	}
	return out, errors.Join(b.settle(), b.forgetDamage())
}

// eachNeeded calls do with the name of each chunk and photo that a snapshot needs. ErrDamaged when a list of its photos cannot be read.
func (b *Backup) eachNeeded(m manifest, do func(sum)) error {
	names, err := sums(m.Chunks)
	if err != nil {
		return err
	}
	for _, name := range names {
		do(name)
	}
	return b.eachPhoto(m, func(list sum) error {
		do(list)
		return nil
	}, func(p photo) error {
		do(p.name)
		return nil
	})
}
