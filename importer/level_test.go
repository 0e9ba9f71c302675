package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// TestLevels: no two children become one case, and no child two, without being asked.
func TestLevels(t *testing.T) {
	for files, want := range map[string]int{
		"A001/a.jpg A002/b.jpg":                                             1,
		"A001/a.jpg A001/scans/b.jpg A002/c.jpg":                            1,
		"A001/a.jpg A002/photos/b.jpg":                                      1,
		"A001/photos/a.jpg A002/photos/b.jpg":                               1,
		"agency/A001/a.jpg agency/A002/b.jpg":                               2,
		"agency/photos/A001/a.jpg agency/photos/A002/b.jpg":                 3,
		"2009/A001/a.jpg 2009/A002/b.jpg 2010/A003/c.jpg":                   2,
		"2009/A001/scans/a.jpg 2009/A002/scans/b.jpg 2010/A003/c.jpg":       2,
		"loose.jpg A001/a.jpg":                                              1,
		"loose.jpg":                                                         1,
		"agency/cover.jpg agency/A001/a.jpg agency/A002/b.jpg":              0,
		"A001/a.jpg 2009/A002/b.jpg 2009/A003/c.jpg":                        0,
		"A001/front/a.jpg A001/side/b.jpg A002/front/c.jpg A002/side/d.jpg": 0,
		"2009/001/a.jpg 2009/002/b.jpg 2010/001/c.jpg 2010/002/d.jpg":       0,
		"2009/A001/a.jpg 2010/A002/b.jpg":                                   0,
		"export/A001/a.jpg":                                                 0,
		strings.Repeat("a/", MaxLevel+2) + "1/x.jpg " + strings.Repeat("a/", MaxLevel+2) + "2/x.jpg": 0,
	} {
		var b branches
		for name := range strings.FieldsSeq(files) {
			if err := b.add(name); err != nil {
				t.Fatal(err)
			}
		}
		got, err := b.level()
		if got != want || (want == 0) != errors.Is(err, errUnclear) {
			t.Errorf("%s: level %d, want %d; %v", files, got, want, err)
		}
	}
	var b branches
	for _, name := range []string{"agency/cover.jpg", "agency/A001/a.jpg", "agency/A002/b.jpg"} {
		if err := b.add(name); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.level()
	for _, part := range []string{`"agency/cover.jpg" and "agency/A002/b.jpg"`, `--case-depth 1 if "agency" is one case`, `--case-depth 2 if "agency/A002" is`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %s", err, part)
		}
	}
}

// TestDeepCases imports cases that lie in folders of years, beside what is no photo.
func TestDeepCases(t *testing.T) {
	files := tree{
		"agency/readme.txt": []byte("x"), "agency/.DS_Store": []byte("x"), "agency/Thumbs.db": []byte("x"), "agency/desktop.ini": []byte("x"),
		"__MACOSX/agency/._a.jpg": []byte("x"), "agency/2009/A001/a.jpg": small(t, photos.Obama, 0), "agency/2009/A_002/b.jpg": small(t, photos.Biden, 0),
		"agency/2010/A003/scan": small(t, photos.Obama3, 0),
	}
	f := open(t, t.TempDir())
	for _, source := range []string{files.folder(t), write(t, "a.zip", files.zip(t)), write(t, "a.tar", files.tar(t))} {
		empty(t, f)
		a := Args{Source: source, Gallery: registry.Missing}
		dry, err := DryRun(t.Context(), f.Registry, a, func(Line) error { return nil })
		if err != nil || dry.CaseDepth != 3 || dry.SuchAs != "agency/2009/A001" || dry.LargestPhotos != 1 || dry.Largest == "" {
			t.Errorf("%+v, %v", dry, err)
		}
		for _, known := range []int64{0, 3} {
			got, err := run(t, f, a)
			if err != nil || got.CasesKnown != known || got.CasesAdded != 3-known || len(got.lines) != 4 {
				t.Errorf("%+v, %v, %+v", got.Report, err, got.lines)
			}
		}
		if c, err := f.Registry.CaseByRef(t.Context(), registry.Missing, "A_002"); err != nil || !slices.Equal(c.Names, []string{"A 002"}) {
			t.Errorf("%+v, %v", c, err)
		}
	}
	// Numbers that begin anew every year.
	files = tree{"2009/001/a.jpg": small(t, photos.Obama, 0), "2009/002/b.jpg": small(t, photos.Biden, 0), "2010/001/c.jpg": []byte("x")}
	a := Args{Source: files.folder(t), Gallery: registry.Missing}
	if _, err := a.Check(t.Context()); !errors.Is(err, errUnclear) {
		t.Error(err)
	}
	if got, err := run(t, f, a); !errors.Is(err, errUnclear) || got.job.State != registry.JobParked || len(got.lines) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	a.CaseDepth = 2
	got, err := run(t, f, a)
	if err != nil || got.line(t, "2009/001/a.jpg").Case != "2009/001" || got.line(t, "2009/002/b.jpg").Case != "002" {
		t.Errorf("%+v, %v", got, err)
	}
	if l := got.line(t, "2010/001/c.jpg"); l.Outcome != Unreadable || l.Case != "2010/001" {
		t.Errorf("%+v", l)
	}
}

