package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"homeward/registry"
)

// maxManifest bounds a manifest, in bytes: some million rows. A workbook of less is held in memory, so that nothing of it is written to
// a temporary file.
const maxManifest = 256 << 20

// row is a line of a manifest.
type row struct {
	line  int
	facts registry.Case // Ref, Gallery, and what else the line says
	photo string        // clean; empty where bad is not
	said  string        // the photo as the manifest has it
	taken registry.Date
	bad   string // why the line cannot be used
}

// manifest is a list of photos, CSV or XLSX, that can be read more than once.
type manifest struct {
	name    string
	open    func() (io.ReadCloser, error)
	gallery registry.Gallery
	mapped  map[string]string // our columns → their headings
	sheet   string

	form string // what it is, in words: "CSV in GB18030, parted by ';'"
	layout
}

// table is the cells of a manifest, row by row.
type table interface {
	// next returns a row as it is shown and as it is stored, and its line; io.EOF behind the last.
	next() (shown, stored []string, line int, err error)
	date(stored string) (registry.Date, error)
	Close() error
}

// rows hands every row to do, in order; an error of do ends it. A fault that concerns one row is in row.bad. Every other, such as a
// wrong encoding anywhere, is told before the first row.
func (m *manifest) rows(do func(row) error) error {
	var failed error // of do, which is not the manifest's
	err := m.read(func(r row) error {
		failed = do(r)
		return failed
	})
	if err != nil && failed == nil {
		return &manifestError{m.name, err}
	}
	return err
}

// manifestError is what is wrong with a manifest as a whole.
type manifestError struct {
	name string
	err  error
}

func (e *manifestError) Error() string { return "manifest " + e.name + ": " + e.err.Error() }
func (e *manifestError) Unwrap() error { return e.err }

func (m *manifest) read(do func(row) error) error {
	t, err := m.table()
	if err != nil {
		return err
	}
	defer t.Close()
	heading, _, _, err := t.next()
	if err == io.EOF {
		return errors.New("it is empty; the first line must name the columns: " + strings.Join(Columns, ", "))
	}
	if err != nil {
		return err
	}
	if m.layout, err = arrange(heading, m.mapped); err != nil {
		return err
	}
	for {
		shown, stored, line, err := t.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if blank(shown) {
			continue
		}
		if err := do(m.row(t, shown, stored, line, len(heading))); err != nil {
			return err
		}
	}
}

func blank(cells []string) bool {
	return !slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) != "" })
}

// row reads one line.
func (m *manifest) row(t table, shown, stored []string, line, width int) row {
	cell := func(cells []string, column string) string {
		if i, ok := m.at[column]; ok && i < len(cells) {
			return strings.TrimSpace(cells[i])
		}
		return ""
	}
	text := func(column string) string { return cell(shown, column) }
	r := row{line: line, said: text("photo")}
	c := registry.Case{
		Gallery: m.gallery, Ref: text("case"), Region: text("region"), Place: text("place"), Marks: text("marks"), Notes: text("notes"),
	}
	bad := func(format string, a ...any) {
		if r.bad == "" {
			r.bad = fmt.Sprintf(format, a...)
		}
	}
	if len(shown) > width && !blank(shown[width:]) {
		bad("has more cells than there are headings; put text with a separator in it into quotes")
	}
	if g := strings.ToLower(text("gallery")); g != "" {
		var ok bool
		if c.Gallery, ok = galleries[g]; !ok {
			bad("its case cannot be created: gallery %.40q must be missing or found", g)
		}
	}
	var ok bool
	if c.Sex, ok = sexes[strings.ToLower(text("sex"))]; !ok {
		bad("its case cannot be created: sex %.40q must be female, male, or empty when unknown", text("sex"))
	}
	for name := range strings.FieldsFuncSeq(text("names"), func(c rune) bool { return strings.ContainsRune(";；、", c) }) {
		if name = strings.TrimSpace(name); name != "" {
			c.Names = append(c.Names, name)
		}
	}
	for _, d := range []struct {
		column string
		to     *registry.Date
	}{{"born", &c.BornFrom}, {"born_to", &c.BornTo}, {"on", &c.On}, {"taken", &r.taken}} {
		var err error
		if *d.to, err = t.date(cell(stored, d.column)); err != nil {
			bad("%s: %v", d.column, err)
		}
	}
	if c.BornTo.IsZero() {
		c.BornTo = c.BornFrom
	}
	switch {
	case c.Ref == "":
		bad("the case column (%s) is empty", m.used["case"])
	case r.said == "":
		bad("the photo column (%s) is empty", m.used["photo"])
	default:
		var err error
		if r.photo, err = cleanPath(r.said); err != nil {
			bad("cannot be opened: %v", err)
		}
	}
	r.facts = c
	return r
}

