package labelled

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the cache's file

	"homeward/engine"
	"homeward/models"
)

// Cache keeps what the engine found in labelled photos, by what the photo holds and by the models that looked at it. Deleting
// its file costs nothing but time. It holds faces' embeddings in the clear: it is for labelled sets, never for a registry.
type Cache struct{ db *sql.DB }

// DefaultCache is where the cache is unless told otherwise: under XDG_CACHE_HOME, or ~/.cache.
func DefaultCache() (string, error) {
	dir := os.Getenv("XDG_CACHE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find a place for the cache: %w; set XDG_CACHE_HOME", err)
		}
		dir = filepath.Join(home, ".cache")
	}
	return filepath.Join(dir, "homeward", "embeddings.db"), nil
}

// OpenCache opens the cache in a file and makes it where there is none.
func OpenCache(ctx context.Context, path string) (*Cache, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make a place for the cache: %w", err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)&_pragma=synchronous(off)&_pragma=busy_timeout(15000)")
	if err != nil {
		return nil, fmt.Errorf("open the cache: %w", err)
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `
		CREATE TABLE IF NOT EXISTS faces (photo BLOB PRIMARY KEY, problem TEXT NOT NULL, face TEXT NOT NULL) STRICT, WITHOUT ROWID;
		CREATE TABLE IF NOT EXISTS embeddings (photo BLOB, recogniser TEXT, vector BLOB NOT NULL, PRIMARY KEY (photo, recogniser)) STRICT, WITHOUT ROWID;`)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the cache %s: %w; delete the file and try again", path, err), db.Close())
	}
	return &Cache{db}, nil
}

// Close closes the cache's file.
func (c *Cache) Close() error { return c.db.Close() }

// kept is a face as the cache's file has it.
type kept struct {
	Box       engine.Box      `json:"box"`
	Landmarks [5]engine.Point `json:"landmarks"`
	AgeYears  float64         `json:"age"`
	AgeSD     float64         `json:"age_sd"`
	Quality   float64         `json:"quality"`
}

// cacheVersion changes when what is kept of a photo does: how the subject's face is chosen, how quality is judged.
const cacheVersion = "1"

// keyOf stands for a photo as the set's detector and age model see it.
func keyOf(photo []byte, set models.Set) []byte {
	h := sha256.New()
	fmt.Fprintln(h, cacheVersion, set.Detector.Fingerprint(), set.Age.Fingerprint())
	h.Write(photo)
	return h.Sum(nil)
}

// get returns what is known. In the face's embeddings nil stands for a recogniser that was asked and had nothing to say.
func (c *Cache) get(ctx context.Context, photo []byte, set models.Set) (face Face, problem string, found bool, err error) {
	key := keyOf(photo, set)
	var raw string
	err = c.db.QueryRowContext(ctx, "SELECT problem, face FROM faces WHERE photo = ?", key).Scan(&problem, &raw)
	if errors.Is(err, sql.ErrNoRows) {
		return face, "", false, nil
	}
	if err != nil {
		return face, "", false, fmt.Errorf("read the cache: %w", err)
	}
	if problem != "" {
		return face, problem, true, nil
	}
	var k kept
	if err := json.Unmarshal([]byte(raw), &k); err != nil {
		return face, "", false, fmt.Errorf("read the cache: %w", err)
	}
	face = Face{Box: k.Box, Landmarks: k.Landmarks, AgeYears: k.AgeYears, AgeSD: k.AgeSD, Quality: k.Quality, Embeddings: map[string][]float32{}}
	rows, err := c.db.QueryContext(ctx, "SELECT recogniser, vector FROM embeddings WHERE photo = ?", key)
	if err != nil {
		return face, "", false, fmt.Errorf("read the cache: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var recogniser string
		var vector sql.RawBytes
		if err := rows.Scan(&recogniser, &vector); err != nil {
			return face, "", false, fmt.Errorf("read the cache: %w", err)
		}
		if face.Embeddings[recogniser], err = floats(vector); err != nil {
			return face, "", false, fmt.Errorf("read the cache: %w", err)
		}
	}
	return face, "", true, rows.Err()
}

// put keeps what was found.
func (c *Cache) put(ctx context.Context, photo []byte, set models.Set, face Face, problem string) (err error) {
	key := keyOf(photo, set)
	raw, err := json.Marshal(kept{face.Box, face.Landmarks, face.AgeYears, face.AgeSD, face.Quality})
	if err != nil {
		return fmt.Errorf("write the cache: %w", err)
	}
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write the cache: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the cache: %w", errors.Join(err, tx.Rollback()))
		}
	}()
	if _, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO faces (photo, problem, face) VALUES (?, ?, ?)", key, problem, string(raw)); err != nil {
		return err
	}
	for r, v := range face.Embeddings {
		var vector []byte
		// Not nil, which would be no value: a recogniser that had nothing to say is kept too.
		if vector, err = binary.Append([]byte{}, binary.LittleEndian, v); err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO embeddings (photo, recogniser, vector) VALUES (?, ?, ?)", key, r, vector); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// floats is nil for no bytes.
func floats(b []byte) ([]float32, error) {
	if len(b) == 0 {
		return nil, nil
	}
	v := make([]float32, len(b)/4)
	_, err := binary.Decode(b, binary.LittleEndian, v)
	return v, err
}
