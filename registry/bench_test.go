package registry

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"testing"
)

// BenchmarkUpload stores photos of 3 MB, about what 12 megapixels take: encrypted, synced, with their row.
func BenchmarkUpload(b *testing.B) {
	r := open(b, b.TempDir(), Options{})
	c := newCase(b, r, Missing)
	content := randomPhoto(1, 3_000_000)
	b.SetBytes(int64(len(content)))
	for i := 0; b.Loop(); i++ {
		copy(content, fmt.Sprint(i, " ")) // each its own
		if _, existed, err := addPhoto(b.Context(), r, c.ID, content, NewPhoto{}); err != nil || existed {
			b.Fatal(existed, err)
		}
	}
}

// BenchmarkReadPhoto decrypts and authenticates such a photo.
func BenchmarkReadPhoto(b *testing.B) {
	r := open(b, b.TempDir(), Options{})
	content := randomPhoto(1, 3_000_000)
	p := mustAdd(b, r, newCase(b, r, Missing).ID, content)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		rc, err := r.OpenPhoto(b.Context(), p.ID)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, rc); err != nil {
			b.Fatal(err)
		}
		rc.Close()
	}
}

// BenchmarkEachReference reads the references of 100,000 cases at start-up, as fused vectors and as a metric projects them.
func BenchmarkEachReference(b *testing.B) {
	const cases = 100_000
	for _, dim := range []int{129, 832} {
		b.Run(fmt.Sprintf("dim=%d", dim), func(b *testing.B) {
			r := open(b, b.TempDir(), Options{})
			fill(b, r, cases, dim)
			b.ResetTimer()
			for b.Loop() {
				refs := 0
				if _, err := r.EachReference(b.Context(), "set", func(_ Case, rs []Reference) error {
					refs += len(rs)
					return nil
				}); err != nil || refs != cases {
					b.Fatal(refs, err)
				}
			}
			b.ReportMetric(float64(b.N)*cases/b.Elapsed().Seconds(), "refs/s")
		})
	}
}

// BenchmarkSaveAnalysis saves one face with its three embeddings and its template.
func BenchmarkSaveAnalysis(b *testing.B) {
	r := open(b, b.TempDir(), Options{})
	id := mustAdd(b, r, newCase(b, r, Missing).ID, []byte("1")).ID
	f := face(0, 1)
	f.Template = make([]float32, 832)
	f.Template[0] = 1
	f.Embeddings = map[string][]float32{"a": f.Template[:512], "b": f.Template[:192], "c": f.Template[:128]}
	for b.Loop() {
		if err := r.SaveAnalysis(b.Context(), id, "set", NewAnalysis{Faces: []NewFace{f}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReproject makes templates under a new metric of the stored embeddings of 100,000 faces, three each.
func BenchmarkReproject(b *testing.B) {
	const faces = 100_000
	r := open(b, b.TempDir(), Options{})
	fill(b, r, faces, 129)
	fillEmbeddings(b, r, "ms.old")
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		to := fmt.Sprint("ms.", i)
		begin(b, r, to)
		n, err := r.Reproject(b.Context(), to, func(e map[string][]float32) ([]float32, error) {
			return e["a"][:129], nil
		}, nil)
		if err != nil || n != faces {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.N)*faces/b.Elapsed().Seconds(), "faces/s")
}

// fillEmbeddings gives every face three embeddings, and makes the set the one in use, under which the photos are done.
func fillEmbeddings(b testing.TB, r *Registry, set string) {
	b.Helper()
	var faces []FaceID
	rows, err := r.readers.QueryContext(b.Context(), "SELECT id FROM faces ORDER BY n")
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id FaceID
		if err := rows.Scan(&id); err != nil {
			b.Fatal(err)
		}
		faces = append(faces, id)
	}
	v := make([]float32, 512)
	err = r.change(b.Context(), "fill", func(ctx context.Context, tx *sql.Tx) error {
		g, _, err := r.addGeneration(ctx, tx, Generation{ID: set})
		if err != nil {
			return err
		}
		for _, s := range []string{
			"UPDATE generations SET state = 'active' WHERE n = ?1",
			"INSERT INTO photo_sets (generation, photo, state, subject) SELECT ?1, n, 'done', subject FROM photos",
			"UPDATE templates SET model_set = (SELECT id FROM generations WHERE n = ?1)",
		} {
			if _, err := tx.ExecContext(ctx, s, g.n); err != nil {
				return err
			}
		}
		for i, id := range faces {
			v[0] = float32(i + 1)
			for recogniser, dim := range map[string]int{"a": 512, "b": 192, "c": 128} {
				sealed, err := r.keys.sealVector(kindEmbedding, id, recogniser, v[:dim])
				if err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, "INSERT INTO embeddings (face_id, recogniser, sealed) VALUES (?, ?, ?)", id, recogniser, sealed); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// fill makes cases with one analysed photo each, without the photos' files.
func fill(b testing.TB, r *Registry, cases, dim int) {
	b.Helper()
	key, err := r.keys.newCaseKey("c")
	if err != nil {
		b.Fatal(err)
	}
	template := make([]float32, dim)
	err = r.change(b.Context(), "fill", func(ctx context.Context, tx *sql.Tx) error {
		var into [4]*sql.Stmt
		for i, text := range []string{
			`INSERT INTO cases (id, gallery, status, names, sex, born_from, born_to, place, on_date, marks, notes, ref, key,
				created_at, updated_at, version) VALUES (?, 'missing', 'open', '["Name"]', '', '2009', '2010', 'Place', '', '', '', '', ?, 1, 1, 1)`,
			`INSERT INTO photos (id, case_id, file, digest, name, format, size, width, height, taken, taken_by, state, subject, added_at)
				VALUES (?1, ?2, ?1, ?3, '', 'jpeg', 1, 1, 1, '', '', 'analysed', ?4, 1)`,
			`INSERT INTO faces (id, photo_id, position, x, y, w, h, landmarks, score, age_years, age_sd, quality, eye_dist,
				sharpness, yaw, pitch, roll, searchable, reasons) VALUES (?, ?, 0, 1, 1, 1, 1, ?, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, '[]')`,
			"INSERT INTO templates (face_id, model_set, sealed, age_years, age_sd, quality, searchable) VALUES (?, 'set', ?, 1, 1, 1, 1)",
		} {
			if into[i], err = tx.PrepareContext(ctx, text); err != nil {
				return err
			}
		}
		for i := range cases {
			c, p, f := newID("c_"), newID("p_"), FaceID(newID("f_"))
			template[0] = float32(i + 1)
			sealed, err := r.keys.sealVector(kindTemplate, f, "set", template)
			if err != nil {
				return err
			}
			for i, args := range [][]any{{c, key}, {p, c, []byte(p), f}, {f, p, make([]byte, 40)}, {f, sealed}} {
				if _, err := into[i].ExecContext(ctx, args...); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
