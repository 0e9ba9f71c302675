package registry

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
)

// TestLogIsCutShort writes much while someone reads for long, which makes the log grow; once the reader is done, it is cut.
func TestLogIsCutShort(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(filepath.Join(r.dir, "registry.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	put := func(bytes int) {
		t.Helper()
		if err := r.change(t.Context(), "write much", func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ('much', zeroblob(?)) ON CONFLICT (name) DO UPDATE SET value = excluded.value", bytes)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	err := r.view(t.Context(), "read for long", func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM cases").Scan(&n); err != nil {
			return err
		}
		for i := range 4 {
			put(20<<20 + i)
		}
		if size() < 2*mostLog {
			t.Errorf("the log has %d bytes while it is read", size())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // the first is folded in whole, the next begins the log anew, the third cuts it
		put(10 + i)
	}
	if size() > mostLog {
		t.Errorf("the log still has %d bytes", size())
	}
}
