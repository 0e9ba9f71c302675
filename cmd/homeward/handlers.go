package main

import (
	"homeward/finder"
	"homeward/importer"
	"homeward/jobs"
	"homeward/registry"
)

// handlers says what does the work of each kind of job.
func handlers(o *options, f *finder.Finder) map[registry.JobKind]jobs.Handler {
	return map[registry.JobKind]jobs.Handler{
		registry.JobImport:     importer.Job(f),
		registry.JobReindex:    f.Reindex,
		registry.JobCrossmatch: f.Crossmatch,
		registry.JobBackup:     backupHandler(f.Registry, nil),
	}
}
