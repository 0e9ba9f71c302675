package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"slices"
	"strings"
	"testing"
)

// picture is a JPEG without metadata.
func picture(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 40, 40)), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// proposal is a found case with a photo, and what may be published of it.
func proposal(t testing.TB, r *Registry) Publication {
	t.Helper()
	c := newCase(t, r, Found)
	p := mustAdd(t, r, c.ID, []byte(c.ID))
	return Publication{
		Case: c.ID, Sex: Female, AgeFrom: 4, AgeTo: 6, FoundOn: date(t, "2015-07"), Place: "Chengdu station", Marks: "scar\n左臂胎记",
		Pictures: []PublishedPicture{{Photo: p.ID, JPEG: picture(t)}},
	}
}

// published proposes and publishes by two people.
func published(t testing.TB, r *Registry, p Publication) Publication {
	t.Helper()
	p, err := r.Propose(as(t, r, Officer, Everywhere), p)
	if err == nil {
		p, err = r.Decide(as(t, r, Supervisor, Everywhere), p.ID, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPublication(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, Options{})
	officer, supervisor := as(t, r, Officer, Everywhere), as(t, r, Supervisor, Everywhere)
	in := proposal(t, r)
	in.Marks = "<script>alert(1)</script>"
	p, err := r.Propose(officer, in)
	if err != nil {
		t.Fatal(err)
	}
	if in.Pictures[0].ID != "" || in.Pictures[0].JPEG == nil {
		t.Error("the caller's pictures were changed")
	}
	if p.State != Proposed || !strings.HasPrefix(p.ID, "g_") || p.Marks != in.Marks || p.ProposedBy != ActorOf(officer).Account {
		t.Errorf("%+v", p)
	}
	pic := p.Pictures[0].ID
	seen := func(public, staff bool) {
		t.Helper()
		_, err := r.PublishedChild(t.Context(), p.ID)
		_, _, err2 := r.PublishedPicture(t.Context(), pic, false)
		page, total, _, err3 := r.Gallery(t.Context(), GalleryQuery{})
		cases, err4 := r.PublishedCases(t.Context())
		if err3 != nil || err4 != nil {
			t.Fatal(err3, err4)
		}
		if public != (err == nil) || public != (err2 == nil) || public != (len(page) == 1) || public != (total == 1) || public != (cases[p.Case] == p.ID) {
			t.Errorf("public: %v %v %v %v %v", err, err2, page, total, cases)
		}
		if !public && (!errors.Is(err, ErrNotFound) || !errors.Is(err2, ErrNotFound)) {
			t.Error(err, err2)
		}
		id, jpeg, err := r.PublishedPicture(t.Context(), pic, true)
		if staff && (err != nil || id != p.Case || !bytes.Equal(jpeg, in.Pictures[0].JPEG)) || !staff && !errors.Is(err, ErrNotFound) {
			t.Error("staff:", id, err)
		}
	}
	seen(false, true)
	for _, f := range files(t, dir) {
		if b, err := os.ReadFile(f); err != nil || bytes.Contains(b, in.Pictures[0].JPEG[100:200]) {
			t.Errorf("%s holds the picture (%v)", f, err)
		}
	}
	if queue, err := r.PublicationQueue(t.Context(), nil); err != nil || len(queue) != 1 || queue[0].ID != p.ID || queue[0].Pictures[0].Photo != in.Pictures[0].Photo {
		t.Error(queue, err)
	}

	var notYours *ErrNotYours
	for _, publish := range []bool{true, false} {
		if _, err := r.Decide(officer, p.ID, publish); !errors.As(err, &notYours) {
			t.Error("the proposer decided:", err)
		}
	}
	seen(false, true)
	if _, err := r.Propose(supervisor, in); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if _, err := r.AskRemoval(supervisor, p.ID, "why"); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if p, err = r.Decide(supervisor, p.ID, true); err != nil || p.State != Published || p.DecidedBy != ActorOf(supervisor).Account {
		t.Fatal(p, err)
	}
	seen(true, true)
	if _, err := r.Decide(supervisor, p.ID, false); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if _, err := r.DecideRemoval(supervisor, p.ID, true); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}

	if _, err := r.AskRemoval(officer, p.ID, " "); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if p, err = r.AskRemoval(officer, p.ID, "the family asked <b>us</b>"); err != nil || p.State != Removal || p.RemovalWhy != "the family asked <b>us</b>" {
		t.Fatal(p, err)
	}
	seen(false, true)
	if _, err := r.DecideRemoval(officer, p.ID, true); !errors.As(err, &notYours) {
		t.Error("who asked decided:", err)
	}
	if p, err = r.DecideRemoval(supervisor, p.ID, false); err != nil || p.State != Published || p.RemovalWhy != "" {
		t.Fatal(p, err)
	}
	seen(true, true)
	if _, err = r.AskRemoval(supervisor, p.ID, "again"); err != nil {
		t.Fatal(err)
	}
	if p, err = r.DecideRemoval(officer, p.ID, true); err != nil || p.State != Removed || p.RemovalWhy != "again" {
		t.Fatal(p, err)
	}
	seen(false, false)

	// Once more, and refused.
	second, err := r.Propose(officer, in)
	if err != nil {
		t.Fatal(err)
	}
	if second, err = r.Decide(supervisor, second.ID, false); err != nil || second.State != Refused {
		t.Fatal(second, err)
	}
	if _, _, err := r.PublishedPicture(t.Context(), second.Pictures[0].ID, true); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	var kept int
	if err := r.readers.QueryRow("SELECT coalesce(sum(length(sealed)), 0) FROM published_pictures").Scan(&kept); err != nil || kept != 0 {
		t.Error("pictures nobody may see any more are kept:", kept, err)
	}
	all, err := r.PublicationsOf(t.Context(), p.Case)
	if err != nil || len(all) != 2 || all[0].ID != second.ID || all[1].State != Removed {
		t.Error(all, err)
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Case: p.Case, Action: "publication."})
	var actions []string
	for _, e := range entries {
		actions = append(actions, strings.TrimPrefix(e.Action, "publication."))
	}
	if got := strings.Join(actions, " "); err != nil || got != "refused proposed removed removal_asked kept removal_asked published proposed" {
		t.Error(got, err)
	}
	for _, id := range []string{"g_none", ""} {
		_, err1 := r.Decide(supervisor, id, true)
		_, err2 := r.AskRemoval(supervisor, id, "why")
		_, err3 := r.DecideRemoval(supervisor, id, true)
		_, err4 := r.Publication(t.Context(), id)
		for _, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
	}
}

