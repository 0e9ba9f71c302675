package importer

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// BenchmarkImport imports portraits of some 300 kB. It reports what one photo costs this process, which reads, encrypts, stores and
// indexes, and the models' own time in theirs.
func BenchmarkImport(b *testing.B) {
	portraits := [][]byte{photos.Read(b, photos.Obama), photos.Read(b, photos.Obama2), photos.Read(b, photos.Biden)}
	files := tree{}
	n := 0
	for b.Loop() {
		b.StopTimer()
		for range 40 {
			files[fmt.Sprintf("case %d/%d.jpg", n%4, n)] = append(portraits[n%3][:len(portraits[n%3]):len(portraits[n%3])], fmt.Sprint(n)...)
			n++
		}
		dir := files.folder(b)
		f := open(b, b.TempDir())
		var before, after unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		got, err := run(b, f, Args{Source: dir, Gallery: registry.Missing})
		b.StopTimer()
		if err != nil || got.Added != int64(len(files)) {
			b.Fatalf("%+v, %v", got.Report, err)
		}
		if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
			b.Fatal(err)
		}
		cpu := func(u unix.Rusage) int64 { return u.Utime.Nano() + u.Stime.Nano() }
		b.ReportMetric(float64(cpu(after)-cpu(before))/1e6/float64(len(files)), "ms-here/photo")
		for _, k := range []string{CountReceive, CountDecode, CountInference, CountStore} {
			b.ReportMetric(float64(got.job.Progress.Counts[k])/float64(len(files)), k+"/photo")
		}
		b.StartTimer()
	}
}
