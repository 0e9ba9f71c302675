package engine

import "time"

// Analysis is everything the engine finds in one photo. Coordinates are in pixels of the photo at full size after its
// orientation has been applied, so they hold for every rendition once scaled.
type Analysis struct {
	Format        string    // "jpeg", "png", "webp", "tiff", "heif" (HEIC and AVIF)
	Width, Height int       // after orientation
	TakenAt       time.Time // EXIF DateTimeOriginal as local time without a zone; zero when the photo does not say
	Faces         []Face    // largest first
	Look          uint64    // how the photo looks as a whole, see LooksSame; 0 is unknown
	Timing        Timing
}

// Point is a position in the photo.
type Point struct {
	X float32 `json:"x"`
	Y float32 `json:"y"`
}

// Box is a face's rectangle in the photo; it may reach past the photo's edge.
type Box struct {
	X      float32 `json:"x"`
	Y      float32 `json:"y"`
	Width  float32 `json:"width"`
	Height float32 `json:"height"`
}

func (b Box) scaled(k float32) Box { return Box{b.X * k, b.Y * k, b.Width * k, b.Height * k} }

func scaled(landmarks [5]Point, k float32) [5]Point {
	for i, p := range landmarks {
		landmarks[i] = Point{p.X * k, p.Y * k}
	}
	return landmarks
}

// Face is one detected face.
type Face struct {
	Box Box
	// Landmarks are, as seen by the viewer: left eye, right eye, nose tip, left and right mouth corner.
	Landmarks [5]Point
	Score     float32 // the detector's, 0..1
	Age       Age
	Quality   Quality
	// Embeddings holds one per recogniser of the model set, in the set's order.
	Embeddings []Embedding
	// Chip is the face aligned to 112×112 pixels, where the engine was asked to keep it; not to be written to.
	Chip *Image
}

// Age is an estimate in years with its spread (one standard deviation of the model's distribution).
type Age struct {
	Years float32
	SD    float32
}

// Embedding is a recogniser's raw output for a face, before any centring or fusion. Vector is nil where the recogniser
// could not work on the face (the fusion then treats it as neutral).
type Embedding struct {
	Recogniser string
	Vector     []float32
}

// Quality says how far a face can be trusted to search with.
type Quality struct {
	Overall   float32 // 0 (useless) .. 1 (a sharp, frontal, large face)
	Size      float32 // distance between the eyes, in pixels of the original
	Sharpness float32 // variance of the Laplacian over the aligned chip
	Yaw       float32 // degrees, from the landmarks; 0 is frontal
	Pitch     float32
	Roll      float32
	// Searchable is false when the face is too poor to search or be found with; Reasons then says why.
	Searchable bool
	Reasons    []Reason
}

// Reason is why a face's quality is low, as a stable code; Text is the plain-language sentence.
type Reason string

const (
	TooSmall   Reason = "too_small"
	TooBlurred Reason = "too_blurred"
	TurnedAway Reason = "turned_away"
	Uncertain  Reason = "uncertain" // the detector itself is not sure
)