func TestProposeRefused(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	good := proposal(t, r)
	other := mustAdd(t, r, newCase(t, r, Found).ID, []byte("other"))
	pictures := func(change func([]byte) []byte) func(*Publication) {
		return func(p *Publication) {
			p.Pictures = []PublishedPicture{{Photo: good.Pictures[0].Photo, JPEG: change(picture(t))}}
		}
	}
	segment := func(marker byte, content string) func([]byte) []byte {
		return func(b []byte) []byte {
			return slices.Concat(b[:2], []byte{0xff, marker, 0, byte(len(content) + 2)}, []byte(content), b[2:])
		}
	}
	for name, c := range map[string]struct {
		change func(*Publication)
		field  string
	}{
		"date to the day":   {func(p *Publication) { p.FoundOn = date(t, "2015-07-03") }, "found_on"},
		"future":            {func(p *Publication) { p.FoundOn = date(t, "2999") }, "found_on"},
		"ages swapped":      {func(p *Publication) { p.AgeFrom, p.AgeTo = 6, 4 }, "age"},
		"age below zero":    {func(p *Publication) { p.AgeFrom = -1 }, "age"},
		"grown up":          {func(p *Publication) { p.AgeTo = MaxPublishedAge + 1 }, "age"},
		"sex":               {func(p *Publication) { p.Sex = "f" }, "sex"},
		"region":            {func(p *Publication) { p.Region = "XX" }, "region"},
		"place, two lines":  {func(p *Publication) { p.Place = "a\nb" }, "place"},
		"marks too long":    {func(p *Publication) { p.Marks = strings.Repeat("a", MaxMarks+1) }, "marks"},
		"no picture":        {func(p *Publication) { p.Pictures = nil }, "pictures"},
		"too many":          {func(p *Publication) { p.Pictures = slices.Repeat(p.Pictures, MaxPublishedPictures+1) }, "pictures"},
		"other case's":      {func(p *Publication) { p.Pictures = []PublishedPicture{{Photo: other.ID, JPEG: picture(t)}} }, "pictures"},
		"no photo":          {func(p *Publication) { p.Pictures = []PublishedPicture{{JPEG: picture(t)}} }, "pictures"},
		"empty":             {pictures(func([]byte) []byte { return nil }), "pictures"},
		"no JPEG":           {pictures(func([]byte) []byte { return []byte("<svg onload=alert(1)>") }), "pictures"},
		"cut short":         {pictures(func(b []byte) []byte { return b[:len(b)-2] }), "pictures"},
		"cut in its header": {pictures(func(b []byte) []byte { return b[:20] }), "pictures"},
		"something behind":  {pictures(func(b []byte) []byte { return append(b, "GPS"...) }), "pictures"},
		"too large":         {pictures(func([]byte) []byte { return make([]byte, MaxPublishedBytes+1) }), "pictures"},
		"EXIF":              {pictures(segment(0xe1, "Exif\x00\x00")), "pictures"},
		"comment":           {pictures(segment(0xfe, "at the station")), "pictures"},
	} {
		p := good
		c.change(&p)
		var field *FieldError
		if _, err := r.Propose(t.Context(), p); !errors.As(err, &field) || field.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, id := range map[string]CaseID{"missing": newCase(t, r, Missing).ID, "closed": closedCase(t, r, Found)} {
		p := good
		p.Case = id
		p.Pictures = []PublishedPicture{{Photo: mustAdd(t, r, id, []byte(id)).ID, JPEG: picture(t)}}
		if _, err := r.Propose(t.Context(), p); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.Case = "c_none"
	if _, err := r.Propose(t.Context(), good); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if queue, err := r.PublicationQueue(t.Context(), nil); err != nil || len(queue) != 0 {
		t.Error(queue, err)
	}
}

func closedCase(t testing.TB, r *Registry, g Gallery) CaseID {
	t.Helper()
	c, err := r.CloseCase(t.Context(), newCase(t, r, g).ID, ClosedByOfficer)
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

// TestPublishAlone: neither the system nor the operator, who have no account, are two people.
func TestPublishAlone(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	p, err := r.Propose(t.Context(), proposal(t, r))
	if err != nil {
		t.Fatal(err)
	}
	var notYours *ErrNotYours
	for _, ctx := range []context.Context{t.Context(), WithActor(t.Context(), Actor{Role: Operator, Via: "root"})} {
		if _, err := r.Decide(ctx, p.ID, true); !errors.As(err, &notYours) {
			t.Error(err)
		}
	}
}

func TestGallery(t *testing.T) {
	r := open(t, t.TempDir(), Options{})
	regions(t, r, "CN", "CN-51", "TH")
	add := func(change func(*Publication)) string {
		p := proposal(t, r)
		change(&p)
		return published(t, r, p).ID
	}
	girl := add(func(p *Publication) { p.Region, p.AgeFrom, p.AgeTo = "CN-51", 4, 6 })
	boy := add(func(p *Publication) {
		p.Sex, p.Region, p.AgeFrom, p.AgeTo, p.Place, p.Marks = Male, "TH", 10, 12, "Bangkok", "100% SCAR_x on arm"
	})
	unknown := add(func(p *Publication) {
		p.Sex, p.Region, p.AgeFrom, p.AgeTo, p.Place, p.Marks = "", "", 0, 1, "四川成都", ""
	})
	if _, err := r.Propose(as(t, r, Officer, "CN"), proposal(t, r)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		q    GalleryQuery
		want []string
	}{
		"all":             {GalleryQuery{}, []string{unknown, boy, girl}},
		"sex":             {GalleryQuery{Sex: Female}, []string{unknown, girl}},
		"age":             {GalleryQuery{AgeFrom: 6, AgeTo: 9}, []string{girl}},
		"age from":        {GalleryQuery{AgeFrom: 5}, []string{boy, girl}},
		"age to":          {GalleryQuery{AgeTo: 4}, []string{unknown, girl}},
		"region":          {GalleryQuery{Region: "CN"}, []string{unknown, girl}},
		"region wildcard": {GalleryQuery{Region: "%"}, []string{unknown}},
		"word":            {GalleryQuery{Words: "chengdu"}, []string{girl}},
		"words":           {GalleryQuery{Words: " scar  bang "}, []string{boy}},
		"both fields":     {GalleryQuery{Words: "SCAR station"}, []string{girl}},
		"CJK":             {GalleryQuery{Words: "成都"}, []string{unknown}},
		"CJK in marks":    {GalleryQuery{Words: "胎记\u3000scar"}, []string{girl}},
		"percent":         {GalleryQuery{Words: "%"}, []string{boy}},
		"underscore":      {GalleryQuery{Words: "_"}, []string{boy}},
		"quote":           {GalleryQuery{Words: `' OR 1=1 --`}, nil},
		"none":            {GalleryQuery{Words: "nowhere"}, nil},
	} {
		page, total, next, err := r.Gallery(t.Context(), c.q)
		if err != nil || next != "" || total != len(c.want) {
			t.Error(name, total, next, err)
		}
		var got []string
		for _, p := range page {
			got = append(got, p.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	var got []string
	for cursor := ""; ; {
		page, total, next, err := r.Gallery(t.Context(), GalleryQuery{Limit: 2, Cursor: cursor})
		if err != nil || total != 3 || len(page) > 2 {
			t.Fatal(page, total, err)
		}
		for _, p := range page {
			got = append(got, p.ID)
			if len(p.Pictures) != 1 || p.Pictures[0].JPEG != nil {
				t.Error(p)
			}
		}
		if next == "" {
			break
		}
		cursor = next
	}
	if !slices.Equal(got, []string{unknown, boy, girl}) {
		t.Error(got)
	}
	for _, q := range []GalleryQuery{{Cursor: "x"}, {Limit: -1}, {Limit: MaxListed + 1}, {Words: strings.Repeat("a", MaxWords+1)}, {Words: "a\x00"}} {
		if _, _, _, err := r.Gallery(t.Context(), q); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", q, err)
		}
	}
	if queue, err := r.PublicationQueue(t.Context(), []string{"TH"}); err != nil || len(queue) != 1 { // its case has no region
		t.Error(queue, err)
	}
}

// TestPublicationQueue: the one that waits longest comes first, of covered regions only.
func TestPublicationQueue(t *testing.T) {
	var now clock
	r := open(t, t.TempDir(), now.options())
	regions(t, r, "CN", "TH")
	officer, supervisor := as(t, r, Officer, Everywhere), as(t, r, Supervisor, Everywhere)
	var ids []string
	for _, region := range []string{"CN", "TH", "CN"} {
		p := proposal(t, r)
		c, err := r.Case(t.Context(), p.Case)
		if err != nil {
			t.Fatal(err)
		}
		c.Region = region
		if _, err := r.UpdateCase(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		now.pass(1e9)
		if p, err = r.Propose(officer, p); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.ID)
	}
	now.pass(1e9)
	if _, err := r.Decide(supervisor, ids[0], true); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AskRemoval(officer, ids[0], "why"); err != nil {
		t.Fatal(err)
	}
	for want, regions := range map[string][]string{
		fmt.Sprint(ids[1:], ids[0]): nil,
		fmt.Sprint(ids[2:], ids[0]): {"CN"},
	} {
		queue, err := r.PublicationQueue(t.Context(), regions)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range queue {
			got = append(got, p.ID)
		}
		if s := fmt.Sprint(got[:len(got)-1], got[len(got)-1]); s != want {
			t.Error(s, want)
		}
	}
}
