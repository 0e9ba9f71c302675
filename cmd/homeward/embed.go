package main

import (
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"homeward/finder"
	"homeward/labelled"
)

func embedCommand(o *options) *cobra.Command {
	var (
		out, cache string
		with       bool
	)
	c := &cobra.Command{
		Use:   "embed MANIFEST...",
		Short: "Write labelled faces as arrays, to train recognisers with",
		Long: `Write the subject's face of every photo of a labelled set as NumPy arrays, for models/train and other tools: chips.npy (faces × 112 ×
112 × RGB), with --embeddings an array for each recogniser of the model set too (rows of zeros where it had nothing to say), and
faces.csv, which tells whose face each row is.`,
		Args: args(1, -1, "one manifest or more"),
		RunE: func(c *cobra.Command, manifests []string) error { return embed(c, o, manifests, out, cache, with) },
	}
	c.Flags().StringVar(&out, "out", "faces", "folder to write to")
	c.Flags().BoolVar(&with, "embeddings", false, "write the recognisers' embeddings too")
	cacheFlag(c, &cache)
	return c
}

func embed(c *cobra.Command, o *options, manifests []string, out, cache string, with bool) (err error) {
	rows, err := readManifests(manifests)
	if err != nil {
		return err
	}
	cat, set, err := finder.LoadSet(o.config())
	if err != nil {
		return err
	}
	if !with {
		set.Recognisers = nil
	}
	all, err := samples(c, cat, set, rows, cache, true)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return err
	}
	var usable []labelled.Sample
	for _, s := range all {
		if s.Problem == "" {
			usable = append(usable, s)
		}
	}
	err = writeFile(filepath.Join(out, "chips.npy"), func(w io.Writer) error {
		if err := npyHeader(w, "|u1", len(usable), 112, 112, 3); err != nil {
			return err
		}
		for _, s := range usable {
			if _, err := w.Write(s.Chip.Pix); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range set.Recognisers {
		err := writeFile(filepath.Join(out, r.Name+".npy"), func(w io.Writer) error {
			if err := npyHeader(w, "<f4", len(usable), r.Output.Dim); err != nil {
				return err
			}
			for _, s := range usable {
				v := s.Embeddings[r.Fingerprint()]
				if v == nil {
					v = make([]float32, r.Output.Dim)
				}
				if err := binary.Write(w, binary.LittleEndian, v); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	err = writeFile(filepath.Join(out, "faces.csv"), func(w io.Writer) error {
		t := csv.NewWriter(w)
		if err := t.Write([]string{"path", "subject", "age", "side", "looks", "looks_sd", "quality"}); err != nil {
			return err
		}
		for _, s := range usable {
			age := ""
			if s.Age >= 0 {
				age = decimal(s.Age)
			}
			if err := t.Write([]string{s.Name, s.Subject, age, s.Side, decimal(s.AgeYears), decimal(s.AgeSD), decimal(s.Quality)}); err != nil {
				return err
			}
		}
		t.Flush()
		return t.Error()
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %d faces; %d of %d photos left out, most often because no face was found\n", out, len(usable), len(all)-len(usable), len(all))
	return nil
}

func decimal(x float64) string { return strconv.FormatFloat(x, 'g', 5, 64) }

// writeFile writes a file whole or not at all.
func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".writing-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, errors.Join(err, f.Close(), os.Remove(f.Name())))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return f.Close()
}

// npyHeader begins an array in NumPy's format, version 1.0.
func npyHeader(w io.Writer, dtype string, shape ...int) error {
	dims := ""
	for _, n := range shape {
		dims += strconv.Itoa(n) + ", "
	}
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", dtype, dims)
	for (10+len(header)+1)%64 != 0 {
		header += " "
	}
	header += "\n"
	head := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	_, err := w.Write(append(head, header...))
	return err
}
