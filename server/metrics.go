package server

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"homeward/registry"
)

// metricsPath is where Prometheus asks, with a key of an account that may see how the service does.
const metricsPath = "/metrics"

// countEvery is how often the registry is counted anew for whoever asks for metrics.
const countEvery = 15 * time.Second

// metrics measure the service. Labels are routes as they are registered, states and kinds: never a path, an id or anything else
// that someone brought.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	searches *prometheus.HistogramVec
}

func newMetrics(s *Server) (*metrics, error) {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "homeward_http_request_duration_seconds", Help: "How long requests took, by route and status.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route", "status"}),
		searches: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "homeward_search_duration_seconds", Help: "How long searches took, with looking at the photo, by what was searched with.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"kind"}),
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.searches, &state{server: s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}

// What was searched with.
const (
	searchPhoto  = "photo"
	searchFace   = "face"
	searchCase   = "case"
	searchMore   = "more" // another page, face or filter of a search under way
	searchFamily = "family"
)

// searched notes how long a search took that began then.
func (m *metrics) searched(kind string, began time.Time) {
	m.searches.WithLabelValues(kind).Observe(time.Since(began).Seconds())
}

// methods that have a label of their own.
var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true,
}

func (m *metrics) request(c *gin.Context, took time.Duration) {
	method, route := c.Request.Method, c.FullPath()
	if !methods[method] {
		method = "other"
	}
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(c.Writer.Status()/100)+"xx").Observe(took.Seconds())
}

func (s *Server) metricsRoutes() {
	s.engine.GET(metricsPath, gin.WrapH(promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{
		ErrorLog: promLog{s}, ErrorHandling: promhttp.ContinueOnError, DisableCompression: true,
	})))
}

// promLog logs what goes wrong in gathering.
type promLog struct{ s *Server }

func (l promLog) Println(v ...any) { l.s.log.Error("gather metrics", "error", fmt.Sprint(v...)) }

// state collects what the registry and the finder know.
type state struct {
	server *Server

	mu      sync.Mutex
	at      time.Time
	counted registry.Stats
	jobs    []registry.Job
	err     error
}

// gauge is a number that state tells.
func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("homeward_"+name, help, labels, nil)
}

var (
	upDesc         = gauge("registry_readable", "1 where the registry can be read and counted.")
	behindDesc     = gauge("registry_behind", "1 where the database has lost acknowledged changes: see homeward check.")
	casesDesc      = gauge("cases", "Cases, by gallery and status.", "gallery_status")
	photosDesc     = gauge("photos", "Photos, by state.", "state")
	facesDesc      = gauge("faces", "Faces that are known.")
	templatesDesc  = gauge("templates", "Templates, by whether they are of the model set in use.", "set")
	leadsDesc      = gauge("leads", "Leads, by state.", "state")
	queuedDesc     = gauge("queued_photos", "Photos that wait to be analysed.")
	oldestDesc     = gauge("oldest_queued_seconds", "For how long the photo has waited that came first.")
	dueDesc        = gauge("due_cases", "Cases that the standing search has yet to compare.")
	jobsDesc       = gauge("jobs", "Jobs, by kind and state.", "kind_state")
	jobDoneDesc    = gauge("job_done", "How far the running job of a kind has come in its stage.", "kind", "stage")
	jobTotalDesc   = gauge("job_total", "Of how much; 0 while unknown.", "kind", "stage")
	indexCasesDesc = gauge("index_cases", "Cases that can be found by a face.")
	indexRefsDesc  = gauge("index_references", "References in the index of faces.")
	wordsDesc      = gauge("words_loaded", "1 where words can be searched.")
	sizeDesc       = gauge("registry_bytes", "Size of the registry, by part.", "part")
	freeDesc       = gauge("disk_free_bytes", "Free bytes of the registry's disk.")
	entriesDesc    = gauge("audit_entries_total", "Entries of the audit.")
	analysedDesc   = gauge("photos_analysed_total", "Photos analysed by this process.")
	failedDesc     = gauge("analyses_failed_total", "Analyses that failed in this process.")
	crashedDesc    = gauge("workers_crashed_total", "Processes that ended over a photo and were replaced, under the model set in use.")
	waitsDesc      = gauge("database_waits_total", "How often someone waited for a connection to the database.", "connections")
	waitedDesc     = gauge("database_wait_seconds_total", "For how long in all.", "connections")
)

