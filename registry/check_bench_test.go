package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkCheck checks a registry of 100,000 photos in 10,000 cases, one face each with a template of 129 numbers and embeddings of 512 and
// 128. The photos are small, 20 kB: what their sizes cost is what hashing and decrypting cost, which bytes/s tells.
func BenchmarkCheck(b *testing.B) {
	const cases, each, size = 10_000, 10, 20_000
	r := open(b, b.TempDir(), Options{})
	fillWhole(b, r, cases, each, size)
	o := CheckOptions{
		Templates: map[string]int{"set": 129}, Embeddings: map[string]int{"r1": 512, "r2": 128}, Active: "set",
		Project: func(map[string][]float32) ([]float32, error) { return nil, nil },
	}
	for _, deep := range []bool{false, true} {
		b.Run(fmt.Sprintf("deep=%v", deep), func(b *testing.B) {
			o.Deep = deep
			for b.Loop() {
				n, err := r.Check(b.Context(), o, func(p Problem) { b.Error(p) })
				if err != nil || n.Photos != cases*each || n.Faces != cases*each {
					b.Fatal(n, err)
				}
				b.SetBytes(n.Bytes)
			}
			b.ReportMetric(float64(cases*each)*float64(b.N)/b.Elapsed().Seconds(), "photos/s")
		})
	}
}

// fillWhole makes cases with photos that are all there, much faster than uploads, which are synced one by one.
func fillWhole(b *testing.B, r *Registry, cases, each, size int) {
	b.Helper()
	content := randomPhoto(1, size)
	vector := make([]float32, 512)
	err := r.change(b.Context(), "fill", func(ctx context.Context, tx *sql.Tx) error {
		var into []*sql.Stmt
		for _, text := range []string{
			`INSERT INTO photos (id, case_id, file, digest, name, format, size, width, height, taken, taken_by, state, subject, subject_by, added_at)
				VALUES (?, ?, ?, ?, '', 'jpeg', ?, 1, 1, '', '', 'analysed', ?, 'only', 1)`,
			`INSERT INTO faces (id, photo_id, position, x, y, w, h, landmarks, score, age_years, age_sd, quality, eye_dist,
				sharpness, yaw, pitch, roll, searchable, reasons) VALUES (?, ?, 0, 1, 1, 1, 1, zeroblob(40), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, '[]')`,
			"INSERT INTO templates (face_id, model_set, sealed, age_years, age_sd, quality, searchable) VALUES (?, 'set', ?, 1, 1, 1, 1)",
			"INSERT INTO embeddings (face_id, recogniser, sealed) VALUES (?, ?, ?)",
		} {
			s, err := tx.PrepareContext(ctx, text)
			if err != nil {
				return err
			}
			into = append(into, s)
		}
		for range cases {
			c := Case{Gallery: Missing}
			key, err := r.beginCase(&c)
			if err != nil {
				return err
			}
			if err := r.insertCase(ctx, tx, &c, key); err != nil {
				return err
			}
			a, err := r.keys.caseKey(c.ID, key)
			if err != nil {
				return err
			}
			for i := range each {
				p, f := newID("p_"), FaceID(newID("f_"))
				copy(content, fmt.Sprint(i, c.ID))
				digest := r.keys.newDigest()
				digest.Write(content)
				file, err := os.Create(filepath.Join(r.tmp(), r.owner, "fill"))
				if err != nil {
					return err
				}
				hash := sha256.New()
				w, err := a.NewEncryptingWriter(io.MultiWriter(file, hash), []byte(p))
				if err != nil {
					return err
				}
				if _, err := w.Write(content); err != nil {
					return err
				}
				if err := w.Close(); err != nil {
					return err
				}
				file.Close()
				name := hex.EncodeToString(hash.Sum(nil))
				_ = os.Mkdir(filepath.Dir(r.file(name)), 0o700)
				if err := os.Rename(file.Name(), r.file(name)); err != nil {
					return err
				}
				vector[0]++
				template, _ := r.keys.sealVector(kindTemplate, f, "set", vector[:129])
				r1, _ := r.keys.sealVector(kindEmbedding, f, "r1", vector)
				r2, _ := r.keys.sealVector(kindEmbedding, f, "r2", vector[:128])
				for j, args := range [][]any{{p, c.ID, name, digest.Sum(nil), size, f}, {f, p}, {f, template}, {f, "r1", r1}, {f, "r2", r2}} {
					if _, err := into[min(j, 3)].ExecContext(ctx, args...); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
