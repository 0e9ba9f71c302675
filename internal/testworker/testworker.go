// Package testworker changes the worker processes of tests, from their TestMain; a program that is built has none of it.
package testworker

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Hurry lets bulk processes run like others, so that tests which wait for them do not wait for all other tests of a busy machine. What
// measures how bulk work keeps out of people's way must not call it.
func Hurry() {
	const settings = "HOMEWARD_WORKER"
	if s, ok := os.LookupEnv(settings); ok {
		if err := os.Setenv(settings, strings.Replace(s, `"Bulk":true`, `"Bulk":false`, 1)); err != nil {
			panic(err)
		}
	}
}

// What stands behind the end of a photo.
const (
	inDecoder = "ends the process while it is decoded"
	inModel   = "ends the process in the models"
)

// InDecoder is a copy of a JPEG that ends every process which decodes it.
func InDecoder(jpeg []byte) []byte { return append(slices.Clone(jpeg), inDecoder...) }

// InModel is a copy of a JPEG that ends every process which shows it to its models.
func InModel(jpeg []byte) []byte { return append(slices.Clone(jpeg), inModel...) }

// Crashes makes the photos of InDecoder and InModel what they are: sound photos, for which the test's worker looks out, to end by a
// signal, as it would where a photo has got the better of a decoder or a model. It is called in TestMain, before worker.Hook.
func Crashes() {
	if os.Getenv("HOMEWARD_WORKER_LIMITED") == "" { // no worker, or one that is about to begin again
		return
	}
	from := os.Stdin
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	os.Stdin = r
	go func() {
		defer w.Close()
		var seen []byte // the last bytes that went through
		armed := false
		b := make([]byte, 64<<10)
		for {
			n, err := from.Read(b)
			if armed && n > 0 && b[0] == 'g' { // the models are let at it
				crash()
			}
			armed = false
			seen = append(seen, b[:n]...)
			if bytes.HasSuffix(seen, []byte(inDecoder)) {
				crash()
			}
			armed = bytes.HasSuffix(seen, []byte(inModel))
			seen = seen[max(0, len(seen)-100):]
			if _, werr := w.Write(b[:n]); werr != nil || err == io.EOF {
				return
			}
		}
	}()
}

// crash ends the process as a wrong pointer in a library would.
func crash() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGSEGV)
	select {}
}