// usedColumns says which heading each column was found under, for people.
func (m *manifest) usedColumns() string {
	var out []string
	for _, column := range slices.SortedFunc(maps.Keys(m.used), func(a, b string) int { return slices.Index(Columns, a) - slices.Index(Columns, b) }) {
		if fold(m.used[column]) == column {
			out = append(out, column)
		} else {
			out = append(out, column+"="+m.used[column])
		}
	}
	return strings.Join(out, ", ")
}

// table opens the manifest as what its first bytes say it is.
func (m *manifest) table() (table, error) {
	f, err := m.open()
	if err != nil {
		return nil, fmt.Errorf("open it: %w", err)
	}
	b := bufio.NewReader(f)
	head, err := b.Peek(8)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		defer f.Close()
		return m.openBook(b)
	case bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		f.Close()
		return nil, errors.New("it is an old or a password-protected Excel file: save it as .xlsx without a password, or as CSV")
	case m.sheet != "":
		f.Close()
		return nil, errors.New("--sheet is for workbooks, and this is none")
	}
	f.Close()
	return m.openText()
}

// lines is a CSV manifest.
type lines struct {
	*csv.Reader
	file io.Closer
	skip int // lines before those that the CSV reader sees
}

func (l *lines) next() ([]string, []string, int, error) {
	cells, err := l.Read()
	if err != nil {
		var p *csv.ParseError
		if errors.As(err, &p) {
			return nil, nil, 0, fmt.Errorf("line %d: %w: put a text that holds quotes or separators into quotes, and double the quotes in it", p.StartLine+l.skip, p.Err)
		}
		return nil, nil, 0, err
	}
	line, _ := l.FieldPos(0)
	return cells, cells, line + l.skip, nil
}

func (l *lines) date(stored string) (registry.Date, error) { return parseDate(stored) }
func (l *lines) Close() error                              { return l.file.Close() }

// openText opens a CSV file, once all of it has proven readable.
func (m *manifest) openText() (_ table, err error) {
	encoding, err := m.encoding()
	if err != nil {
		return nil, err
	}
	f, err := m.open()
	if err != nil {
		return nil, fmt.Errorf("open it: %w", err)
	}
	b := bufio.NewReader(encoding.reader(f))
	l := &lines{file: f}
	first, err := b.Peek(4096) // ends early where the file does; what else there is shows in reading on
	heading, _, _ := strings.Cut(string(first), "\n")
	if err != nil && err != io.EOF && len(first) == 0 {
		f.Close()
		return nil, err
	}
	comma := separator(heading)
	if rest, ok := strings.CutPrefix(strings.ToLower(heading), "sep="); ok && strings.TrimSpace(rest) != "" { // Excel's own way to say it
		comma, _ = utf8.DecodeRuneInString(rest)
		if _, err := b.ReadString('\n'); err != nil && err != io.EOF {
			f.Close()
			return nil, err
		}
		l.skip = 1
	}
	l.Reader = csv.NewReader(b)
	l.Comma, l.FieldsPerRecord, l.ReuseRecord = comma, -1, false
	m.form = fmt.Sprintf("CSV in %s, parted by %q", encoding.name, comma)
	return l, nil
}

// separator is what parts the cells of a heading.
func separator(heading string) rune {
	best, most := ',', 0
	for _, c := range []rune{',', ';', '\t'} {
		n, quoted := 0, false
		for _, x := range heading {
			switch {
			case x == '"':
				quoted = !quoted
			case x == c && !quoted:
				n++
			}
		}
		if n > most {
			best, most = c, n
		}
	}
	return best
}

// encoding is how text is written.
type encoding struct {
	name string
	with func() transform.Transformer // nil for UTF-8 as it is
}

func (e encoding) reader(r io.Reader) io.Reader {
	if e.with == nil {
		return r
	}
	return transform.NewReader(r, e.with())
}

