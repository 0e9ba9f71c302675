package registry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
)

// Sign makes a token by which this registry knows its own words again; what keeps one use of it apart from another.
func (r *Registry) Sign(what, words string) string {
	key := hmac.New(sha256.New, r.keys.digest)
	key.Write([]byte("homeward sign 1"))
	h := hmac.New(sha256.New, key.Sum(nil))
	h.Write([]byte(what + "\x00" + words))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Signed says whether a token was made by Sign of the same.
func (r *Registry) Signed(what, words, token string) bool {
	return hmac.Equal([]byte(token), []byte(r.Sign(what, words)))
}
