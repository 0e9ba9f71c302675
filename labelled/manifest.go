package labelled

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Row is one line of a manifest: a photo and whom it shows.
type Row struct {
	Path    string // the photo, as it can be opened
	Name    string // the photo, as the manifest has it
	Subject string
	Age     float64 // years; negative where unknown
	Side    string  // "young", "old" or ""
	// Manifest and Line say where it stands.
	Manifest string
	Line     int
}

var manifestColumns = []string{"path", "subject", "age", "side"}

// ReadManifest reads a labelled set: a CSV file with the columns path, subject, age, side, in that order. Paths are
// relative to the manifest; age and side may be empty.
func ReadManifest(path string) ([]Row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the manifest: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = len(manifestColumns)
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", path, err)
	}
	if !slices.Equal(header, manifestColumns) {
		return nil, fmt.Errorf("manifest %s: the first line must be path,subject,age,side", path)
	}
	var rows []Row
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", path, err)
		}
		line, _ := r.FieldPos(0)
		bad := func(why string) error { return fmt.Errorf("manifest %s, line %d: %s", path, line, why) }
		if row[0] == "" || row[1] == "" {
			return nil, bad("path and subject must not be empty")
		}
		l := Row{Path: filepath.Join(filepath.Dir(path), row[0]), Name: row[0], Subject: row[1], Age: -1, Side: row[3], Manifest: path, Line: line}
		if row[2] != "" {
			if l.Age, err = strconv.ParseFloat(row[2], 64); err != nil || !(l.Age >= 0 && l.Age <= 120) {
				return nil, bad(fmt.Sprintf("age %q is not a number of years from 0 to 120", row[2]))
			}
		}
		if l.Side != "" && l.Side != "young" && l.Side != "old" {
			return nil, bad(fmt.Sprintf("side %q: use young, old or nothing", l.Side))
		}
		rows = append(rows, l)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("manifest %s lists no photos", path)
	}
	return rows, nil
}
