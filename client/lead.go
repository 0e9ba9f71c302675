package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"homeward/api"
)

// Leads lists leads; filters are the API's.
func (c *Client) Leads(ctx context.Context, filters url.Values) (api.LeadPage, error) {
	return ask[api.LeadPage](ctx, c, http.MethodGet, "/leads", filters, nil)
}

// Lead reads a lead.
func (c *Client) Lead(ctx context.Context, id string) (api.Lead, error) {
	return ask[api.Lead](ctx, c, http.MethodGet, "/leads/"+url.PathEscape(id), nil, nil)
}

// OpenLead opens a lead by hand.
func (c *Client) OpenLead(ctx context.Context, n api.NewLead) (api.Lead, error) {
	return ask[api.Lead](ctx, c, http.MethodPost, "/leads", nil, n)
}

// GiveVerdict judges a lead.
func (c *Client) GiveVerdict(ctx context.Context, lead string, v api.NewVerdict) (api.Verdict, error) {
	return ask[api.Verdict](ctx, c, http.MethodPost, "/leads/"+url.PathEscape(lead)+"/verdicts", nil, v)
}

// Verdicts lists the verdicts on a lead that may be seen.
func (c *Client) Verdicts(ctx context.Context, lead string) (api.Verdicts, error) {
	return ask[api.Verdicts](ctx, c, http.MethodGet, "/leads/"+url.PathEscape(lead)+"/verdicts", nil, nil)
}

// Frozen reads what lay before the examiner of a verdict.
func (c *Client) Frozen(ctx context.Context, verdict string) (api.Frozen, error) {
	return ask[api.Frozen](ctx, c, http.MethodGet, "/verdicts/"+url.PathEscape(verdict)+"/frozen", nil, nil)
}

// Exhibit fetches a picture as examiners saw it.
func (c *Client) Exhibit(ctx context.Context, e api.Exhibit) (io.ReadCloser, error) {
	return c.picture(ctx, "/exhibits/"+url.PathEscape(e.Case)+"/"+url.PathEscape(e.Photo), nil)
}

// RequestDNA asks a laboratory about a lead.
func (c *Client) RequestDNA(ctx context.Context, lead, laboratory string) (api.DNARequest, error) {
	return ask[api.DNARequest](ctx, c, http.MethodPost, "/leads/"+url.PathEscape(lead)+"/dna", nil, api.NewDNARequest{Laboratory: laboratory})
}

// DNARequests lists DNA requests.
func (c *Client) DNARequests(ctx context.Context) (api.DNARequests, error) {
	return ask[api.DNARequests](ctx, c, http.MethodGet, "/dna", nil, nil)
}

// DNARequest reads a DNA request.
func (c *Client) DNARequest(ctx context.Context, id string) (api.DNARequest, error) {
	return ask[api.DNARequest](ctx, c, http.MethodGet, "/dna/"+url.PathEscape(id), nil, nil)
}

// AddSample adds a sample to a DNA request.
func (c *Client) AddSample(ctx context.Context, request string, s api.NewDNASample) (api.DNARequest, error) {
	return ask[api.DNARequest](ctx, c, http.MethodPost, "/dna/"+url.PathEscape(request)+"/samples", nil, s)
}

// ReportDNA reports a laboratory's result.
func (c *Client) ReportDNA(ctx context.Context, request string, r api.DNAReport) (api.DNARequest, error) {
	return ask[api.DNARequest](ctx, c, http.MethodPost, "/dna/"+url.PathEscape(request)+"/result", nil, r)
}

// Reunite records that a lead's child is home.
func (c *Client) Reunite(ctx context.Context, lead string) (api.Lead, error) {
	return ask[api.Lead](ctx, c, http.MethodPost, "/leads/"+url.PathEscape(lead)+"/reunion", nil, nil)
}
