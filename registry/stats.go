package registry

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Stats counts what a registry holds. Counts are of one moment; sizes are of the files as they are.
type Stats struct {
	Cases      map[string]int64 `json:"cases"`       // by gallery and status: "missing.open", …
	Photos     map[string]int64 `json:"photos"`      // by state
	PhotoBytes int64            `json:"photo_bytes"` // of the originals
	Faces      int64            `json:"faces"`
	// Undecided are analysed photos with faces of which nobody has said which is the child's; Faceless those without any face.
	Undecided int64 `json:"undecided"`
	Faceless  int64 `json:"faceless"`
	// Duplicates are photos whose very bytes another case has too.
	Duplicates int64            `json:"duplicates"`
	Templates  map[string]int64 `json:"templates"` // by generation
	Active     string           `json:"active"`    // the generation in use
	Leads      map[string]int64 `json:"leads"`     // by state
	Reunions   int64            `json:"reunions"`
	Published  int64            `json:"published"`
	Queued     int64            `json:"queued"` // photos to be analysed
	// OldestQueued is when the photo that has waited longest came; zero when none waits.
	OldestQueued time.Time        `json:"oldest_queued,omitzero"`
	Due          int64            `json:"due"`         // cases that the standing search has yet to compare
	Jobs         map[string]int64 `json:"jobs"`        // by kind and state: "import.running", …
	Accounts     map[string]int64 `json:"accounts"`    // by role, disabled ones left out
	Entries      int64            `json:"entries"`     // of the audit
	DestroyDue   int64            `json:"destroy_due"` // closed cases that will be destroyed one day

	Database int64 `json:"database_bytes"`
	Log      int64 `json:"log_bytes"`  // beside the database, folded into it now and then
	Free     int64 `json:"free_bytes"` // of the disk
	Disk     int64 `json:"disk_bytes"`
}

// Stats counts what the registry holds. With a hundred thousand photos it takes some tenths of a second.
func (r *Registry) Stats(ctx context.Context) (s Stats, err error) {
	err = r.view(ctx, "count what the registry holds", func(tx *sql.Tx) error {
		for into, query := range map[*map[string]int64]string{
			&s.Cases:     "SELECT gallery || '.' || status, count(*) FROM cases GROUP BY 1",
			&s.Photos:    "SELECT state, count(*) FROM photos GROUP BY 1",
			&s.Templates: "SELECT model_set, count(*) FROM templates GROUP BY 1",
			&s.Leads:     "SELECT state, count(*) FROM leads GROUP BY 1",
			&s.Jobs:      "SELECT kind || '.' || state, count(*) FROM jobs GROUP BY 1",
			&s.Accounts:  "SELECT role, count(*) FROM accounts WHERE disabled_at = 0 GROUP BY 1",
		} {
			*into = make(map[string]int64)
			err := eachRow(ctx, tx, func(rows *sql.Rows) error {
				var name string
				var n int64
				if err := rows.Scan(&name, &n); err != nil {
					return err
				}
				(*into)[name] = n
				return nil
			}, query)
			if err != nil {
				return err
			}
		}
		s.Queued = s.Photos[string(Queued)]
		var oldest int64
		for into, query := range map[any]string{
			&s.PhotoBytes: "SELECT coalesce(sum(size), 0) FROM photos",
			&s.Faces:      "SELECT count(*) FROM faces",
			&s.Undecided:  "SELECT count(*) FROM photos p WHERE p.state = 'analysed' AND p.subject = '' AND p.subject_by = '' AND EXISTS (SELECT 1 FROM faces f WHERE f.photo_id = p.id)",
			&s.Faceless:   "SELECT count(*) FROM photos p WHERE p.state = 'analysed' AND NOT EXISTS (SELECT 1 FROM faces f WHERE f.photo_id = p.id)",
			&s.Duplicates: "SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM photos GROUP BY digest HAVING count(*) > 1)",
			&s.Active:     "SELECT coalesce((SELECT id FROM generations WHERE state = 'active'), '')",
			&s.Reunions:   "SELECT count(*) FROM reunions",
			&s.Published:  "SELECT count(*) FROM publications WHERE state = 'published'",
			&oldest:       "SELECT coalesce(min(added_at), 0) FROM photos WHERE state = 'queued'",
			&s.Due:        "SELECT count(*) FROM due",
			&s.Entries:    "SELECT coalesce(max(n), 0) FROM audit",
			&s.DestroyDue: "SELECT count(*) FROM cases WHERE destroy_at > 0",
		} {
			if err := tx.QueryRowContext(ctx, query).Scan(into); err != nil {
				return err
			}
		}
		s.OldestQueued = fromMillis(oldest)
		return nil
	})
	if err != nil {
		return Stats{}, err
	}
	for into, name := range map[*int64]string{&s.Database: "registry.db", &s.Log: "registry.db-wal"} {
		if info, err := os.Stat(filepath.Join(r.dir, name)); err == nil {
			*into = info.Size()
		}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(r.dir, &disk); err != nil {
		return Stats{}, wrap(err, "ask how full the disk is")
	}
	s.Free, s.Disk = int64(disk.Bavail)*disk.Bsize, int64(disk.Blocks)*disk.Bsize
	return s, nil
}

// Waits says how the connections to the database do: how often and for how long someone has waited for one.
func (r *Registry) Waits() (writer, readers sql.DBStats) { return r.writer.Stats(), r.readers.Stats() }
