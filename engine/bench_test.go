package engine

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nfnt/resize"

	photos "homeward/internal/testphotos"
)

// What a phone saves has more noise the less light there was, and takes the longer to decode.
const (
	daylight = 3.0 // standard deviation of the noise, in levels of 256
	indoors  = 6.0
)

var (
	photo12MP        = sync.OnceValues(func() ([]byte, error) { return makePhoto12MP(indoors) })
	photo12MPInLight = sync.OnceValues(func() ([]byte, error) { return makePhoto12MP(daylight) })
)

// makePhoto12MP is 4000 by 3000 pixels: an upscaled portrait with the noise of a sensor, quality 90.
func makePhoto12MP(grain float64) ([]byte, error) {
	original, err := os.ReadFile(filepath.Join(photos.Dir(), photos.Obama))
	if err != nil {
		return nil, fmt.Errorf("%w: run scripts/setup", err)
	}
	im, _, err := Decode(original, 4096)
	if err != nil {
		return nil, err
	}
	// Landscape, as most photos are: the portrait stands in the middle of a grey room.
	big := resize.Resize(0, 3000, im.rgba(), resize.Bicubic).(*image.RGBA)
	out := image.NewRGBA(image.Rect(0, 0, 4000, 3000))
	random := rand.New(rand.NewPCG(1, 2))
	left := (4000 - big.Bounds().Dx()) / 2
	for y := range 3000 {
		for x := range 4000 {
			p := out.Pix[out.PixOffset(x, y):]
			noise := int(random.NormFloat64() * grain)
			for c := range 3 {
				v := 90 + (x+y)/100
				if x >= left && x < left+big.Bounds().Dx() {
					v = int(big.Pix[big.PixOffset(x-left, y)+c])
				}
				p[c] = uint8(min(255, max(0, v+noise)))
			}
			p[3] = 255
		}
	}
	var b bytes.Buffer
	err = jpeg.Encode(&b, out, &jpeg.Options{Quality: 90})
	return b.Bytes(), err
}

func mustPhoto12MP(b *testing.B) []byte { return mustPhoto(b, photo12MP) }

func mustPhoto(b *testing.B, made func() ([]byte, error)) []byte {
	photo, err := made()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(photo))/1e6, "MB/photo")
	return photo
}

func BenchmarkDecode12MP(b *testing.B) {
	photo := mustPhoto12MP(b)
	for b.Loop() {
		if _, _, err := Decode(photo, 1024); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode12MPStdlib(b *testing.B) {
	photo := mustPhoto12MP(b)
	for b.Loop() {
		im, err := jpeg.Decode(bytes.NewReader(photo))
		if err != nil {
			b.Fatal(err)
		}
		resize.Thumbnail(1024, 1024, im, resize.Lanczos3)
	}
}

// BenchmarkAnalyse12MP reports what the models themselves took and how much longer the whole took (wall/inference). Run
// it with -cpu 1 on one core (taskset -c 0) for the figures of docs/performance.md.
func BenchmarkAnalyse12MP(b *testing.B) {
	b.Run("daylight", func(b *testing.B) { benchmarkAnalyse(b, mustPhoto(b, photo12MPInLight)) })
	b.Run("indoors", func(b *testing.B) { benchmarkAnalyse(b, mustPhoto(b, photo12MP)) })
}

func benchmarkAnalyse(b *testing.B, photo []byte) {
	e := start(b, 1)
	analyse(b, e, photo) // the first one fills caches
	var sum Timing
	n := 0
	for b.Loop() {
		t := analyse(b, e, photo).Timing
		sum.Decode += t.Decode
		sum.Detect += t.Detect
		sum.Embed += t.Embed
		sum.Dlib += t.Dlib
		sum.Age += t.Age
		sum.Total += t.Total
		n++
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(n) }
	b.ReportMetric(float64(len(photo))/1e6, "MB/photo")
	b.ReportMetric(each(sum.Decode), "decode-ms")
	b.ReportMetric(each(sum.Detect), "detect-ms")
	b.ReportMetric(each(sum.Embed), "embed-ms")
	b.ReportMetric(each(sum.Dlib), "dlib-ms")
	b.ReportMetric(each(sum.Age), "age-ms")
	b.ReportMetric(float64(sum.Total)/float64(sum.Inference()), "wall/inference")
}

// BenchmarkAnalyseWorkers reports photos per second with one worker and with two.
func BenchmarkAnalyseWorkers(b *testing.B) {
	photo := mustPhoto12MP(b)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			e := start(b, workers)
			var left atomic.Int64
			left.Store(int64(b.N))
			var group sync.WaitGroup
			b.ResetTimer()
			for range workers {
				group.Go(func() {
					for left.Add(-1) >= 0 {
						analyse(b, e, photo)
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "photos/s")
		})
	}
}

// BenchmarkMemory reports resident memory after 100 and after 1,000 analyses of photos of every shape. Run it with
// -benchtime 1x.
func BenchmarkMemory(b *testing.B) {
	e := start(b, 2)
	var mixed [][]byte
	for _, name := range []string{"obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "obama_partial_face.jpg"} {
		mixed = append(mixed, photos.Read(b, name))
	}
	big, err := photo12MP()
	if err != nil {
		b.Fatal(err)
	}
	mixed = append(mixed, big)
	for b.Loop() {
		var next atomic.Int64
		upTo := func(n int64) float64 {
			var group sync.WaitGroup
			for range 2 {
				group.Go(func() {
					for i := next.Add(1); i <= n; i = next.Add(1) {
						analyse(b, e, mixed[int(i)%len(mixed)])
					}
				})
			}
			group.Wait()
			next.Store(n)
			debug.FreeOSMemory() // what Go holds but does not use is not what this is about
			return resident(b)
		}
		b.ReportMetric(upTo(100), "MB-after-100")
		b.ReportMetric(upTo(500), "MB-after-500")
		b.ReportMetric(upTo(1000), "MB-after-1000")
	}
}

// resident is this process' resident memory in megabytes.
func resident(tb testing.TB) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kb float64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		tb.Fatal(err)
	}
	return kb / 1000
}
