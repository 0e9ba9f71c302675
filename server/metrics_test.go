package server_test

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"homeward/api"
	"homeward/client"
	photos "homeward/internal/testphotos"
	"homeward/registry"
)

// TestMetrics asks for the metrics as Prometheus does, after something has happened, and makes sure that they say it, that their form is
// right and that no label holds what someone sent.
func TestMetrics(t *testing.T) {
	s := newTestServer(t)
	c, err := s.CreateCase(t.Context(), api.NewCase{Gallery: "missing"})
	if err != nil {
		t.Fatal(err)
	}
	one := c.ID
	if _, err := s.AddPhoto(t.Context(), one, client.NewPhoto{Name: "telltale.jpg"}, bytes.NewReader(photos.Read(t, photos.Obama))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SearchPhoto(t.Context(), client.Filter{Words: "telltale"}, bytes.NewReader(photos.Read(t, photos.Obama2))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SearchCase(t.Context(), client.Filter{}, one); err != nil {
		t.Fatal(err)
	}
	get := func(key, path string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(body)
	}
	get(s.Key, "/telltale/"+one)
	get(s.Key, "/api/v1/cases/telltale?words=telltale")
	if res, body := get("", "/metrics"); res.StatusCode != http.StatusUnauthorized || strings.Contains(body, "homeward_") {
		t.Error("without a key:", res.Status, body)
	}
	_, key, _ := s.as(t, registry.Auditor, registry.Everywhere)
	res, body := get(key, "/metrics")
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status, body)
	}
	for _, want := range []string{
		`homeward_cases{gallery_status="missing.open"} 1`,
		`homeward_photos{state="analysed"} 1`,
		`homeward_photos_analysed_total 1`,
		`homeward_index_references 1`,
		`homeward_templates{set="active"} 1`,
		`homeward_queued_photos 0`,
		`homeward_registry_readable 1`,
		`homeward_registry_behind 0`,
		`homeward_search_duration_seconds_count{kind="photo"} 1`,
		`homeward_search_duration_seconds_count{kind="case"} 1`,
		`homeward_http_request_duration_seconds_count{method="POST",route="/api/v1/cases/:case/photos",status="2xx"} 1`,
		`homeward_http_request_duration_seconds_count{method="GET",route="none",status="4xx"} 1`,
		`homeward_http_request_duration_seconds_count{method="GET",route="/api/v1/cases/:case",status="4xx"} 1`,
		`homeward_database_waits_total{connections="writer"}`,
		`homeward_registry_bytes{part="database"}`,
		"process_resident_memory_bytes", "go_goroutines",
	} {
		if !strings.Contains(body, "\n"+want) {
			t.Errorf("no %s", want)
		}
	}
	for _, not := range []string{"telltale", one, "127.0.0.1"} {
		if strings.Contains(body, not) {
			t.Errorf("the metrics tell of %q", not)
		}
	}
	if id := regexp.MustCompile(`\b[a-z]_[a-z2-7]{26}\b`).FindString(body); id != "" {
		t.Error("an id in the metrics:", id)
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p.Metric, p.Text)
	}
	// A role that may not see how the service does.
	_, key, _ = s.as(t, registry.Laboratory)
	if res, _ := get(key, "/metrics"); res.StatusCode != http.StatusForbidden {
		t.Error("laboratory:", res.Status)
	}
}
