package registry

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Contact is how a family can be reached. It is stored sealed.
type Contact struct {
	Name     string `json:"name"`
	Relation string `json:"relation"` // to the child, in the family's own words
	Phone    string `json:"phone"`
	Email    string `json:"email"`
}

// CodeLife is how long a code that was not used is good.
const CodeLife = 90 * 24 * time.Hour

// Receipt is what a family gets for its report. Link and Code are told once.
type Receipt struct {
	Case    Case
	Account AccountID
	Link    string // "hf_…": the secret part of the family's address
	Code    string // good once, in groups for people: "K7QM-2XPD-9F4T"
}

// codeAlphabet has no two signs that are taken for each other; a code of codeLength of them has 59 random bits.
const (
	codeAlphabet = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
	codeLength   = 12
	codeGroup    = 4
)

// newCode makes a code in groups.
func newCode() string {
	var code strings.Builder
	var b [1]byte
	for n := 0; n < codeLength; {
		rand.Read(b[:]) // never fails
		i := int(b[0])
		if i >= 256/len(codeAlphabet)*len(codeAlphabet) {
			continue // it would make the first signs likelier
		}
		if n > 0 && n%codeGroup == 0 {
			code.WriteByte('-')
		}
		code.WriteByte(codeAlphabet[i%len(codeAlphabet)])
		n++
	}
	return code.String()
}

// plainCode is a code as it is hashed, however a person wrote it: in either case, with or without blanks and hyphens, or in
// the wide letters of an Asian keyboard.
func plainCode(code string) string {
	return strings.Map(func(c rune) rune {
		if c >= '！' && c <= '～' {
			c -= '！' - '!'
		}
		if unicode.IsSpace(c) || unicode.Is(unicode.Pd, c) {
			return -1
		}
		return unicode.ToUpper(c)
	}, code)
}

// codeHash is what is stored of a code. It is keyed, so that a copy of the database does not say what the code is.
func (k *keyring) codeHash(id AccountID, code string) []byte {
	h := k.newDigest()
	fmt.Fprintf(h, "homeward family code\x00%s\x00%s", id, plainCode(code))
	return h.Sum(nil)
}

func (c *Contact) tidy() (err error) {
	for _, f := range []struct {
		field string
		text  *string
		limit int
	}{
		{"contact.name", &c.Name, MaxName}, {"contact.relation", &c.Relation, MaxName},
		{"contact.phone", &c.Phone, MaxPhone}, {"contact.email", &c.Email, MaxEmail},
	} {
		if *f.text, err = line(f.field, *f.text, f.limit); err != nil {
			return err
		}
	}
	switch {
	case c.Name == "":
		return &FieldError{"contact.name", "is missing; say who can be reached"}
	case c.Phone == "" && c.Email == "":
		return &FieldError{"contact.phone", "is missing; give a phone number or an e-mail address"}
	case c.Phone != "" && !strings.ContainsFunc(c.Phone, unicode.IsDigit):
		return &FieldError{"contact.phone", "has no digit; check it"}
	case c.Email != "" && !strings.Contains(strings.Trim(c.Email, "@"), "@"):
		return &FieldError{"contact.email", "is no e-mail address; check it, or leave it out"}
	}
	return nil
}

func (k *keyring) sealContact(id AccountID, c Contact) ([]byte, error) {
	return k.biometrics.Encrypt([]byte(jsonText(c)), contactContext(id))
}

func (k *keyring) openContact(id AccountID, sealed []byte) (c Contact, err error) {
	text, err := k.biometrics.Decrypt(sealed, contactContext(id))
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return Contact{}, fmt.Errorf("contact of %s: %w: %w", id, ErrCorrupt, err)
	}
	return c, nil
}

func contactContext(id AccountID) []byte { return []byte("contact of " + id) }

// ReportCase stores a family's report: a missing case, an account that sees this case only, and how to reach the family.
// The case's ReportedBy is the actor's account if staff reports, else the family's. *FieldError as CreateCase, and for a
// contact without name or without any of phone and email.
func (r *Registry) ReportCase(ctx context.Context, c Case, contact Contact, language string) (Receipt, error) {
	const what = "report a missing child"
	if c.Gallery == "" {
		c.Gallery = Missing
	}
	if c.Gallery != Missing {
		return Receipt{}, wrap(&FieldError{"gallery", "must be missing: a family reports a child it seeks"}, what)
	}
	if err := contact.tidy(); err != nil {
		return Receipt{}, wrap(err, what)
	}
	if language != "" && (len(language) > MaxRegion || !hyphened(language)) {
		return Receipt{}, wrap(&FieldError{"language", "must be a language's code, as en or zh"}, what)
	}
	actor := ActorOf(ctx)
	out := Receipt{Account: AccountID(newID("a_")), Link: newID("hf_"), Code: newCode()}
	c.Status, c.ReportedBy = StatusOpen, out.Account
	if actor.Role.Staff() && actor.Account != "" {
		c.ReportedBy = actor.Account
	} else {
		c.Verified = "" // an officer's to say
	}
	key, err := r.beginCase(&c)
	if err != nil {
		return Receipt{}, wrap(err, what)
	}
	sealed, err := r.keys.sealContact(out.Account, contact)
	if err != nil {
		return Receipt{}, wrap(err, what)
	}
	err = r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		if err := r.insertCase(ctx, tx, &c, key); err != nil {
			return err
		}
		// Its name stays empty: the family's is in the sealed contact.
		if _, err := tx.ExecContext(ctx, `INSERT INTO accounts (id, login, name, role, regions, organisation, language, created_by, created_at)
			VALUES (?, '', '', ?, '[]', '', ?, ?, ?)`, out.Account, Family, language, actor.Account, millis(c.CreatedAt)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO families (account_id, case_id, contact, link, code, code_until) VALUES (?, ?, ?, ?, ?, ?)",
			out.Account, c.ID, sealed, hashSecret(out.Link), r.keys.codeHash(out.Account, out.Code), millis(c.CreatedAt.Add(CodeLife))); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "family.reported", Case: c.ID, Subject: string(out.Account)})
	})
	if err != nil {
		return Receipt{}, err
	}
	out.Case = c
	return out, nil
}

