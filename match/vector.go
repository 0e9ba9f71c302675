package match

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
)

// Vector is numbers that a file keeps as base64 of little-endian float32: a tenth of the size of digits, and exact.
type Vector []float32

// MarshalText implements encoding.TextMarshaler.
func (v Vector) MarshalText() ([]byte, error) {
	raw, err := binary.Append(nil, binary.LittleEndian, []float32(v))
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(nil, raw), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *Vector) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("numbers in base64: %w", err)
	}
	if len(raw)%4 != 0 {
		return fmt.Errorf("numbers in base64: %d bytes are no whole number of float32", len(raw))
	}
	*v = make(Vector, len(raw)/4)
	_, err = binary.Decode(raw, binary.LittleEndian, []float32(*v))
	return err
}

func dot(a, b []float32) float64 {
	// Four sums side by side: the processor need not wait for one addition to begin the next.
	var s0, s1, s2, s3 float32
	n := len(a) &^ 3
	b = b[:len(a)]
	for i := 0; i < n; i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for i := n; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return float64(s0+s1) + float64(s2+s3)
}

// scaleTo gives v the length wanted, or says that it has none to scale.
func scaleTo(v []float32, length float64) bool {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	norm := math.Sqrt(sum)
	if norm < 1e-12 || math.IsNaN(norm) || math.IsInf(norm, 0) {
		return false
	}
	for i := range v {
		v[i] = float32(float64(v[i]) * length / norm)
	}
	return true
}

func finite(v []float32) bool {
	for _, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return false
		}
	}
	return true
}
