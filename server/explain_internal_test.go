package server

import (
	"math"
	"strings"
	"testing"

	"homeward/engine"
	"homeward/finder"
	"homeward/match"
	"homeward/registry"
	"homeward/text"
)

// printers gives one for each language.
func printers(t *testing.T) (english, chinese text.Printer) {
	t.Helper()
	c, err := text.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c.Pick("en"), c.Pick("zh")
}

// TestLikenessInWords says what package match says, in either language, and never claims more than the data support.
func TestLikenessInWords(t *testing.T) {
	en, zh := printers(t)
	most := math.Log(10_000)
	for ratio, want := range map[float64]string{
		1:       "无论是同一个孩子还是两个不同的孩子，出现这样的相似程度的可能性都差不多。",
		3:       "如果是同一个孩子，出现这样的相似程度的可能性，大约是两个不同孩子时的 3 倍。",
		250_000: "如果是同一个孩子，出现这样的相似程度的可能性，超过两个不同孩子时的 10,000 倍。",
		1. / 40: "如果是两个不同的孩子，出现这样的相似程度的可能性，大约是同一个孩子时的 40 倍。",
		1e-9:    "如果是两个不同的孩子，出现这样的相似程度的可能性，超过同一个孩子时的 10,000 倍。",
	} {
		if got, same := likeness(math.Log(ratio), most, en), match.Words(math.Log(ratio), most, "This likeness is"); got != same {
			t.Errorf("a ratio of %g is %q, package match says %q", ratio, got, same)
		}
		if got := likeness(math.Log(ratio), most, zh); got != want {
			t.Errorf("a ratio of %g is %q, want %q", ratio, got, want)
		}
	}
}

// TestFactorsInWords compares records in every way that package match tells apart.
func TestFactorsInWords(t *testing.T) {
	en, zh := printers(t)
	born := func(sex string, from, to float64) match.Record {
		return match.Record{Sex: sex, Born: match.Span{From: from, To: to}, Missing: true, Event: match.Span{From: 2010, To: 2011}}
	}
	looks := match.Record{Event: match.Span{From: 2015, To: 2016}, Sights: []match.Sight{{
		Taken: match.Span{From: 2015, To: 2015.1}, Looks: match.Age{Years: 9, SD: 2, Known: true},
	}}}
	boy := born("male", 2001, 2002)
	found := func(sex string, born, on float64) match.Record {
		return match.Record{Sex: sex, Born: match.Span{From: born, To: born + 1}, Event: match.Span{From: on, To: on + 0.5}}
	}
	told := map[string]bool{}
	for _, other := range []match.Record{
		found("male", 2001, 2012), found("female", 2002.2, 2012), found("", 2007, 2012), found("", 2001, 2009), found("", 2001, 1999),
		looks, {Sights: []match.Sight{{Taken: match.Span{From: 2015, To: 2015.1}, Looks: match.Age{Years: 14, SD: 2, Known: true}}}},
	} {
		for _, f := range boy.Compare(other).Factors {
			key := "factor." + f.Fact + "." + f.Finding
			if got := en.T(key, "Count", f.Years); got != f.Text {
				t.Errorf("%s is %q, package match says %q", key, got, f.Text)
			}
			if got := zh.T(key, "Count", f.Years); got == key || got == f.Text || strings.Contains(got, "no value") {
				t.Errorf("%s in Chinese is %q", key, got)
			}
			told[key] = true
		}
	}
	girls := born("female", 2001, 2002).Compare(found("female", 2001, 2012)).Factors
	told["factor.sex."+girls[0].Finding] = true
	for _, key := range []string{
		"factor.sex.male", "factor.sex.female", "factor.sex.differ", "factor.birth.agree", "factor.birth.agree_by_looks",
		"factor.birth.apart", "factor.birth.apart_by_looks", "factor.order.before_birth", "factor.order.before_disappearance",
	} {
		if !told[key] {
			t.Errorf("no two records here say %s", key)
		}
	}
}