// OpenLink finds the family that a link belongs to. ErrNotFound.
func (r *Registry) OpenLink(ctx context.Context, link string) (id AccountID, caseID CaseID, err error) {
	err = r.readers.QueryRowContext(ctx, `SELECT f.account_id, f.case_id FROM families f JOIN accounts a ON a.id = f.account_id
		WHERE f.link = ? AND a.disabled_at = 0`, hashSecret(link)).Scan(&id, &caseID)
	return id, caseID, wrap(err, "open a family's link")
}

// UseCode signs a family in by link and code, once. ErrNotFound when either is wrong, used or over.
func (r *Registry) UseCode(ctx context.Context, link, code string) (AccountID, error) {
	const what = "use a family's code"
	var id AccountID
	var caseID CaseID
	err := r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		var stored []byte
		var until int64
		err := tx.QueryRowContext(ctx, `SELECT f.account_id, f.case_id, f.code, f.code_until FROM families f JOIN accounts a ON a.id = f.account_id
			WHERE f.link = ? AND a.disabled_at = 0`, hashSecret(link)).Scan(&id, &caseID, &stored, &until)
		if err != nil {
			return err
		}
		if !hmac.Equal(stored, r.keys.codeHash(id, code)) || millis(r.now()) >= until {
			return ErrNotFound
		}
		if _, err := tx.ExecContext(ctx, "UPDATE families SET code = x'', code_until = 0 WHERE account_id = ?", id); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: "family.code_used", Case: caseID, Subject: string(id)})
	})
	if errors.Is(err, ErrNotFound) && id != "" {
		err = errors.Join(err, r.Record(ctx, Note{Action: "family.refused", Case: caseID, Subject: string(id)}))
	}
	if err != nil {
		return "", err
	}
	return id, nil
}

// NewCode makes a new code for a family's next device; the one before it ends.
func (r *Registry) NewCode(ctx context.Context, id AccountID) (code string, err error) {
	code = newCode()
	err = r.changeFamily(ctx, "make a code for "+string(id), id, "family.code_made", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE families SET code = ?, code_until = ? WHERE account_id = ?",
			r.keys.codeHash(id, code), millis(r.now().Add(CodeLife)), id)
		return err
	})
	if err != nil {
		return "", err
	}
	return code, nil
}

// NewLink makes a new link and a new code and ends the ones before: for a family whose link is in other hands. Its sessions
// end too.
func (r *Registry) NewLink(ctx context.Context, id AccountID) (link, code string, err error) {
	link, code = newID("hf_"), newCode()
	err = r.changeFamily(ctx, "make a link for "+string(id), id, "family.link_made", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE families SET link = ?, code = ?, code_until = ? WHERE account_id = ?",
			hashSecret(link), r.keys.codeHash(id, code), millis(r.now().Add(CodeLife)), id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE account_id = ?", id)
		return err
	})
	if err != nil {
		return "", "", err
	}
	return link, code, nil
}

// changeFamily changes what is kept of a family. ErrNotFound when there is no such family.
func (r *Registry) changeFamily(ctx context.Context, what string, id AccountID, action string, fn func(context.Context, *sql.Tx) error) error {
	return r.change(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		var caseID CaseID
		if err := tx.QueryRowContext(ctx, "SELECT case_id FROM families WHERE account_id = ?", id).Scan(&caseID); err != nil {
			return err
		}
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return r.audit(ctx, tx, Note{Action: action, Case: caseID, Subject: string(id)})
	})
}

// FamilyOf reads how to reach the family of a case. ErrNotFound when no family reported it.
func (r *Registry) FamilyOf(ctx context.Context, id CaseID) (AccountID, Contact, error) {
	what := "family of case " + string(id)
	var account AccountID
	var sealed []byte
	if err := r.readers.QueryRowContext(ctx, "SELECT account_id, contact FROM families WHERE case_id = ?", id).Scan(&account, &sealed); err != nil {
		return "", Contact{}, wrap(err, "%s", what)
	}
	c, err := r.keys.openContact(account, sealed)
	return account, c, wrap(err, "%s", what)
}

// SetContact changes how to reach a family. *FieldError as ReportCase; ErrNotFound when there is no such family.
func (r *Registry) SetContact(ctx context.Context, id AccountID, c Contact) error {
	what := "change the contact of " + string(id)
	if err := c.tidy(); err != nil {
		return wrap(err, "%s", what)
	}
	sealed, err := r.keys.sealContact(id, c)
	if err != nil {
		return wrap(err, "%s", what)
	}
	return r.changeFamily(ctx, what, id, "family.contact_changed", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE families SET contact = ? WHERE account_id = ?", sealed, id)
		return err
	})
}
