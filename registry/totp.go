package registry

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"
)

// Codes are what every authenticator makes without being told more: RFC 6238 with SHA-1, six digits, thirty seconds.
const (
	codeIssuer = "Homeward"
	codeSecret = 20 // bytes
	codePeriod = 30 // seconds
	codeSkew   = 1  // steps that a clock may be off
	// codeAhead is how many steps the last code used may lie ahead of now. One further ahead was used while the clock was
	// wrong, and must not lock its owner out until then.
	codeAhead = 10
)

var codeOptions = hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}

func codeText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// codeURL is what an authenticator scans.
func codeURL(login string, secret []byte) (string, error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: codeIssuer, AccountName: login, Secret: secret})
	if err != nil {
		return "", fmt.Errorf("make the address for the authenticator: %w", err)
	}
	return key.URL(), nil
}

// matchCode finds the step that a code is of; used is the step of the last code used.
func matchCode(secret []byte, code string, at time.Time, used int64) (step int64, ok bool) {
	code = strings.Join(strings.Fields(code), "") // authenticators show "123 456"
	text, now := codeText(secret), at.Unix()/codePeriod
	for s := now - codeSkew; s <= now+codeSkew; s++ {
		if right, err := hotp.ValidateCustom(code, uint64(s), text, codeOptions); err == nil && right && (s > used || used > now+codeAhead) {
			return s, true
		}
	}
	return 0, false
}

func (k *keyring) newTOTP(id AccountID) (sealed []byte, err error) {
	secret := make([]byte, codeSecret)
	rand.Read(secret) // never fails
	sealed, err = k.biometrics.Encrypt(secret, totpContext(id))
	return sealed, wrap(err, "seal the codes of %s", id)
}

func (k *keyring) openTOTP(id AccountID, sealed []byte) ([]byte, error) {
	secret, err := k.biometrics.Decrypt(sealed, totpContext(id))
	if err != nil {
		return nil, fmt.Errorf("codes of %s: %w", id, ErrCorrupt)
	}
	return secret, nil
}

func totpContext(id AccountID) []byte { return []byte("totp of " + id) }

// spendCode accepts a code of an account that is not disabled and whose password is still the one that was checked, once.
// ErrNotFound when the code is not good.
func (r *Registry) spendCode(ctx context.Context, id AccountID, password, code string) error {
	return r.change(ctx, "check code", func(ctx context.Context, tx *sql.Tx) error {
		var sealed []byte
		var used int64
		err := tx.QueryRowContext(ctx, "SELECT totp, totp_step FROM accounts WHERE id = ? AND password = ? AND totp <> x'' AND disabled_at = 0",
			id, password).Scan(&sealed, &used)
		if err != nil {
			return err
		}
		secret, err := r.keys.openTOTP(id, sealed)
		if err != nil {
			return err
		}
		step, ok := matchCode(secret, code, r.now(), used)
		if !ok {
			return ErrNotFound
		}
		_, err = tx.ExecContext(ctx, "UPDATE accounts SET totp_step = ? WHERE id = ?", step, id)
		return err
	})
}
