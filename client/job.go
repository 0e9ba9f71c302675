package client

import (
	"context"
	"net/http"
	"net/url"

	"homeward/api"
)

// Jobs lists bulk work, unfinished jobs first, then the newest.
func (c *Client) Jobs(ctx context.Context) (api.Jobs, error) {
	return ask[api.Jobs](ctx, c, http.MethodGet, "/jobs", nil, nil)
}

// Job reads a job.
func (c *Client) Job(ctx context.Context, id string) (api.Job, error) {
	return ask[api.Job](ctx, c, http.MethodGet, "/jobs/"+url.PathEscape(id), nil, nil)
}

// PauseJob asks a job to stop at its next step.
func (c *Client) PauseJob(ctx context.Context, id string) (api.Job, error) {
	return ask[api.Job](ctx, c, http.MethodPost, "/jobs/"+url.PathEscape(id)+"/pause", nil, nil)
}

// ResumeJob lets a job go on that is paused or parked.
func (c *Client) ResumeJob(ctx context.Context, id string) (api.Job, error) {
	return ask[api.Job](ctx, c, http.MethodPost, "/jobs/"+url.PathEscape(id)+"/resume", nil, nil)
}

// CancelJob ends a job for good. What it has done stays done.
func (c *Client) CancelJob(ctx context.Context, id string) (api.Job, error) {
	return ask[api.Job](ctx, c, http.MethodPost, "/jobs/"+url.PathEscape(id)+"/cancel", nil, nil)
}
