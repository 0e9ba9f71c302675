package registry

import "context"

// Unchecked lists open cases that families reported and no officer has checked yet, oldest first.
func (r *Registry) Unchecked(ctx context.Context) ([]CaseID, error) {
	const what = "list unchecked reports"
	rows, err := r.readers.QueryContext(ctx, `SELECT c.id FROM families f JOIN cases c ON c.id = f.case_id
		WHERE c.verified = '' AND c.status = 'open' ORDER BY c.n`)
	if err != nil {
		return nil, wrap(err, what)
	}
	defer rows.Close()
	var out []CaseID
	for rows.Next() {
		var id CaseID
		if err := rows.Scan(&id); err != nil {
			return nil, wrap(err, what)
		}
		out = append(out, id)
	}
	return out, wrap(rows.Err(), what)
}
