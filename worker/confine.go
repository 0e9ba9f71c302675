package worker

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// What libraries look for, beside themselves. Of other processes /proc shows a confined one what it shows to strangers: the system
// asks, as for a debugger, before it shows memory, environment and open files.
var (
	libraries = [...]string{"/usr", "/lib", "/lib64", "/nix/store", "/gnu/store", "/proc", "/sys"}
	looksAt   = [...]string{"/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/random"}
)

// confine leaves the calling thread, and what it executes, only programs, libraries and the models of dir to read, nothing to write,
// no connection to make and nobody else to send a signal, as far as the system's Landlock goes. What is open stays open.
func confine(dir string) error {
	rules := []landlock.Rule{
		landlock.RODirs(libraries[:]...).IgnoreIfMissing(),
		landlock.ROFiles(looksAt[:]...).IgnoreIfMissing(),
		landlock.RWFiles(os.DevNull),
		landlock.ROFiles("/proc/self/exe"), // even where its file was replaced by another since
	}
	linked, err := mapped()
	if err != nil {
		return err
	}
	rules = append(rules, landlock.ROFiles(linked...).IgnoreIfMissing())
	for _, d := range filepath.SplitList(os.Getenv("LD_LIBRARY_PATH")) {
		if isDir(d) {
			rules = append(rules, landlock.RODirs(d))
		}
	}
	if dir != "" {
		files, folders, err := modelFiles(dir)
		if err != nil {
			return err
		}
		rules = append(rules, landlock.ROFiles(files...).IgnoreIfMissing(), landlock.RODirs(folders...))
	}
	rights, flags, err := landlock.V11.BestEffort().NewRulesetFD(rules...)
	if err != nil || rights < 0 { // none on this system: Open says so
		return err
	}
	defer unix.Close(rights)
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(rights), uintptr(flags), 0); errno != 0 {
		return errno
	}
	return nil
}

// canConfine says whether the system has Landlock.
func canConfine() bool {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno == 0 && abi > 0
}

// mapped are the files that this program is made of, wherever its libraries lie.
func mapped() (files []string, err error) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("find the libraries: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if i := strings.IndexByte(lines.Text(), '/'); i >= 0 {
			if file := lines.Text()[i:]; isFile(file) {
				files = append(files, file)
			}
		}
	}
	return files, lines.Err()
}

// modelFiles are the cards, weights and folders of a model directory, with what links among them lead to.
func modelFiles(dir string) (files, folders []string, err error) {
	folders = append(folders, dir)
	for _, depth := range []string{"*", "*/*"} {
		found, err := filepath.Glob(filepath.Join(globbed(dir), depth))
		if err != nil {
			return nil, nil, err
		}
		for _, path := range found {
			if isDir(path) {
				folders = append(folders, path)
			} else if isFile(path) {
				files = append(files, path)
			}
		}
	}
	return files, folders, nil
}

// globbed is a pattern that matches dir alone.
func globbed(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func isDir(path string) bool {
	s, err := os.Stat(path)
	return err == nil && s.IsDir()
}

func isFile(path string) bool {
	s, err := os.Stat(path)
	return err == nil && s.Mode().Type() == fs.FileMode(0)
}
