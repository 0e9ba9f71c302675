package registry

import "testing"

// TestRestoreHidesPublished: who was hidden after the snapshot must not be seen again; one person can show each of the others.
func TestRestoreHidesPublished(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	supervisor := as(t, r, Supervisor, Everywhere)
	shown := published(t, r, proposal(t, r))
	waiting, err := r.Propose(as(t, r, Officer, Everywhere), proposal(t, r))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]struct{})
	if err := r.Snapshot(t.Context(), func(s *Snapshot) error {
		return s.EachPhotoFile(func(p PhotoFile) error {
			files[p.Name] = struct{}{}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	done, err := Restore(t.Context(), dir, Options{}, Restoring{Snapshot: "1", Files: files})
	if err != nil || done.Hidden != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	r = open(t, dir, Options{})
	if page, total, _, err := r.Gallery(t.Context(), GalleryQuery{}); err != nil || total != 0 || len(page) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
	if p, err := r.Publication(t.Context(), waiting.ID); err != nil || p.State != Proposed {
		t.Errorf("%+v, %v", p, err)
	}
	queue, err := r.PublicationQueue(t.Context(), nil)
	if err != nil || len(queue) != 2 {
		t.Errorf("%+v, %v", queue, err)
	}
	p, err := r.DecideRemoval(supervisor, shown.ID, false)
	if err != nil || p.State != Published {
		t.Errorf("%+v, %v", p, err)
	}
	if _, total, _, err := r.Gallery(t.Context(), GalleryQuery{}); err != nil || total != 1 {
		t.Error(total, err)
	}
	entries, _, err := r.Audit(t.Context(), AuditQuery{Action: "publication.removal_asked"})
	if err != nil || len(entries) != 1 || entries[0].Subject != shown.ID || entries[0].Detail["why"] != "restored" {
		t.Errorf("%+v, %v", entries, err)
	}
}
