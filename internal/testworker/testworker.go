// Package testworker changes the worker processes of tests, from their TestMain; a program that is built has none of it.
package testworker

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	killedIn  = "gets the process killed while it is decoded"
	killedAt  = "gets the process killed in the models"
	forks     = "starts another process"
	intrudes  = "\x00is what the process tries to get at"
)

// longest is the most that stands behind the end of a photo, in bytes.
const longest = 4 << 10

// InDecoder is a copy of a JPEG that ends every process which decodes it.
func InDecoder(jpeg []byte) []byte { return append(slices.Clone(jpeg), inDecoder...) }

// InModel is a copy of a JPEG that ends every process which shows it to its models.
func InModel(jpeg []byte) []byte { return append(slices.Clone(jpeg), inModel...) }

// KilledInDecoder is a copy of a JPEG over which every process is killed, as the system does that is out of memory, before it is decoded.
func KilledInDecoder(jpeg []byte) []byte { return append(slices.Clone(jpeg), killedIn...) }

// KilledInModel is KilledInDecoder in the models.
func KilledInModel(jpeg []byte) []byte { return append(slices.Clone(jpeg), killedAt...) }

// Forks is a copy of a JPEG over which a process starts another, which sleeps.
func Forks(jpeg []byte) []byte { return append(slices.Clone(jpeg), forks...) }

// Intrudes is a copy of a JPEG over which a process tries to read and to change a file, and, unless it is empty, to connect to an address. It
// ends with SIGSEGV if it can do any of that.
func Intrudes(jpeg []byte, file, address string) []byte {
	return append(slices.Clone(jpeg), "\x00"+file+"\x00"+address+intrudes...)
}

// Crashes makes the photos above what they are: sound photos, for which the test's worker looks out, to do what it would where a photo has
// got the better of a decoder or a model. It is called in TestMain, before worker.Hook.
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
		var armed syscall.Signal
		b := make([]byte, 64<<10)
		for {
			n, err := from.Read(b)
			if armed != 0 && n > 0 && b[0] == 'g' { // the models are let at it
				end(armed)
			}
			armed = 0
			seen = append(seen, b[:n]...)
			ends := func(with string) bool { return bytes.HasSuffix(seen, []byte(with)) }
			switch {
			case ends(inDecoder):
				end(syscall.SIGSEGV)
			case ends(killedIn):
				end(syscall.SIGKILL)
			case ends(inModel):
				armed = syscall.SIGSEGV
			case ends(killedAt):
				armed = syscall.SIGKILL
			case ends(forks):
				if err := exec.Command("sleep", "3600").Start(); err != nil {
					panic(err)
				}
			case ends(intrudes):
				parts := strings.Split(string(seen), "\x00")
				intrude(parts[len(parts)-3], parts[len(parts)-2])
			}
			seen = seen[max(0, len(seen)-longest):]
			if _, werr := w.Write(b[:n]); werr != nil || err == io.EOF {
				return
			}
		}
	}()
}

// intrude ends the process if it can do what it must not.
func intrude(file, address string) {
	tries := map[string]func() error{
		"read":     func() error { _, err := os.ReadFile(file); return err },
		"truncate": func() error { return os.Truncate(file, 0) },
		"rename":   func() error { return os.Rename(file, file+".moved") },
		"link":     func() error { return os.Link(file, file+".link") },
		"list":     func() error { _, err := os.ReadDir(filepath.Dir(file)); return err },
		"create":   func() error { return os.Mkdir(file+".new", 0o700) },
		"remove":   func() error { return os.Remove(file) },
	}
	if address != "" {
		tries["connect"] = func() error { _, err := net.Dial("tcp", address); return err }
	}
	for what, try := range tries {
		if err := try(); err == nil {
			os.Stderr.WriteString("it can " + what + "\n")
			end(syscall.SIGSEGV)
		}
	}
}

// end ends the process by a signal, as a wrong pointer in a library would.
func end(by syscall.Signal) {
	_ = syscall.Kill(os.Getpid(), by)
	select {}
}
