package importer

import (
	"errors"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// cleanPath makes the path of a file inside an archive, with slashes, of what a manifest or an archive says. Nothing is ever unpacked to
// where a path points; what points outside is refused all the same, because it is not what it seems. A backslash parts folders, as
// it does for the programs that write one. Errors say what is wrong in words for a report.
func cleanPath(name string) (string, error) {
	name = toUTF8(name)
	name = strings.ReplaceAll(name, `\`, "/")
	switch {
	case strings.ContainsRune(name, 0):
		return "", errors.New("its name holds a zero byte")
	case strings.HasPrefix(name, "/"), len(name) > 1 && name[1] == ':' && isLetter(name[0]):
		return "", errors.New("its path is absolute; only paths inside the archive are read")
	}
	clean := path.Clean(name)
	if clean == "." || !filepath.IsLocal(clean) {
		return "", errors.New("its path points outside of the archive")
	}
	return clean, nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// toUTF8 reads a file's name that is not UTF-8 as GB18030, in which Chinese systems write names into archives without saying so.
func toUTF8(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	if s, err := simplifiedchinese.GB18030.NewDecoder().String(name); err == nil && !strings.ContainsRune(s, utf8.RuneError) {
		return s
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}

// ignored says whether a file is of no one's making: what systems leave in folders.
func ignored(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(part, ".") || part == "__MACOSX" {
			return true
		}
	}
	base := strings.ToLower(path.Base(p))
	return base == "thumbs.db" || base == "desktop.ini"
}

// nested says whether a file is an archive by its name.
func nested(p string) bool {
	switch strings.ToLower(path.Ext(p)) {
	case ".zip", ".tar", ".tgz", ".gz", ".zst", ".bz2", ".xz", ".7z", ".rar":
		return true
	}
	return false
}

const nestedReason = "an archive inside of the archive is not opened: import it by itself"
