package models

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Fingerprint stands for everything in a card that changes the numbers the model produces: its task, what runs it, the
// checksums of its files, its input and its output. Its name, its licence and where its files come from do not count.
// A field that a later version adds leaves the fingerprint as it was wherever it is left out. 16 hexadecimal digits.
func (c Card) Fingerprint() string {
	numbers := struct {
		Task   Task
		Engine string
		SHA256 []string
		Input  Input
		Output Output
	}{c.Task, c.Engine, nil, c.Input, c.Output}
	for _, f := range c.Files {
		numbers.SHA256 = append(numbers.SHA256, f.SHA256)
	}
	// Its fields are numbers, strings and lists of them, which always marshal, and always to the same bytes.
	data, err := json.Marshal(numbers)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
