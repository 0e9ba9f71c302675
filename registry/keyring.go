package registry

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// keyring holds the keys of an open registry. Everything it seals is bound, as associated data, to what it belongs to,
// so that a sealed value moved to another row does not open.
type keyring struct {
	operator   tink.AEAD // seals the other keys
	biometrics tink.AEAD // seals templates and embeddings
	digest     []byte    // keys the digests that find duplicate photos
}

// Names of the sealed keys in the table meta.
const (
	metaDigest     = "digest_key"
	metaBiometrics = "biometrics_keyset"
)

// readOperatorKey opens the operator's key file.
func readOperatorKey(path string) (tink.AEAD, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing. Put back the operator's key this registry was made with, from its backup, or say where it is", ErrKey, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the operator's key: %w", err)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(raw)))
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not an operator's key (%w). Put back the one this registry was made with, from its backup", ErrKey, path, err)
	}
	a, err := aead.New(h)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not an operator's key (%w). Put back the one this registry was made with, from its backup", ErrKey, path, err)
	}
	return a, nil
}

// createOperatorKey writes a new operator's key unless the file is already there. It appears whole or not at all, and is
// durable when this returns.
func createOperatorKey(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("make the operator's key: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".operator-key-*") // 0600
	if err != nil {
		return fmt.Errorf("make the operator's key: %w", err)
	}
	defer os.Remove(f.Name())
	err = insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(f))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		// A link, unlike a rename, never replaces a key that someone else has put there meanwhile.
		if err = os.Link(f.Name(), path); errors.Is(err, os.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return wrap(err, "make the operator's key %s", path)
}

// newSealed makes the registry's own keys, sealed, by their names in meta.
func (k *keyring) newSealed() (map[string][]byte, error) {
	digest := make([]byte, sha256.Size)
	rand.Read(digest) // never fails
	sealedDigest, err := k.operator.Encrypt(digest, []byte(metaDigest))
	if err != nil {
		return nil, fmt.Errorf("seal the digest key: %w", err)
	}
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make the biometrics key: %w", err)
	}
	var sealed bytes.Buffer
	if err := h.WriteWithAssociatedData(keyset.NewBinaryWriter(&sealed), k.operator, []byte(metaBiometrics)); err != nil {
		return nil, fmt.Errorf("seal the biometrics key: %w", err)
	}
	return map[string][]byte{metaDigest: sealedDigest, metaBiometrics: sealed.Bytes()}, nil
}

// unseal opens the registry's own keys. ErrKey when the operator's key is not the one that sealed them.
func (k *keyring) unseal(sealed map[string][]byte) (err error) {
	const wrong = "%w: it is another registry's key, or not the newest. Put back the operator's key this registry was made with"
	if k.digest, err = k.operator.Decrypt(sealed[metaDigest], []byte(metaDigest)); err != nil {
		return fmt.Errorf(wrong, ErrKey)
	}
	h, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(sealed[metaBiometrics])), k.operator, []byte(metaBiometrics))
	if err != nil {
		return fmt.Errorf(wrong, ErrKey)
	}
	if k.biometrics, err = aead.New(h); err != nil {
		return fmt.Errorf("open the biometrics key: %w", err)
	}
	return nil
}

func (k *keyring) newDigest() hash.Hash { return hmac.New(sha256.New, k.digest) }

// newCaseKey makes the key of a new case's photos, sealed.
//
// Segments of 4 kB rather than Tink's other choice, 1 MB: an upload under way then costs kilobytes instead of megabytes,
// at 0.4 % more bytes on disk and, on processors with AES instructions, no measurable time.
func (k *keyring) newCaseKey(id CaseID) ([]byte, error) {
	h, err := keyset.NewHandle(streamingaead.AES256GCMHKDF4KBKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a case key: %w", err)
	}
	var sealed bytes.Buffer
	if err := h.WriteWithAssociatedData(keyset.NewBinaryWriter(&sealed), k.operator, []byte("case key of "+id)); err != nil {
		return nil, fmt.Errorf("seal a case key: %w", err)
	}
	return sealed.Bytes(), nil
}

// caseKey opens the key of a case's photos.
func (k *keyring) caseKey(id CaseID, sealed []byte) (tink.StreamingAEAD, error) {
	h, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(sealed)), k.operator, []byte("case key of "+id))
	if err != nil {
		return nil, fmt.Errorf("key of case %s: %w: %w", id, ErrCorrupt, err)
	}
	return streamingaead.New(h)
}

// kinds of sealed vectors.
const (
	kindTemplate  = "template"
	kindEmbedding = "embedding"
)

// sealVector seals a vector that belongs to a face under a model set or recogniser.
func (k *keyring) sealVector(kind string, face FaceID, under string, v []float32) ([]byte, error) {
	sealed, err := k.biometrics.Encrypt(floatBytes(v), vectorContext(kind, face, under))
	return sealed, wrap(err, "seal %s of face %s", kind, face)
}

func (k *keyring) openVector(kind string, face FaceID, under string, sealed []byte) ([]float32, error) {
	raw, err := k.biometrics.Decrypt(sealed, vectorContext(kind, face, under))
	if err != nil || len(raw)%4 != 0 {
		return nil, fmt.Errorf("%s of face %s under %s: %w", kind, face, under, ErrCorrupt)
	}
	return bytesFloats(raw), nil
}

// sealLook seals how a photo looks; nothing where that is unknown.
func (k *keyring) sealLook(photo PhotoID, look uint64) ([]byte, error) {
	if look == 0 {
		return []byte{}, nil
	}
	sealed, err := k.biometrics.Encrypt(binary.LittleEndian.AppendUint64(nil, look), lookContext(photo))
	return sealed, wrap(err, "seal the look of photo %s", photo)
}

// openLook is the look that sealLook sealed; 0 where it is unknown or damaged.
func (k *keyring) openLook(photo PhotoID, sealed []byte) uint64 {
	raw, err := k.biometrics.Decrypt(sealed, lookContext(photo))
	if err != nil || len(raw) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(raw)
}

func lookContext(photo PhotoID) []byte { return []byte("look\x00" + photo) }

func vectorContext(kind string, face FaceID, under string) []byte {
	return fmt.Appendf(nil, "%s\x00%s\x00%s", kind, face, under)
}

func floatBytes(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func bytesFloats(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}
