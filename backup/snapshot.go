package backup

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// manifest is what a snapshot's file holds.
type manifest struct {
	Registry string           `json:"registry"`
	At       time.Time        `json:"at"`     // the moment that it shows
	Schema   int              `json:"schema"` // version of the database's
	Counts   map[string]int64 `json:"counts"`

	Database int64  `json:"database"` // bytes
	Chunks   []byte `json:"chunks"`   // names of its chunks, in order

	Photos     int64    `json:"photos"` // files
	PhotoBytes int64    `json:"photo_bytes"`
	Lists      []byte   `json:"lists"`   // names of the chunks that list them
	Gone       []string `json:"gone"`    // files of photos that were deleted before they could be copied
	Missing    []string `json:"missing"` // files that the registry itself had lost

	Stored int64         `json:"stored"` // bytes that were new to the backup
	Took   time.Duration `json:"took"`
}

// photo is a photo's file in a list.
type photo struct {
	name sum
	size int64
}

// listSpan is how many photo numbers a list covers. Photos come at the end, so all lists but the last stay as they are.
const listSpan = 1 << 14

const photoRecord = len(sum{}) + 8

func appendPhoto(list []byte, p photo) []byte {
	return binary.BigEndian.AppendUint64(append(list, p.name[:]...), uint64(p.size))
}

// sums cuts names out of a manifest.
func sums(raw []byte) ([]sum, error) {
	if len(raw)%len(sum{}) != 0 {
		return nil, ErrDamaged
	}
	out := make([]sum, len(raw)/len(sum{}))
	for i := range out {
		copy(out[i][:], raw[i*len(sum{}):])
	}
	return out, nil
}

// eachPhoto calls do with every photo file of a snapshot, list by list, after do of the list's own chunk.
func (b *Backup) eachPhoto(m manifest, list func(sum) error, do func(photo) error) error {
	lists, err := sums(m.Lists)
	if err != nil {
		return err
	}
	for _, name := range lists {
		if list != nil {
			if err := list(name); err != nil {
				return err
			}
		}
		if err := b.listed(name, do); err != nil {
			return err
		}
	}
	return nil
}

// listed calls do with every photo file of one list.
func (b *Backup) listed(list sum, do func(photo) error) error {
	raw, err := b.chunk(list)
	if err == nil && len(raw)%photoRecord != 0 {
		err = ErrDamaged
	}
	if err != nil {
		return fmt.Errorf("%s: %w", list.path(chunksName), err)
	}
	for ; len(raw) > 0; raw = raw[photoRecord:] {
		var p photo
		copy(p.name[:], raw)
		p.size = int64(binary.BigEndian.Uint64(raw[len(sum{}):]))
		if err := do(p); err != nil {
			return err
		}
	}
	return nil
}

// Info says what a snapshot holds.
type Info struct {
	ID         int              `json:"id"`
	Damaged    bool             `json:"damaged,omitempty"` // its own file is; nothing else is known then
	At         time.Time        `json:"at"`
	Photos     int64            `json:"photos"`
	PhotoBytes int64            `json:"photo_bytes"`
	Database   int64            `json:"database_bytes"`
	Counts     map[string]int64 `json:"counts,omitempty"`
	Gone       int              `json:"gone,omitempty"`
	Missing    int              `json:"missing,omitempty"`
	Stored     int64            `json:"stored_bytes"` // that were new to the backup when it was taken
	Took       time.Duration    `json:"took"`
}

func (m manifest) info(id int) Info {
	return Info{ID: id, At: m.At, Photos: m.Photos, PhotoBytes: m.PhotoBytes, Database: m.Database, Counts: m.Counts,
		Gone: len(m.Gone), Missing: len(m.Missing), Stored: m.Stored, Took: m.Took}
}

func snapshotFile(id int) string { return filepath.Join(snapshotsName, fmt.Sprintf("%06d", id)) }

// ids lists the snapshots that there are, oldest first.
func ids(dir string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(dir, snapshotsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil && id > 0 && filepath.Base(snapshotFile(id)) == e.Name() {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, cmp.Compare[int])
	return out, nil
}

// manifest reads a snapshot's file. ErrDamaged when it is not as it was written.
func (b *Backup) manifest(id int) (m manifest, err error) {
	sealed, err := readFile(filepath.Join(b.dir, snapshotFile(id)), maxManifest)
	if err != nil {
		return m, fmt.Errorf("%s: %w", snapshotFile(id), err)
	}
	raw, err := b.open(sealed, "snapshot "+strconv.Itoa(id))
	if err != nil {
		return m, fmt.Errorf("%s: %w", snapshotFile(id), err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%s: %w: %w", snapshotFile(id), ErrDamaged, err)
	}
	return m, nil
}

// putManifest writes a snapshot's file, when all that it names is durable.
func (b *Backup) putManifest(ctx context.Context, id int, m manifest) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sealed, err := b.seal(raw, "snapshot "+strconv.Itoa(id))
	if err != nil {
		return err
	}
	if err := b.settle(); err != nil {
		return err
	}
	// What is used again may lie under a name that a backup gave it which ended before it was on disk.
	if err := syncDisk(b.dir); err != nil {
		return err
	}
	if err := b.at("snapshot.begun"); err != nil {
		return err
	}
	if err := b.putBytes(ctx, "snapshot", snapshotFile(id), sealed); err != nil {
		return err
	}
	return b.settle()
}

// List lists the snapshots, oldest first.
func (b *Backup) List() (out []Info, err error) {
	defer func() { err = wrap(err, "list snapshots of %s", b.dir) }()
	all, err := ids(b.dir)
	if err != nil {
		return nil, err
	}
	for _, id := range all {
		m, err := b.manifest(id)
		switch {
		case errors.Is(err, ErrDamaged):
			out = append(out, Info{ID: id, Damaged: true})
		case errors.Is(err, fs.ErrNotExist): // pruned since
		case err != nil:
			return nil, err
		default:
			out = append(out, m.info(id))
		}
	}
	return out, nil
}