// TestNeedsInWords says what package finder says of every photo that needs something.
func TestNeedsInWords(t *testing.T) {
	en, zh := printers(t)
	reasons := []string{string(engine.TooSmall), string(engine.TooBlurred), string(engine.TurnedAway), string(engine.Uncertain)}
	poor := registry.Face{ID: "f_poor", Reasons: reasons}
	for name, p := range map[string]registry.Photo{
		"waiting":   {State: registry.Queued},
		"set aside": {State: registry.SetAside},
		"no face":   {State: registry.Analysed},
		"not his":   {State: registry.Analysed, Faces: []registry.Face{poor}},
		"several":   {State: registry.Analysed, Faces: []registry.Face{poor, {ID: "f_other"}}},
		"poor":      {State: registry.Analysed, Subject: "f_poor", Faces: []registry.Face{{ID: "f_other"}, poor}},
		"good":      {State: registry.Analysed, Subject: "f_good", Faces: []registry.Face{{ID: "f_good", Searchable: true}}},
	} {
		code, want := finder.Needs(p)
		if got := apiPhoto(p, en); got.Needs != code || got.Message != want {
			t.Errorf("%s: %q %q, package finder says %q %q", name, got.Needs, got.Message, code, want)
		}
		if got := apiPhoto(p, zh).Message; (got == "") != (want == "") || strings.Contains(got, "photo.") || strings.Contains(got, "。 ") {
			t.Errorf("%s in Chinese: %q", name, got)
		}
	}
	for name, faces := range map[string][]engine.Face{
		"no face": nil, "several": make([]engine.Face, 3),
		"poor": {{Quality: engine.Quality{Reasons: []engine.Reason{engine.TooSmall, engine.TurnedAway}}}},
		"good": {{Quality: engine.Quality{Searchable: true}}},
	} {
		a := &engine.Analysis{Faces: faces}
		code, want := finder.NeedsOfProbe(a)
		if got := ProbePhoto(a, en); got.Needs != code || got.Message != want {
			t.Errorf("a probe with %s: %q %q, package finder says %q %q", name, got.Needs, got.Message, code, want)
		}
		if got := ProbePhoto(a, zh).Message; (got == "") != (want == "") || strings.Contains(got, "photo.") {
			t.Errorf("a probe with %s in Chinese: %q", name, got)
		}
	}
}

func TestPairAndOthersInWords(t *testing.T) {
	en, zh := printers(t)
	at := func(years, sd float64, dated bool, quality float64) finder.Sighting {
		return finder.Sighting{Age: match.Age{Years: years, SD: sd, Known: true}, Dated: dated, Quality: quality}
	}
	for _, tc := range []struct {
		probe, reference finder.Sighting
		en, zh           string
	}{
		{at(6.4, 0.2, true, 1), at(11.7, 0.2, true, 1), "Aged 6 in the photo that searches, aged 11 in the one on record: about 5 years apart.",
			"搜索照片中：6 岁；档案照片中：11 岁；两者相差约 5 年。"},
		{at(9, 3, false, 0.2), at(8.2, 0.8, true, 1), "Looks 6 to 12 in the photo that searches, aged about 8 in the one on record: about a year apart by their looks. " +
			"The face that searches is hard to make out: the likeness misleads more easily.",
			"搜索照片中：看上去 6 至 12 岁；档案照片中：约 8 岁；从面容看，两者相差约 1 年。用来搜索的脸不易辨认：这种相似更容易误导人。"},
		{at(6.4, 0.2, true, 1), at(6.3, 0.2, true, 0.1), "Aged 6 in the photo that searches, aged 6 in the one on record: less than a year apart. " +
			"The face on record is hard to make out: the likeness misleads more easily.",
			"搜索照片中：6 岁；档案照片中：6 岁；两者相差不到一年。档案中的脸不易辨认：这种相似更容易误导人。"},
		{finder.Sighting{}, at(6, 0.2, true, 0.1), "The ages in these photos are not known. Both faces are hard to make out: a likeness between such photos misleads more easily.",
			"这两张照片中的年龄不详。两张脸都不易辨认：这类照片之间的相似更容易误导人。"},
	} {
		p := finder.Pair{Probe: tc.probe, Reference: tc.reference}
		if got := apiPair(p, 10, en).Text; got != tc.en {
			t.Errorf("got %q, want %q", got, tc.en)
		}
		if got := apiPair(p, 10, zh).Text; got != tc.zh {
			t.Errorf("got %q, want %q", got, tc.zh)
		}
	}
	for _, tc := range []struct {
		rivals, alike, most int
		en, zh              string
	}{
		{0, 1, 20, "No other missing child scores as high for this search, or nearly. 1 other found child is as much like the face on record.",
			"这次搜索中，没有其他失踪儿童的得分同样高或接近。另有 1 名寻亲儿童与档案中的这张脸同样相像。"},
		{1, 0, 20, "1 other missing child scores as high for this search, or nearly. No other found child is as much like the face on record.",
			"另有 1 名失踪儿童在这次搜索中的得分同样高或接近。没有其他寻亲儿童与档案中的这张脸同样相像。"},
		{20, 7, 20, "20 or more other missing children score as high for this search, or nearly. 7 other found children are as much like the face on record.",
			"另有至少 20 名失踪儿童在这次搜索中的得分同样高或接近。另有 7 名寻亲儿童与档案中的这张脸同样相像。"},
	} {
		c := finder.Counter{Rivals: tc.rivals, Alike: tc.alike, Most: tc.most}
		if got := apiCounter(c, registry.Missing, en).Text; got != tc.en {
			t.Errorf("got %q, want %q", got, tc.en)
		}
		if got := apiCounter(c, registry.Missing, zh).Text; got != tc.zh {
			t.Errorf("got %q, want %q", got, tc.zh)
		}
	}
}
