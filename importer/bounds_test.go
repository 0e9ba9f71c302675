package importer

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

// TestHugeManifests: a small file must not take much memory.
func TestHugeManifests(t *testing.T) {
	part := func(name, text string) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var noise strings.Builder // which does not compress as well
	for i := range maxElements + 1 {
		fmt.Fprintf(&noise, "<si a='%d'/>", i*7919%1000003)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"commas":    {[]byte("photo,case" + strings.Repeat(",", 2*maxRecord) + "\n"), "longer than 1 MB"},
		"quote":     {[]byte("photo,case\na.jpg,\"" + strings.Repeat("x\n", maxRecord)), "behind line 1"},
		"headings":  {[]byte("photo,case" + strings.Repeat(",x", maxHeadings) + "\n"), "columns"},
		"ratio":     {part("xl/sharedStrings.xml", "<sst>"+strings.Repeat("<si/>", 1<<20)+"</sst>"), "expand"},
		"elements":  {part("xl/sharedStrings.xml", "<sst>"+noise.String()+"</sst>"), "different texts"},
		"disguised": {part("xl/worksheets/sheet1.xml", "<sst>"+noise.String()+"</sst>"), "different texts"},
	} {
		_, err := manifestOf(c.data).all()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLargeWorkbook: what a registry office may have fits.
func TestLargeWorkbook(t *testing.T) {
	if testing.Short() {
		t.Skip("a large workbook")
	}
	const n = 300_000
	f := excelize.NewFile()
	defer f.Close()
	w, err := f.NewStreamWriter("Sheet1")
	if err != nil {
		t.Fatal(err)
	}
	var texts strings.Builder
	texts.WriteString(`<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">`)
	for _, s := range []string{"photo", "case"} {
		fmt.Fprintf(&texts, "<si><t>%s</t></si>", s)
	}
	for i := range n + 1 {
		row := []any{"photo", "case", "sex", "born", "place"}
		if i > 0 {
			row = []any{fmt.Sprintf("%06d/IMG_%06d.jpg", i, i), fmt.Sprintf("C-%06d", i), "female", "2009-05-17", "Chengdu station"}
			fmt.Fprintf(&texts, "<si><t>%s</t></si><si><t>%s</t></si>", row[0], row[1])
		}
		if err := w.SetRow(fmt.Sprintf("A%d", i+1), row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	texts.WriteString("</sst>")
	f.Pkg.Store("xl/sharedStrings.xml", []byte(texts.String())) // as programs write that keep each text once
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := checkBook(b.Bytes()); err != nil {
		t.Error(err)
	}
}

// TestTooManyEntries: the number that a ZIP archive gives of itself is not believed.
func TestTooManyEntries(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if _, err := w.Create("a"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	raw := b.Bytes()
	at, end := bytes.Index(raw, []byte("PK\x01\x02")), bytes.LastIndex(raw, []byte("PK\x05\x06"))
	const n = 1<<16 + 1
	big := append([]byte(nil), raw[:at]...)
	big = append(big, bytes.Repeat(raw[at:end], n)...)
	tail := append([]byte(nil), raw[end:]...)
	binary.LittleEndian.PutUint32(tail[12:], uint32(n*(end-at)))
	big = append(big, tail...)
	if r, err := readDirectory(bytes.NewReader(big), int64(len(big)), n); err != nil || len(r.File) != n {
		t.Error(err)
	}
	if _, err := readDirectory(bytes.NewReader(big), int64(len(big)), n-1); !errors.Is(err, errTooMany) {
		t.Error(err)
	}
}

func TestVisible(t *testing.T) {
	if got := Visible("case/\x1b]0;x\x07\u009b2J\u202egpj.照片\u2066"); got != "case/�]0;x��2J�gpj.照片�" {
		t.Errorf("%q", got)
	}
}
