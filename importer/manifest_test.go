package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"homeward/registry"
)

// manifestOf is a manifest of these bytes.
func manifestOf(data []byte) *manifest {
	return &manifest{name: "m", gallery: registry.Missing, open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// read is all rows of a manifest.
func (m *manifest) all() (rows []row, err error) {
	err = m.rows(func(r row) error {
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

const chinese = "案件编号,照片,姓名,性别,出生日期,备注\n甲-1,甲/1.jpg,王小明；小明,男,2001年5月3日,左臂有胎记\n乙-2,乙\\2.jpg,,女,2003/1,\n"

func TestManifestEncodings(t *testing.T) {
	encode := func(e interface{ Bytes([]byte) ([]byte, error) }) []byte {
		b, err := e.Bytes([]byte(chinese))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, data := range map[string][]byte{
		"UTF-8":              []byte(chinese),
		"UTF-8 with a mark":  []byte("\ufeff" + chinese),
		"GBK":                encode(simplifiedchinese.GBK.NewEncoder()),
		"GB18030":            encode(simplifiedchinese.GB18030.NewEncoder()),
		"UTF-16":             encode(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder()),
		"UTF-16, big endian": encode(unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder()),
		"semicolons":         []byte(strings.ReplaceAll(chinese, ",", ";")),
		"tabs, Windows":      []byte(strings.ReplaceAll(strings.ReplaceAll(chinese, ",", "\t"), "\n", "\r\n")),
		"sep=":               []byte("sep=;\r\n" + strings.ReplaceAll(chinese, ",", ";")),
		"workbook":           workbook(t, chinese),
	} {
		t.Run(name, func(t *testing.T) {
			m := manifestOf(data)
			rows, err := m.all()
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) != 2 {
				t.Fatalf("%d rows", len(rows))
			}
			a, b := rows[0], rows[1]
			if a.bad != "" || a.facts.Ref != "甲-1" || a.photo != "甲/1.jpg" || fmt.Sprint(a.facts.Names) != "[王小明 小明]" ||
				a.facts.Sex != registry.Male || a.facts.BornFrom.String() != "2001-05-03" || a.facts.Notes != "左臂有胎记" {
				t.Errorf("%+v", a)
			}
			if b.bad != "" || b.photo != "乙/2.jpg" || b.facts.Sex != registry.Female || b.facts.BornTo.String() != "2003-01" {
				t.Errorf("%+v", b)
			}
			want := 3
			if name == "sep=" {
				want = 4
			}
			if b.line != want {
				t.Errorf("line %d", b.line)
			}
		})
	}
}

// workbook makes an XLSX file of a CSV text without quotes.
func workbook(t testing.TB, text string) []byte {
	t.Helper()
	f := excelize.NewFile()
	defer f.Close()
	for i, l := range strings.Split(strings.TrimSpace(text), "\n") {
		cells := strings.Split(l, ",")
		if err := f.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+1), &cells); err != nil {
			t.Fatal(err)
		}
	}
	b, err := f.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestManifestCells(t *testing.T) {
	f := excelize.NewFile()
	defer f.Close()
	set := func(cell string, v any) {
		if err := f.SetCellValue("Sheet1", cell, v); err != nil {
			t.Fatal(err)
		}
	}
	style := func(cell, format string) {
		s, err := f.NewStyle(&excelize.Style{CustomNumFmt: &format})
		if err == nil {
			err = f.SetCellStyle("Sheet1", cell, cell, s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range []string{"case", "photo", "born", "on", "taken"} {
		set(string(rune('A'+i))+"1", h)
	}
	set("A2", 17)
	style("A2", "0000")
	set("B2", "a.jpg")
	set("C2", 39934) // 2009-05-01
	style("C2", "m/d/yy")
	set("D2", 2009)
	set("E2", "2010年1月")
	set("A4", 123456789012) // behind an empty line
	set("B4", "b.jpg")
	set("C4", 20090501)
	b, err := f.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := manifestOf(b.Bytes()).all()
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	a := rows[0]
	if a.facts.Ref != "0017" || a.facts.BornFrom.String() != "2009-05-01" || a.facts.On.String() != "2009" || a.taken.String() != "2010-01" {
		t.Errorf("%+v", a)
	}
	if r := rows[1]; r.facts.Ref != "123456789012" || r.line != 4 || r.facts.BornFrom.String() != "2009-05-01" {
		t.Errorf("%+v", r)
	}
	m := manifestOf(b.Bytes())
	m.sheet = "Photos"
	if _, err := m.all(); err == nil || !strings.Contains(err.Error(), `its sheets are "Sheet1"`) {
		t.Error(err)
	}
}

func TestManifestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		data   string
		mapped map[string]string
		want   string
	}{
		"empty":         {"", nil, "it is empty"},
		"no photo":      {"foto,case\na,b\n", nil, `column "photo" is missing: the headings are "foto", "case"; needed are photo and case. Say which one it is with --map photo=HEADING`},
		"mapped":        {"foto,case\na,b\n", map[string]string{"photo": "FOTO "}, ""},
		"mapped wrong":  {"foto,case\na,b\n", map[string]string{"photo": "bild"}, `there is no column of that name`},
		"twice":         {"照片,文件,case\na,b,c\n", nil, `could both be photo`},
		"no encoding":   {"photo,case\na,b\n\xff\xff\xff,c\n", nil, "line 3 is neither UTF-8 nor GBK"},
		"cut UTF-16":    {"\xff\xfea\x00,\x00\x00\xd8", nil, "is not the UTF-16"},
		"without marks": {"p\x00h\x00o\x00t\x00o\x00", nil, "line 1 is neither"},
		"bare quote":    {"photo,case\na,b\na\"b,c\n", nil, "line 3: "},
		"open quote":    {"photo,case\na,b\n\"ab,c\n", nil, "line 3: "},
		"old Excel":     {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1....", nil, "save it as .xlsx without a password"},
		"no workbook":   {"PK\x03\x04........", nil, "it is no workbook that can be read"},
		"unused":        {"photo,case,电话\na,b,1\n", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := manifestOf([]byte(c.data))
			m.mapped = c.mapped
			_, err := m.all()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error = %v", err)
			}
			if name == "unused" && fmt.Sprint(m.unused) != "[电话]" {
				t.Error(m.unused)
			}
		})
	}
}

func TestManifestRows(t *testing.T) {
	const text = `photo,case,sex,born,gallery
a.jpg,1,robot,,
,1,,,
a.jpg,,,,
a.jpg,1,,03/05/2001,
../a.jpg,1,,,
C:\a.jpg,1,,,
/a.jpg,1,,,
a.jpg,1,,,lost
a.jpg,1,,,,more
,,,,
sub\a.jpg,1,女,2001.5.3,被解救
`
	rows, err := manifestOf([]byte(text)).all()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"sex", "photo column", "case column", "year first", "outside", "absolute", "absolute", "missing or found", "more cells", "",
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows", len(rows))
	}
	for i, w := range want {
		if said := rows[i].bad + rows[i].remark; (w == "") != (said == "") || !strings.Contains(said, w) {
			t.Errorf("line %d: %q, want %q", rows[i].line, said, w)
		}
	}
	last := rows[len(rows)-1]
	if last.photo != "sub/a.jpg" || last.facts.Gallery != registry.Found || last.facts.BornFrom.String() != "2001-05-03" || last.line != 12 {
		t.Errorf("%+v", last)
	}
}

func TestManifestThatCannotBeRead(t *testing.T) {
	m := manifestOf(nil)
	m.open = func() (io.ReadCloser, error) { return nil, os.ErrPermission }
	if _, err := m.all(); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}

func TestParseDate(t *testing.T) {
	for text, want := range map[string]string{
		"": "", " ": "", "2009": "2009", "2009年": "2009", "2009-05": "2009-05", "2009/5": "2009-05", "2009年5月": "2009-05",
		"2009-5-1": "2009-05-01", "2009.05.01": "2009-05-01", "2009年5月1日": "2009-05-01", "2009 年 5 月 1 日": "2009-05-01", "20090501": "2009-05-01",
		"2009/5/1 0:00": "2009-05-01", "2009-05-01T00:00:00Z": "2009-05-01", "2009-05-01 12:30:15": "2009-05-01",
		"1/5/2009": "!", "2009-13": "!", "2009-02-30": "!", "soon": "!", "39934": "!", "2009-00": "!",
	} {
		got, err := parseDate(text)
		if (err != nil) != (want == "!") || err == nil && got.String() != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for raw, want := range map[string]string{"39934": "2009-05-01", "39934.75": "2009-05-01", "2009": "2009", "20090501": "2009-05-01", "2009-05": "2009-05", "1e300": "!", "NaN": "!", "-5": "!"} {
		got, err := parseCell(raw, false)
		if (err != nil) != (want == "!") || err == nil && got.String() != want {
			t.Errorf("cell %q is %q, %v; want %q", raw, got, err, want)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(chinese), "case", "案件编号")
	f.Add([]byte("photo;case\n\"a\";b\n"), "names", "case")
	f.Add([]byte("\xff\xfea\x00,\x00"), "", "")
	f.Add(workbook(f, chinese), "", "")
	f.Fuzz(func(t *testing.T, data []byte, column, heading string) {
		m := manifestOf(data)
		if column != "" {
			m.mapped = map[string]string{column: heading}
		}
		rows, err := m.all()
		if err != nil && len(rows) > 0 && m.form == "" {
			t.Error("rows of what was not opened")
		}
		for _, r := range rows {
			if r.bad == "" && (r.photo == "" || r.facts.Ref == "") {
				t.Errorf("a row without photo or case passes: %+v", r)
			}
		}
	})
}

func FuzzCleanPath(f *testing.F) {
	for _, p := range []string{"a/b.jpg", "../a", `..\a`, "/a", `C:\a`, "a\x00b", "a/../../b", "./a", "", ".", "\xcd\xf5/1.jpg", "//a", "a//b"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		clean, err := cleanPath(p)
		if err != nil {
			return
		}
		if again, err := cleanPath(clean); err != nil || again != clean {
			t.Errorf("%q becomes %q, and that %q, %v", p, clean, again, err)
		}
		if clean == "" || strings.HasPrefix(clean, "/") || strings.ContainsAny(clean, "\\\x00") || clean == ".." || strings.HasPrefix(clean, "../") || strings.Contains(clean, "/../") {
			t.Errorf("%q passes as %q", p, clean)
		}
	})
}

func TestCleanPath(t *testing.T) {
	for p, want := range map[string]string{
		"a/b.jpg": "a/b.jpg", `案件\1.jpg`: "案件/1.jpg", "./a/./b": "a/b", "a/x/../b": "a/b", "\xcd\xf5/1.jpg": "王/1.jpg",
		"../a": "", `..\a`: "", "/etc/passwd": "", `C:\a`: "", "c:a": "", "a\x00b": "", "": "", ".": "", "a/../..": "", `\\host\a`: "",
	} {
		if got, err := cleanPath(p); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", p, got, err, want)
		}
	}
}
