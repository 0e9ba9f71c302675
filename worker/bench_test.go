package worker

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nfnt/resize"

	photos "homeward/internal/testphotos"
)

// phonePhoto is a portrait brought to 4000 by 5000 pixels, with the noise of a sensor: some 6 MB.
func phonePhoto(b *testing.B) []byte {
	b.Helper()
	big := resize.Resize(4000, 0, photos.Decode(b, photos.Read(b, photos.Obama)), resize.Bilinear)
	out := image.NewRGBA(big.Bounds())
	random := rand.New(rand.NewPCG(1, 2))
	for y := range out.Bounds().Dy() {
		for x := range out.Bounds().Dx() {
			r, g, bl, _ := big.At(x, y).RGBA()
			noise := int(random.NormFloat64() * 4)
			p := out.Pix[out.PixOffset(x, y):]
			for c, v := range [3]uint32{r, g, bl} {
				p[c] = uint8(min(255, max(0, int(v>>8)+noise)))
			}
			p[3] = 255
		}
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, out, &jpeg.Options{Quality: 90}); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

// BenchmarkStart starts processes.
func BenchmarkStart(b *testing.B) {
	for _, o := range []Options{{Workers: 1}, {Models: modelsDir, Set: "default", Workers: 1}} {
		b.Run("set="+o.Set, func(b *testing.B) {
			var mb float64
			for b.Loop() {
				p, err := Open(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				mb = resident(b, p.pids()[0])
				if err := p.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(mb, "MB-worker")
		})
	}
}

// BenchmarkAnalyse looks at each photo in this process and in a worker, turn by turn. worker/here is the median of the pairs' ratios by
// the clock; the others are the processor time that a photo takes, in this process and the worker together.
func BenchmarkAnalyse(b *testing.B) {
	e, p := inProcess(b), openPool(b, Options{Set: "default", Workers: 1})
	spent := func() time.Duration {
		here, _ := processorTime(os.Getpid())
		there, _ := processorTime(p.pids()[0])
		return here + there
	}
	for _, c := range []struct {
		name  string
		photo []byte
	}{{"portrait", photos.Read(b, photos.Obama)}, {"phone", phonePhoto(b)}} {
		b.Run(fmt.Sprintf("%s=%dkB", c.name, len(c.photo)>>10), func(b *testing.B) {
			var here, there, ratios []float64
			took := func(do func() error) (clock, processor float64) {
				began, before := time.Now(), spent()
				if err := do(); err != nil {
					b.Fatal(err)
				}
				return time.Since(began).Seconds() * 1000, (spent() - before).Seconds() * 1000
			}
			for b.Loop() {
				x, xp := took(func() error { _, err := e.Analyse(b.Context(), c.photo, nil); return err })
				y, yp := took(func() error { _, err := p.Analyse(b.Context(), c.photo, nil); return err })
				here, there, ratios = append(here, xp), append(there, yp), append(ratios, y/x)
			}
			b.ReportMetric(median(here), "cpu-ms-here")
			b.ReportMetric(median(there), "cpu-ms-worker")
			b.ReportMetric(median(ratios), "worker/here")
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(resident(b, p.pids()[0]), "MB-worker")
		b.ReportMetric(0, "ns/op")
	})
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// resident is how much memory a process has to itself: what it shares with others is counted by shares.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(rollup)) {
		if f := strings.Fields(line); f[0] == "Pss:" {
			kb, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatal("no Pss in smaps_rollup")
	return 0
}