// Describe names every metric of state.
func (st *state) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		upDesc, behindDesc, casesDesc, photosDesc, facesDesc, templatesDesc, leadsDesc, queuedDesc, oldestDesc, dueDesc, jobsDesc, jobDoneDesc, jobTotalDesc,
		indexCasesDesc, indexRefsDesc, wordsDesc, sizeDesc, freeDesc, entriesDesc, analysedDesc, failedDesc, crashedDesc, waitsDesc, waitedDesc,
	} {
		out <- d
	}
}

// count counts the registry, unless it was counted just now.
func (st *state) count() (registry.Stats, []registry.Job, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if time.Since(st.at) < countEvery {
		return st.counted, st.jobs, st.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), countEvery)
	defer cancel()
	r := st.server.finder.Registry
	if st.counted, st.err = r.Stats(ctx); st.err == nil {
		st.jobs, st.err = r.Jobs(ctx, registry.MaxListed)
	}
	st.at = time.Now()
	return st.counted, st.jobs, st.err
}

// Collect tells every metric of state. What cannot be read is left out.
func (st *state) Collect(out chan<- prometheus.Metric) {
	set := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	total := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
	}
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	f := st.server.finder
	done := f.Counts()
	total(analysedDesc, float64(done.Analysed))
	total(failedDesc, float64(done.Failed))
	total(crashedDesc, float64(done.Crashed))
	writer, readers := f.Registry.Waits()
	total(waitsDesc, float64(writer.WaitCount), "writer")
	total(waitsDesc, float64(readers.WaitCount), "readers")
	total(waitedDesc, writer.WaitDuration.Seconds(), "writer")
	total(waitedDesc, readers.WaitDuration.Seconds(), "readers")
	cases, refs, words := f.Size()
	set(indexCasesDesc, float64(cases))
	set(indexRefsDesc, float64(refs))
	set(wordsDesc, yes(words))
	loss := f.Registry.Loss()
	set(behindDesc, yes(loss != nil && loss.Known))

	s, jobs, err := st.count()
	set(upDesc, yes(err == nil))
	if err != nil {
		st.server.log.Error("count the registry for metrics", "error", err)
		return
	}
	for d, counts := range map[*prometheus.Desc]map[string]int64{casesDesc: s.Cases, photosDesc: s.Photos, leadsDesc: s.Leads, jobsDesc: s.Jobs} {
		for label, n := range counts {
			set(d, float64(n), label)
		}
	}
	var others int64
	for id, n := range s.Templates {
		if id != s.Active {
			others += n
		}
	}
	set(templatesDesc, float64(s.Templates[s.Active]), "active")
	set(templatesDesc, float64(others), "other")
	set(facesDesc, float64(s.Faces))
	set(queuedDesc, float64(s.Queued))
	oldest := 0.0
	if !s.OldestQueued.IsZero() {
		oldest = time.Since(s.OldestQueued).Seconds()
	}
	set(oldestDesc, oldest)
	set(dueDesc, float64(s.Due))
	running := make(map[registry.JobKind]bool)
	for _, j := range jobs {
		if j.State != registry.JobRunning || running[j.Kind] {
			continue
		}
		running[j.Kind] = true
		set(jobDoneDesc, float64(j.Progress.Done), string(j.Kind), j.Progress.Stage)
		set(jobTotalDesc, float64(j.Progress.Total), string(j.Kind), j.Progress.Stage)
	}
	set(sizeDesc, float64(s.PhotoBytes), "photos")
	set(sizeDesc, float64(s.Database), "database")
	set(sizeDesc, float64(s.Log), "log")
	set(freeDesc, float64(s.Free))
	total(entriesDesc, float64(s.Entries))
}
