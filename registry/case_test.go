package registry

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCaseRoundTrip(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	in := Case{
		Gallery: Missing, Names: []string{" 李小明 ", "Xiao Ming"}, Sex: Male, BornFrom: date(t, "2009-05"), BornTo: date(t, "2009-06-30"),
		Place: "成都", On: date(t, "2012"), Marks: "左臂\t胎记\r\nscar", Notes: "first\nsecond", Ref: "A-1",
	}
	c, err := r.CreateCase(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if in.Names[0] != " 李小明 " {
		t.Error("the caller's names were changed")
	}
	got, err := r.Case(t.Context(), c.ID)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Fatalf("%+v\n%+v\n%v", c, got, err)
	}
	if got.Names[0] != "李小明" || got.Marks != "左臂 胎记\nscar" || got.Status != StatusOpen || got.Version != 1 || !strings.HasPrefix(string(got.ID), "c_") {
		t.Errorf("%+v", got)
	}
	if byRef, err := r.CaseByRef(t.Context(), Missing, "A-1"); err != nil || byRef.ID != c.ID {
		t.Error(byRef, err)
	}
	if _, err := r.CaseByRef(t.Context(), Found, "A-1"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := r.CaseByRef(t.Context(), Missing, ""); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := r.CreateCase(t.Context(), in); !errors.Is(err, ErrDuplicate) {
		t.Error(err)
	}
	in.Gallery = Found
	if _, err := r.CreateCase(t.Context(), in); err != nil {
		t.Error("references are unique within a gallery only:", err)
	}

	got.Place = "北京"
	changed, err := r.UpdateCase(t.Context(), got)
	if err != nil || changed.Version != 2 || changed.Place != "北京" || changed.N != c.N || changed.Number() != c.Number() {
		t.Fatal(changed, err)
	}
	if _, err := r.UpdateCase(t.Context(), got); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	changed.Status = StatusClosed
	var field *FieldError
	if _, err := r.UpdateCase(t.Context(), changed); !errors.As(err, &field) || field.Field != "status" {
		t.Error(err)
	}
	changed.Status = StatusOpen
	changed.Gallery = Found
	changed.Ref = ""
	if _, err := r.UpdateCase(t.Context(), changed); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	changed.ID = "c_none"
	if _, err := r.UpdateCase(t.Context(), changed); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := r.Case(t.Context(), "c_none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestCaseRules(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	long := func(n int) string { return strings.Repeat("界", n) }
	for name, c := range map[string]struct {
		change func(*Case)
		field  string // "" is fine
	}{
		"nothing known":        {func(c *Case) {}, ""},
		"no gallery":           {func(c *Case) { c.Gallery = "" }, "gallery"},
		"other gallery":        {func(c *Case) { c.Gallery = "lost" }, "gallery"},
		"other status":         {func(c *Case) { c.Status = "gone" }, "status"},
		"other sex":            {func(c *Case) { c.Sex = "f" }, "sex"},
		"longest name":         {func(c *Case) { c.Names = []string{long(MaxName)} }, ""},
		"name too long":        {func(c *Case) { c.Names = []string{long(MaxName + 1)} }, "names"},
		"empty name":           {func(c *Case) { c.Names = []string{"a", " "} }, "names"},
		"too many names":       {func(c *Case) { c.Names = slices.Repeat([]string{"a"}, MaxNames+1) }, "names"},
		"control in name":      {func(c *Case) { c.Names = []string{"a\x00b"} }, "names"},
		"newline in place":     {func(c *Case) { c.Place = "a\nb" }, "place"},
		"longest place":        {func(c *Case) { c.Place = long(MaxPlace) }, ""},
		"place too long":       {func(c *Case) { c.Place = long(MaxPlace + 1) }, "place"},
		"marks too long":       {func(c *Case) { c.Marks = long(MaxMarks + 1) }, "marks"},
		"notes too long":       {func(c *Case) { c.Notes = long(MaxNotes + 1) }, "notes"},
		"newline in notes":     {func(c *Case) { c.Notes = "a\nb" }, ""},
		"escape in notes":      {func(c *Case) { c.Notes = "a\x1b[2J" }, "notes"},
		"C1 control in notes":  {func(c *Case) { c.Notes = "a\u0085b" }, "notes"},
		"not UTF-8":            {func(c *Case) { c.Marks = "caf\xe9" }, "marks"},
		"ref too long":         {func(c *Case) { c.Ref = long(MaxRef + 1) }, "ref"},
		"verified too long":    {func(c *Case) { c.Verified = long(MaxRef + 1) }, "verified"},
		"newline in verified":  {func(c *Case) { c.Verified = "a\nb" }, "verified"},
		"born today":           {func(c *Case) { c.BornFrom, c.BornTo = DayOf(at), DayOf(at) }, ""},
		"born this year":       {func(c *Case) { c.BornFrom = date(t, "2026") }, ""},
		"today ahead of UTC":   {func(c *Case) { c.On = date(t, "2026-11-24") }, ""},
		"born in the future":   {func(c *Case) { c.BornFrom = date(t, "2027") }, "born.from"},
		"born until tomorrow":  {func(c *Case) { c.BornTo = date(t, "2026-12") }, "born.to"},
		"found in the future":  {func(c *Case) { c.On = date(t, "2026-11-25") }, "on"},
		"born range reversed":  {func(c *Case) { c.BornFrom, c.BornTo = date(t, "2010"), date(t, "2009-12-31") }, "born.to"},
		"born range precision": {func(c *Case) { c.BornFrom, c.BornTo = date(t, "2009-05"), date(t, "2009") }, ""},
		"gone before birth":    {func(c *Case) { c.BornFrom, c.On = date(t, "2010"), date(t, "2009") }, "on"},
	} {
		facts := Case{Gallery: Found, Status: StatusOpen}
		c.change(&facts)
		err := facts.tidy(at)
		var field *FieldError
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.field != "" && (!errors.As(err, &field) || field.Field != c.field || !errors.Is(err, ErrInvalid)):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestListCases(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	add := func(c Case) CaseID {
		c, err := r.CreateCase(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	girl := add(Case{Gallery: Missing, Sex: Female, BornFrom: date(t, "2009-05"), BornTo: date(t, "2010-02")})
	boy := add(Case{Gallery: Missing, Sex: Male, BornFrom: date(t, "2012"), BornTo: date(t, "2012")})
	unknown := add(Case{Gallery: Missing})
	closed := add(Case{Gallery: Missing, Status: StatusClosed})
	found := add(Case{Gallery: Found})
	for name, c := range map[string]struct {
		q    CaseQuery
		want []CaseID
	}{
		"all":              {CaseQuery{}, []CaseID{found, closed, unknown, boy, girl}},
		"gallery":          {CaseQuery{Gallery: Found}, []CaseID{found}},
		"status":           {CaseQuery{Gallery: Missing, Statuses: []Status{StatusOpen}}, []CaseID{unknown, boy, girl}},
		"statuses":         {CaseQuery{Statuses: []Status{StatusOpen, StatusClosed}, Gallery: Missing}, []CaseID{closed, unknown, boy, girl}},
		"sex or unknown":   {CaseQuery{Sex: Female}, []CaseID{found, closed, unknown, girl}},
		"born from":        {CaseQuery{BornFrom: 2011, Sex: Male, Gallery: Missing}, []CaseID{closed, unknown, boy}},
		"born from inside": {CaseQuery{BornFrom: 2010, Gallery: Missing}, []CaseID{closed, unknown, boy, girl}},
		"born to":          {CaseQuery{BornTo: 2011, Gallery: Missing}, []CaseID{closed, unknown, girl}},
		"born to inside":   {CaseQuery{BornTo: 2009, Gallery: Missing}, []CaseID{closed, unknown, girl}},
		"born before":      {CaseQuery{BornTo: 2008, Gallery: Missing}, []CaseID{closed, unknown}},
		"ids":              {CaseQuery{IDs: []CaseID{girl, found, "c_none"}}, []CaseID{found, girl}},
		"no ids":           {CaseQuery{IDs: []CaseID{}}, nil},
	} {
		cases, next, err := r.ListCases(t.Context(), c.q)
		if err != nil || next != "" {
			t.Fatal(name, next, err)
		}
		var got []CaseID
		for _, c := range cases {
			got = append(got, c.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	for _, cursor := range []string{"x", "AAAA", "AAAAAAAAAAEAAAAA", "%%%"} {
		if _, _, err := r.ListCases(t.Context(), CaseQuery{Cursor: cursor}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", cursor, err)
		}
	}
	for _, limit := range []int{-1, MaxListed + 1} {
		if _, _, err := r.ListCases(t.Context(), CaseQuery{Limit: limit}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d: %v", limit, err)
		}
	}
}

func TestCaseRegionAndReporter(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	for _, code := range []string{"CN", "CN-51", "CN-5", "TH"} {
		if err := r.PutRegion(t.Context(), Region{Code: code, Names: map[string]string{"en": code}}); err != nil {
			t.Fatal(err)
		}
	}
	officer := WithActor(t.Context(), Actor{Account: "a_officer", Role: Officer})
	add := func(region string) CaseID {
		c, err := r.CreateCase(officer, Case{Gallery: Missing, Region: region, Verified: "P-17"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Case(t.Context(), c.ID); err != nil || !reflect.DeepEqual(got, c) || got.ReportedBy != "a_officer" {
			t.Fatalf("%+v\n%+v\n%v", c, got, err)
		}
		return c.ID
	}
	sichuan, thai, none, five, china := add("CN-51"), add("TH"), add(""), add("CN-5"), add("CN")
	other, err := r.CreateCase(t.Context(), Case{Gallery: Missing, ReportedBy: "a_other", Region: "TH"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		q    CaseQuery
		want []CaseID
	}{
		"covered":       {CaseQuery{Regions: []string{"CN"}}, []CaseID{china, five, none, sichuan}},
		"part":          {CaseQuery{Regions: []string{"CN-5"}}, []CaseID{five, none}},
		"two":           {CaseQuery{Regions: []string{"CN-51", "TH"}}, []CaseID{other.ID, none, thai, sichuan}},
		"everywhere":    {CaseQuery{Regions: []string{Everywhere}}, []CaseID{other.ID, china, five, none, thai, sichuan}},
		"nowhere":       {CaseQuery{Regions: []string{}}, []CaseID{none}},
		"wildcard":      {CaseQuery{Regions: []string{"%", "C_"}}, []CaseID{none}},
		"region":        {CaseQuery{Region: "CN"}, []CaseID{china, five, none, sichuan}},
		"region's part": {CaseQuery{Region: "CN-51"}, []CaseID{none, sichuan}},
		"both":          {CaseQuery{Regions: []string{"TH"}, Region: "CN"}, []CaseID{none}},
		"reporter":      {CaseQuery{ReportedBy: "a_other"}, []CaseID{other.ID}},
	} {
		cases, _, err := r.ListCases(t.Context(), c.q)
		if err != nil {
			t.Fatal(name, err)
		}
		var got []CaseID
		for _, found := range cases {
			got = append(got, found.ID)
			if c.q.Regions != nil && !Covers(c.q.Regions, found.Region) {
				t.Errorf("%s: %s is not covered", name, found.Region)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	var field *FieldError
	if _, err := r.CreateCase(t.Context(), Case{Gallery: Missing, Region: "XX"}); !errors.As(err, &field) || field.Field != "region" {
		t.Error(err)
	}
	other.Region = "XX"
	if _, err := r.UpdateCase(t.Context(), other); !errors.As(err, &field) || field.Field != "region" {
		t.Error(err)
	}
	other.Region, other.Verified, other.Place, other.ReportedBy = "CN", " P-18 ", "Secret place", "a_forged"
	changed, err := r.UpdateCase(officer, other)
	if err != nil || changed.Region != "CN" || changed.Verified != "P-18" || changed.ReportedBy != "a_other" {
		t.Error(changed, err)
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Case: other.ID, Action: "case.changed"})
	if err != nil || len(entries) != 1 || entries[0].Detail["fields"] != "place,region,verified" || entries[0].Account != "a_officer" {
		t.Error(entries, err)
	}
	closed, err := r.CreateCase(t.Context(), Case{Gallery: Missing, Status: StatusClosed})
	if err != nil || closed.ClosedAs != ClosedByOfficer || !closed.Destroy.IsZero() {
		t.Error(closed, err)
	}
}

func TestCaseNumber(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	missing, found := newCase(t, r, Missing), newCase(t, r, Found)
	if missing.Number() != "M-000001-8" || found.Number() != "F-000002-6" {
		t.Error(missing.Number(), found.Number())
	}
	if n := (Case{Gallery: Missing, N: 1234567}).Number(); n != "M-1234567-4" {
		t.Error(n)
	}
	for _, text := range []string{"M-000001-8", "m-000001-8", " m 000001 8 ", "M0000018", "M-0000018", "m\u3000000001-8"} {
		if c, err := r.CaseByNumber(t.Context(), text); err != nil || c.ID != missing.ID {
			t.Errorf("%q: %v %v", text, c.ID, err)
		}
	}
	for _, text := range []string{
		"", "M", "M-", "F-000001-8", "M-000002-6", "M-000001-7", "M-000010-8", "X-000001-8", "M-1-8", "000001-8", "M-00000１-8",
		"M-000003-4", "M-999999999999999999999-1", "ſ-000001-8", "M-000001-8' OR 1", strings.Repeat("M", 1000), "M\x00000001-8",
	} {
		if c, err := r.CaseByNumber(t.Context(), text); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v %v", text, c.ID, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		digits := fmt.Sprintf("%06d", rapid.Int64Range(0, 1<<40).Draw(t, "n"))
		at := rapid.IntRange(0, len(digits)-1).Draw(t, "at")
		slip := []byte(digits)
		slip[at] = '0' + (slip[at]-'0'+byte(rapid.IntRange(1, 9).Draw(t, "by")))%10
		if luhn(digits) == luhn(string(slip)) {
			t.Fatalf("%s and %s have the same check digit", digits, slip)
		}
	})
}

// TestCursorsUnderChange pages through a list while cases come and go: each case that was there all along is seen once.
func TestCursorsUnderChange(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	rapid.Check(t, func(t *rapid.T) {
		if _, err := r.writer.Exec("DELETE FROM cases"); err != nil {
			t.Fatal(err)
		}
		create := func() CaseID {
			c, err := r.CreateCase(t.Context(), Case{Gallery: Missing})
			if err != nil {
				t.Fatal(err)
			}
			return c.ID
		}
		var all []CaseID
		for range rapid.IntRange(0, 12).Draw(t, "cases") {
			all = append(all, create())
		}
		gone := make(map[CaseID]bool)
		var seen []CaseID
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		for cursor := ""; ; {
			cases, next, err := r.ListCases(t.Context(), CaseQuery{Limit: limit, Cursor: cursor})
			if err != nil || len(cases) > limit {
				t.Fatal(len(cases), err)
			}
			for _, c := range cases {
				seen = append(seen, c.ID)
			}
			if next == "" {
				break
			}
			cursor = next
			switch rapid.IntRange(0, 2).Draw(t, "meanwhile") {
			case 1:
				create()
			case 2:
				id := rapid.SampledFrom(all).Draw(t, "delete")
				if err := r.DeleteCase(t.Context(), id); err != nil && !gone[id] {
					t.Fatal(err)
				}
				gone[id] = true
			}
		}
		want := slices.Clone(all)
		slices.Reverse(want)
		want = slices.DeleteFunc(want, func(id CaseID) bool { return gone[id] })
		kept := slices.DeleteFunc(slices.Clone(seen), func(id CaseID) bool { return gone[id] })
		if !slices.Equal(kept, want) {
			t.Fatal(fmt.Sprint("saw ", kept, ", want ", want))
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(newCursor(1))
	f.Add("AAAAAAAAAAEAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseCursor(text)
		if err == nil && newCursor(n) != text {
			t.Fatalf("%q reads as %d", text, n)
		}
	})
}