// TestLeftOut: what cannot be understood loses neither the photo nor the child.
func TestLeftOut(t *testing.T) {
	files := tree{"a.jpg": small(t, photos.Obama, 0), "b.jpg": small(t, photos.Obama3, 0), "c.jpg": small(t, photos.Biden, 0)}
	list := write(t, "list.csv", []byte(`照片,编号,姓名,曾用名,别名,性别,出生日期,taken
a.jpg,1,样本一,样本甲、样本乙,小一；小二,robot,2008-13-40,soon
b.jpg,1,样本一,,,robot,2008-13-40,
c.jpg,2,样本二,,,不明,约2009年,
gone.jpg,3,,,,-,2009年左右,
`))
	f := open(t, t.TempDir())
	for _, source := range []string{files.folder(t), write(t, "a.tar", files.tar(t))} {
		empty(t, f)
		a := Args{Source: source, Manifest: list, Gallery: registry.Missing}
		var dry result
		if _, err := DryRun(t.Context(), f.Registry, a, func(l Line) error {
			dry.lines = append(dry.lines, l)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		got, err := run(t, f, a)
		if err != nil || got.Added != 3 || got.CasesAdded != 3 || got.Alike != 0 {
			t.Errorf("%+v, %v, %+v", got.Report, err, got.lines)
		}
		for _, r := range []result{dry, got} {
			l := r.line(t, "a.jpg")
			for _, part := range []string{`sex "robot" is left out`, `born "2008-13-40" is left out`, `taken "soon" is left out`} {
				if l.Line != 2 || !strings.Contains(l.Remark, part) {
					t.Errorf("%+v does not say %s", l, part)
				}
			}
			for _, name := range []string{"b.jpg", "c.jpg", "gone.jpg"} {
				if l := r.line(t, name); l.Remark != "" {
					t.Errorf("%+v", l)
				}
			}
		}
		c, err := f.Registry.CaseByRef(t.Context(), registry.Missing, "1")
		if err != nil || fmt.Sprint(c.Names) != "[样本一 样本甲 样本乙 小一 小二]" || c.Sex != registry.SexUnknown || !c.BornFrom.IsZero() {
			t.Errorf("%+v, %v", c, err)
		}
		if c, err := f.Registry.CaseByRef(t.Context(), registry.Missing, "2"); err != nil || c.BornFrom.String() != "2009" {
			t.Errorf("%+v, %v", c, err)
		}
	}
}

// TestDryDamaged: a dry run says nothing of having taken something in.
func TestDryDamaged(t *testing.T) {
	whole := tree{"one/a.jpg": small(t, photos.Obama, 0), "two/b.jpg": small(t, photos.Biden, 0)}.tar(t)
	a := Args{Source: write(t, "cut.tar", whole[:len(whole)-8192]), Gallery: registry.Missing}
	dry, err := DryRun(t.Context(), nil, a, func(Line) error { return nil })
	if !errors.Is(err, errDamaged) || strings.Contains(err.Error(), "is in") || dry.New != 1 {
		t.Errorf("%+v, %v", dry, err)
	}
}
