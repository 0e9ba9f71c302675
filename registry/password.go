package registry

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// Parameters of new hashes: OWASP's least for argon2id. A stored hash says its own, so that they can grow.
const (
	hashMemory  = 19 * 1024 // KiB
	hashTime    = 2
	hashThreads = 1
	hashSalt    = 16
	hashLength  = 32
)

// hashesAtOnce bounds the memory that a flood of sign-ins takes.
const hashesAtOnce = 2

// noPassword is a hash that takes as long to check as any other. Nobody has its password, and nobody is let in by it.
const noPassword = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// tidyPassword is a password as it is hashed: the same characters, however the keyboard put them together.
func tidyPassword(password string) string { return norm.NFKC.String(password) }

// newPassword checks a password that someone chooses for an account.
func newPassword(a Account, password string) (string, error) {
	if !utf8.ValidString(password) {
		return "", &FieldError{"password", "is not valid UTF-8; choose another one"}
	}
	password = tidyPassword(password)
	first, _ := utf8.DecodeRuneInString(password)
	switch n := utf8.RuneCountInString(password); {
	case n < MinPassword:
		return "", &FieldError{"password", fmt.Sprintf("has %d characters; choose one of at least %d, such as four words", n, MinPassword)}
	case n > MaxPassword:
		return "", &FieldError{"password", fmt.Sprintf("has %d characters; choose one of at most %d", n, MaxPassword)}
	case strings.Trim(password, string(first)) == "":
		return "", &FieldError{"password", "is one character over and over; choose another one, such as four words"}
	}
	for _, known := range []string{a.Login, a.Name} {
		if strings.EqualFold(strings.TrimSpace(password), tidyPassword(known)) {
			return "", &FieldError{"password", "is your login or your name; choose another one, such as four words"}
		}
	}
	return password, nil
}

// hash waits for its turn and computes argon2id.
func (r *Registry) hash(ctx context.Context, password string, salt []byte, memory, time uint32, threads uint8, length int) ([]byte, error) {
	select {
	case r.hashing <- struct{}{}:
		defer func() { <-r.hashing }()
		return argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(length)), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hashPassword is what is stored of a password, in PHC's format.
func (r *Registry) hashPassword(ctx context.Context, password string) (string, error) {
	salt := make([]byte, hashSalt)
	rand.Read(salt) // never fails
	sum, err := r.hash(ctx, password, salt, hashMemory, hashTime, hashThreads, hashLength)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashThreads,
		b64.EncodeToString(salt), b64.EncodeToString(sum)), nil
}

// checkPassword says whether a password is the one that was stored.
func (r *Registry) checkPassword(ctx context.Context, stored, password string) (bool, error) {
	var version int
	var memory, time uint32
	var threads uint8
	var rest string
	_, err := fmt.Sscanf(stored, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s", &version, &memory, &time, &threads, &rest)
	salt64, sum64, _ := strings.Cut(rest, "$")
	salt, errSalt := base64.RawStdEncoding.DecodeString(salt64)
	sum, errSum := base64.RawStdEncoding.DecodeString(sum64)
	// A row that was tampered with must not take the machine's memory or its time.
	if err != nil || errSalt != nil || errSum != nil || len(sum) == 0 || version != argon2.Version ||
		memory > 1<<20 || time < 1 || time > 100 || threads < 1 {
		return false, fmt.Errorf("password hash: %w", ErrCorrupt)
	}
	got, err := r.hash(ctx, tidyPassword(password), salt, memory, time, threads, len(sum))
	return err == nil && subtle.ConstantTimeCompare(got, sum) == 1, err
}
