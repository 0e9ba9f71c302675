package server_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"homeward/api"
	"homeward/client"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// located is a JPEG that says in its metadata where it was taken.
func located(photo []byte, where string) []byte {
	segment := func(marker byte, text string) []byte {
		n := len(text) + 2
		return append([]byte{0xff, marker, byte(n >> 8), byte(n)}, text...)
	}
	out := append([]byte{}, photo[:2]...)
	out = append(out, segment(0xe1, "http://ns.adobe.com/xap/1.0/\x00<x>"+where+"</x>")...)
	out = append(out, segment(0xfe, where)...)
	return append(out, photo[2:]...)
}

// bare says what a JPEG carries beside its picture.
func bare(t *testing.T, jpeg []byte) {
	t.Helper()
	if !bytes.HasPrefix(jpeg, []byte{0xff, 0xd8}) {
		t.Fatal("this is no JPEG")
	}
	for at := 2; at+4 <= len(jpeg) && jpeg[at+1] != 0xda; at += 2 + int(jpeg[at+2])<<8 + int(jpeg[at+3]) {
		if m := jpeg[at+1]; m > 0xe0 && m <= 0xef || m == 0xfe {
			t.Errorf("the picture has a segment %x", m)
		}
	}
}

func TestPublishingTakesTwo(t *testing.T) {
	s := newTestServer(t)
	ctx := t.Context()
	here, there := s.regions(t)
	one, two := s.colleague(t, registry.Officer, here), s.colleague(t, registry.Supervisor, here)
	far, examiner := s.colleague(t, registry.Officer, there), s.colleague(t, registry.Examiner, here)
	const secret = "31.2304N 121.4737E"
	c, p := s.foundCase(t, one, here, located(photos.Read(t, photos.Obama), secret))
	_, strange := s.foundCase(t, one, here, photos.Read(t, photos.Biden))
	var blank api.Photo
	{
		local, _, _ := s.as(t, registry.Officer, here)
		var err error
		if blank, err = local.AddPhoto(ctx, c.ID, client.NewPhoto{}, bytes.NewReader(photos.NoFace(t))); err != nil {
			t.Fatal(err)
		}
	}

	publications := "/cases/" + c.ID + "/publications"
	status, portrait, header := s.request(t, one.key, http.MethodGet, "/api/v1/photos/"+p.ID+"/portrait", nil, nil)
	if status != http.StatusOK || header.Get("Content-Type") != "image/jpeg" {
		t.Fatalf("portrait: %d %s", status, portrait)
	}
	bare(t, portrait)
	if bytes.Contains(portrait, []byte(secret)) {
		t.Error("the portrait says where the photo was taken")
	}

	const markup = `<script>alert("x")</script> & a scar`
	good := api.NewPublication{Photos: []string{p.ID}, Sex: "male", AgeFrom: 6, AgeTo: 8, FoundOn: "2015-06", Place: "Chengdu", Region: here, Marks: markup}
	for name, tc := range map[string]struct {
		change func(*api.NewPublication)
		said   string
	}{
		"a day":                     {func(n *api.NewPublication) { n.FoundOn = "2015-06-17" }, "invalid"},
		"a photo of another case":   {func(n *api.NewPublication) { n.Photos = []string{strange.ID} }, "invalid"},
		"a photo that is not there": {func(n *api.NewPublication) { n.Photos = []string{"p_nothing"} }, "invalid"},
		"one photo twice":           {func(n *api.NewPublication) { n.Photos = []string{p.ID, p.ID} }, "invalid"},
		"no photo":                  {func(n *api.NewPublication) { n.Photos = []string{} }, "invalid"},
		"a photo without a face":    {func(n *api.NewPublication) { n.Photos = []string{blank.ID} }, "no_subject"},
		"ages swapped":              {func(n *api.NewPublication) { n.AgeFrom = 9 }, "invalid"},
		"a region that is none":     {func(n *api.NewPublication) { n.Region = "XX" }, "invalid"},
	} {
		bad := good
		tc.change(&bad)
		if _, said := s.tell(t, one.key, http.MethodPost, publications, bad, nil); said != tc.said {
			t.Errorf("%s: %q, want %q", name, said, tc.said)
		}
	}
	var proposed api.Publication
	if status, said := s.tell(t, one.key, http.MethodPost, publications, good, &proposed); status != http.StatusCreated || proposed.State != "proposed" {
		t.Fatalf("propose: %d %s", status, said)
	}
	if _, said := s.tell(t, two.key, http.MethodPost, publications, good, nil); said != "conflict" {
		t.Errorf("proposed twice: %q", said)
	}
	path, picture := "/publications/"+proposed.ID, proposed.Pictures[0].ID

	// Nothing is public until a second person has agreed.
	public := func(want bool) {
		t.Helper()
		page, total, _, err := s.Finder.Registry.Gallery(ctx, registry.GalleryQuery{})
		if err != nil {
			t.Fatal(err)
		}
		if (total == 1) != want || (len(page) == 1) != want {
			t.Errorf("the public sees %d children", total)
		}
		_, _, err = s.Finder.Registry.PublishedPicture(ctx, picture, false)
		if (err == nil) != want || err != nil && !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("the public's picture: %v", err)
		}
	}
	public(false)
	// "Somewhere else" and whoever has no right are refused at every route of it.
	publish := api.PublicationDecision{Publish: true}
	for name, who := range map[string]struct {
		key, said string
	}{"another region": {far.key, "other_region"}, "an examiner": {examiner.key, "forbidden"}, "nobody": {"", "no_key"}} {
		for _, route := range []struct {
			method, path string
			body         any
		}{
			{http.MethodGet, "/photos/" + p.ID + "/portrait", nil},
			{http.MethodPost, publications, good},
			{http.MethodGet, publications, nil},
			{http.MethodPost, path + "/decision", publish},
			{http.MethodPost, path + "/removal", api.NewRemoval{Why: "x"}},
			{http.MethodPost, path + "/removal/decision", api.RemovalDecision{Remove: true}},
			{http.MethodGet, path + "/pictures/" + picture, nil},
		} {
			if _, said := s.tell(t, who.key, route.method, route.path, route.body, nil); said != who.said {
				t.Errorf("%s: %s %s: %q, want %q", name, route.method, route.path, said, who.said)
			}
		}
	}
	var queue []api.Publication
	if s.tell(t, far.key, http.MethodGet, "/publications", nil, &queue); len(queue) != 0 {
		t.Error("another region has it in its queue")
	}
	if s.tell(t, two.key, http.MethodGet, "/publications", nil, &queue); len(queue) != 1 || !queue[0].MayDecide || queue[0].ProposedBy.Name != one.Name {
		t.Errorf("the queue of the second person: %+v", queue)
	}
	status, shown, _ := s.request(t, two.key, http.MethodGet, "/api/v1"+path+"/pictures/"+picture, nil, nil)
	if status != http.StatusOK || !bytes.Equal(shown, portrait) {
		t.Errorf("what is approved is not what was shown: %d", status)
	}
	if _, said := s.tell(t, two.key, http.MethodGet, path+"/pictures/i_nothing", nil, nil); said != "not_found" {
		t.Errorf("a picture that is not there: %q", said)
	}
	page := s.shownPage(t, two.key, "/publications")
	if strings.Contains(page, "<script>alert") || !strings.Contains(page, "&lt;script&gt;alert") {
		t.Error("markup in the public's text is not text")
	}
	if page := s.shownPage(t, one.key, "/publications"); !strings.Contains(page, "A second person must decide") || strings.Contains(page, "/decision") {
		t.Error("who proposed it is not told why they cannot decide")
	}

	if _, said := s.tell(t, one.key, http.MethodPost, path+"/decision", publish, nil); said != "not_yours" {
		t.Errorf("who proposed it decides: %q", said)
	}
	public(false)
	if status, said := s.tell(t, two.key, http.MethodPost, path+"/decision", publish, nil); status != http.StatusOK {
		t.Fatalf("decide: %d %s", status, said)
	}
	public(true)
	if _, said := s.tell(t, two.key, http.MethodPost, path+"/decision", publish, nil); said != "conflict" {
		t.Errorf("decided twice: %q", said)
	}

	// Asking for removal hides the child at once.
	remove := func(by colleague, yes bool) string {
		_, said := s.tell(t, by.key, http.MethodPost, path+"/removal/decision", api.RemovalDecision{Remove: yes}, nil)
		return said
	}
	if _, said := s.tell(t, one.key, http.MethodPost, path+"/removal", api.NewRemoval{Why: "  "}, nil); said != "invalid" {
		t.Errorf("removal without a reason: %q", said)
	}
	for _, yes := range []bool{false, true} {
		if _, said := s.tell(t, one.key, http.MethodPost, path+"/removal", api.NewRemoval{Why: "The child is home"}, nil); said != "" {
			t.Fatal(said)
		}
		public(false)
		if said := remove(one, yes); said != "not_yours" {
			t.Errorf("who asked for removal decides: %q", said)
		}
		if said := remove(two, yes); said != "" {
			t.Errorf("decide the removal: %q", said)
		}
		public(!yes)
	}
	if page := s.shownPage(t, one.key, "/cases/"+c.ID+"/publish"); !strings.Contains(page, "/photos/"+p.ID+"/portrait") || strings.Contains(page, blank.ID+"/portrait") {
		t.Error("the page does not offer the photo with a face, and that one only")
	}
	if status, _, _ := s.request(t, far.key, http.MethodGet, "/cases/"+c.ID+"/publish", nil, nil); status != http.StatusForbidden {
		t.Errorf("the page in another region: %d", status)
	}
}
