package api

import "time"

// NewDNARequest asks a laboratory about a lead.
type NewDNARequest struct {
	Laboratory string `json:"laboratory" maxLength:"200" doc:"One that has an account here."`
}

// DNARequest is what a laboratory was asked. It names cases by their numbers and holds nothing else of a child.
type DNARequest struct {
	ID          string      `json:"id" example:"d_k3v…"`
	Lead        string      `json:"lead"`
	Missing     string      `json:"missing" doc:"Number of the missing child's case."`
	Found       string      `json:"found" doc:"Number of the found child's case."`
	Laboratory  string      `json:"laboratory"`
	RequestedAt time.Time   `json:"requested_at"`
	Samples     []DNASample `json:"samples"`
	Result      string      `json:"result,omitempty" enum:",confirmed,excluded,inconclusive" doc:"Empty until the laboratory has reported."`
	Report      string      `json:"report,omitempty" doc:"The laboratory's own number of its report."`
	On          string      `json:"on,omitempty" doc:"Date of the result."`
	ReportedAt  *time.Time  `json:"reported_at,omitempty"`
}

// DNARequests lists requests: those without a result first, longest waiting first; then the others, newest first.
type DNARequests struct {
	Requests []DNARequest `json:"requests"`
}

// DNASample is one sample of a request.
type DNASample struct {
	ID      string    `json:"id"`
	Whose   string    `json:"whose" enum:"child,mother,father,sibling,other"`
	Kit     string    `json:"kit"`
	TakenOn string    `json:"taken_on"`
	AddedAt time.Time `json:"added_at"`
}

// NewDNASample adds a sample.
type NewDNASample struct {
	Whose   string `json:"whose" enum:"child,mother,father,sibling,other"`
	Kit     string `json:"kit" maxLength:"200" doc:"Number on the kit. No two samples share one."`
	TakenOn string `json:"taken_on" maxLength:"10" doc:"2009, 2009-05 or 2009-05-17." example:"2026-05-17"`
}

// DNAReport is what the laboratory found.
type DNAReport struct {
	Result string `json:"result" enum:"confirmed,excluded,inconclusive" doc:"confirmed: one child. excluded: two children. inconclusive: better samples are needed."`
	Report string `json:"report" maxLength:"200" doc:"The laboratory's own number of its report."`
	On     string `json:"on" maxLength:"10" doc:"Date of the result." example:"2026-05-17"`
}
