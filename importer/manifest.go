package importer

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/xml"
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

const (
	// maxRecord bounds a line of a CSV manifest with the lines that its quotes join to it, in bytes.
	maxRecord = 1 << 20
	// Of a workbook the sheets are read row by row, and everything else, its texts above all, is taken apart in memory, where an empty
	// element is some sixty bytes. With a reference and a file name of its own in each row, 300,000 rows are some 20 MB and 1.2 million elements.
	maxParts    = 64 << 20
	maxElements = 2_000_000
	maxCells    = 10_000_000 // elements in sheets: 300,000 rows of 13 columns are some 8 million
	maxFiles    = 10_000     // in a workbook
)

// row is a line of a manifest.
type row struct {
	line  int
	facts registry.Case // Ref, Gallery, and what else the line says
	photo string        // clean; empty where bad is not
	said  string        // the photo as the manifest has it
	taken registry.Date
	bad   string // why the line cannot be used
	left  string // what it says of the case that cannot be understood and is left out
	// remark is what is left out, of the case where no line before said it.
	remark string
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
	said := map[string]string{} // what is left out, by case
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
		r := m.row(t, shown, stored, line, len(heading))
		if k := key(r.facts); r.left != "" && said[k] != r.left {
			said[k] = r.left
			r.remark = join(r.left, r.remark)
		}
		if err := do(r); err != nil {
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
		c.Sex, r.left = registry.SexUnknown, fmt.Sprintf("sex %.40q is left out: write female, male, or nothing when unknown", text("sex"))
	}
	for _, column := range []string{"names", "former_names", "aliases"} {
		for name := range strings.FieldsFuncSeq(text(column), func(c rune) bool { return strings.ContainsRune(";；、", c) }) {
			if name = strings.TrimSpace(name); name != "" && !slices.Contains(c.Names, name) {
				c.Names = append(c.Names, name)
			}
		}
	}
	for _, d := range []struct {
		column string
		to     *registry.Date
	}{{"born", &c.BornFrom}, {"born_to", &c.BornTo}, {"on", &c.On}, {"taken", &r.taken}} {
		var err error
		if *d.to, err = t.date(cell(stored, d.column)); err != nil {
			left := fmt.Sprintf("%s %.40q is left out: write the year first, as 2009, 2009-05 or 2009-05-17", d.column, cell(stored, d.column))
			if *d.to = (registry.Date{}); d.to == &r.taken {
				r.remark = left
			} else {
				r.left = join(r.left, left)
			}
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

// join joins remarks.
func join(some, more string) string {
	if some == "" || more == "" {
		return some + more
	}
	return some + "; " + more
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
	from *bounded
	skip int // lines before those that the CSV reader sees
	last int // line that was read, as the CSV reader counts
}

// bounded reads so much and then fails.
type bounded struct {
	r    io.Reader
	left int
}

var errLong = fmt.Errorf("a line is longer than %d MB, or a quote is never closed: put quotes around a text on both sides, and double the quotes in it", maxRecord>>20)

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLong
	}
	n, err := b.r.Read(p)
	b.left -= n
	return n, err
}

func (l *lines) next() ([]string, []string, int, error) {
	l.from.left = maxRecord
	cells, err := l.Read()
	if errors.Is(err, errLong) {
		return nil, nil, 0, fmt.Errorf("behind line %d: %w", l.last+l.skip, err)
	}
	if err != nil {
		var p *csv.ParseError
		if errors.As(err, &p) {
			return nil, nil, 0, fmt.Errorf("line %d: %w: put a text that holds quotes or separators into quotes, and double the quotes in it", p.StartLine+l.skip, p.Err)
		}
		return nil, nil, 0, err
	}
	l.last, _ = l.FieldPos(0)
	return cells, cells, l.last + l.skip, nil
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
	l := &lines{file: f, from: &bounded{encoding.reader(f), maxRecord}}
	b := bufio.NewReader(l.from)
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
	if err := checkBook(data); err != nil {
		return nil, err
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

// checkBook refuses a workbook that would take too much memory.
func checkBook(data []byte) error {
	unread := func(err error) error {
		return fmt.Errorf("it is no workbook that can be read (%w): save it as .xlsx, or as CSV", err)
	}
	r, err := readDirectory(bytes.NewReader(data), int64(len(data)), maxFiles)
	if errors.Is(err, errTooMany) {
		err = fmt.Errorf("more than %d files are in it", maxFiles)
	}
	if err != nil {
		return unread(err)
	}
	var parts uint64
	var n, inSheets int
	for _, f := range r.File {
		if f.UncompressedSize64 > freeBytes && f.UncompressedSize64/maxRatio > f.CompressedSize64 {
			return fmt.Errorf("a part of it would expand more than %d times, as no workbook does: save it as CSV", maxRatio)
		}
		sheet, elements, err := countElements(f)
		switch {
		case errors.Is(err, errLong):
			return fmt.Errorf("something in it is longer than %d MB, as no cell is: save it as CSV", maxRecord>>20)
		case err != nil:
			return unread(err)
		case sheet:
			if inSheets += elements; inSheets > maxCells {
				return fmt.Errorf("its sheets hold too much (%d elements): split it, or save it as CSV", maxCells)
			}
			continue
		}
		if parts += f.UncompressedSize64; parts > maxParts {
			return fmt.Errorf("its texts and what else it holds beside its sheets are more than %d MB: split it, leave out pictures, or save it as CSV", maxParts>>20)
		}
		if n += elements; n > maxElements {
			return fmt.Errorf("it has too many different texts (%d elements beside its sheets): split it, or save it as CSV", maxElements)
		}
	}
	return nil
}

// countElements counts the elements of a file in a workbook, and says whether it is a sheet. errLong when one of them, or a text, is longer
// than a record may be.
func countElements(f *zip.File) (sheet bool, n int, err error) {
	file, err := f.Open()
	if err != nil {
		return false, 0, err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 64<<10)
	head, _ := r.Peek(64 << 10) // an error comes again
	for d := xml.NewDecoder(bytes.NewReader(head)); ; {
		t, err := d.RawToken()
		if err != nil {
			break
		}
		if root, ok := t.(xml.StartElement); ok { // what is taken apart in memory must have another root
			sheet = root.Name.Local == "worksheet"
			break
		}
	}
	gap := 0
	for {
		part, err := r.ReadSlice('<')
		if gap += len(part); gap > maxRecord {
			return sheet, n, errLong
		}
		switch err {
		case nil:
			gap = 0
			if next, _ := r.Peek(1); len(next) == 1 && next[0] != '/' {
				n++
			}
		case bufio.ErrBufferFull:
		case io.EOF:
			return sheet, n, nil
		default:
			return sheet, n, err
		}
	}
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