// encoding tells the encoding of a text by reading all of it: what is valid UTF-8 is that, what begins with a mark is what the mark says,
// and everything else GB18030, which holds GBK and GB 2312.
func (m *manifest) encoding() (encoding, error) {
	f, err := m.open()
	if err != nil {
		return encoding{}, fmt.Errorf("open it: %w", err)
	}
	defer f.Close()
	b := bufio.NewReader(f)
	head, err := b.Peek(3)
	if err != nil && err != io.EOF {
		return encoding{}, err
	}
	try := []encoding{{name: "UTF-8"}, {"GB18030", func() transform.Transformer { return simplifiedchinese.GB18030.NewDecoder() }}}
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		try = []encoding{{"UTF-8", func() transform.Transformer { return unicode.BOMOverride(transform.Nop) }}}
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		try = []encoding{{"UTF-16", func() transform.Transformer {
			return unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder()
		}}}
	}
	var bad int
	for _, e := range try {
		f, err := m.open()
		if err != nil {
			return encoding{}, fmt.Errorf("open it: %w", err)
		}
		bad, err = undecodable(e, f)
		f.Close()
		if err != nil || bad == 0 {
			return e, err
		}
	}
	what := "is neither UTF-8 nor GBK (GB18030)"
	if len(try) == 1 {
		what = "is not the " + try[0].name + " that the file's first bytes promise"
	}
	return encoding{}, fmt.Errorf("line %d %s: save the file as \"CSV UTF-8\"", bad, what)
}

// undecodable is the first line that is not text; 0 where all of it is.
func undecodable(e encoding, r io.Reader) (line int, err error) {
	b := bufio.NewReaderSize(e.reader(r), 64<<10)
	size := 0
	for line = 1; ; {
		c, n, err := b.ReadRune()
		if err == io.EOF {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if size += n; size > maxManifest {
			return 0, fmt.Errorf("it is larger than %d MB: split it", maxManifest>>20)
		}
		switch {
		case c == 0, c == utf8.RuneError && (n == 1 || e.name != "UTF-8"): // what cannot be converted becomes the rune, of three bytes
			return line, nil
		case c == '\n':
			line++
		}
	}
}

// book is an XLSX manifest.
type book struct {
	file          *excelize.File
	shown, stored *excelize.Rows
	line          int
	date1904      bool
}

// openBook reads a workbook into memory, from which its rows are then streamed.
func (m *manifest) openBook(r io.Reader) (_ table, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxManifest {
		return nil, fmt.Errorf("it is larger than %d MB: split it", maxManifest>>20)
	}
	// With both limits the same, what would go to a temporary file is refused instead.
	f, err := excelize.OpenReader(bytes.NewReader(data), excelize.Options{UnzipSizeLimit: maxManifest, UnzipXMLSizeLimit: maxManifest})
	if err != nil {
		return nil, fmt.Errorf("it is no workbook that can be read (%w): save it as .xlsx, or as CSV", err)
	}
	b := &book{file: f}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	sheet, sheets := m.sheet, f.GetSheetList()
	if sheet == "" {
		for _, s := range sheets {
			if visible, err := f.GetSheetVisible(s); err == nil && visible {
				sheet = s
				break
			}
		}
	}
	if !slices.Contains(sheets, sheet) {
		return nil, fmt.Errorf("it has no sheet %q; its sheets are %s: choose one with --sheet", sheet, list(sheets))
	}
	if props, err := f.GetWorkbookProps(); err == nil && props.Date1904 != nil {
		b.date1904 = *props.Date1904
	}
	// Cells are read twice, side by side: as they are shown, because "0017" may be a 17, and as they are stored, because a day may be
	// shown in any order.
	if b.shown, err = f.Rows(sheet); err == nil {
		b.stored, err = f.Rows(sheet)
	}
	if err != nil {
		return nil, fmt.Errorf("read sheet %q: %w", sheet, err)
	}
	m.form = fmt.Sprintf("workbook, sheet %q", sheet)
	return b, nil
}

func (b *book) next() (shown, stored []string, line int, err error) {
	if !b.shown.Next() || !b.stored.Next() {
		if err := errors.Join(b.shown.Error(), b.stored.Error()); err != nil {
			return nil, nil, 0, fmt.Errorf("behind line %d: %w", b.line, err)
		}
		return nil, nil, 0, io.EOF
	}
	b.line++
	if shown, err = b.shown.Columns(); err == nil {
		stored, err = b.stored.Columns(excelize.Options{RawCellValue: true})
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("line %d: %w", b.line, err)
	}
	for i, s := range shown { // a long number, such as a case's, is shown rounded
		if i < len(stored) && strings.Contains(s, "E+") && strings.Trim(stored[i], "0123456789") == "" {
			shown[i] = stored[i]
		}
	}
	return shown, stored, b.line, nil
}

func (b *book) date(stored string) (registry.Date, error) { return parseCell(stored, b.date1904) }

func (b *book) Close() error {
	var errs []error
	for _, r := range []*excelize.Rows{b.shown, b.stored} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	return errors.Join(append(errs, b.file.Close())...)
}
