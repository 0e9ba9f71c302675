package engine

import (
	"fmt"
	"os"
	"sync"
	"time"

	ort "github.com/yalue/onnxruntime_go"

	"homeward/models"
)

// startingRuntime guards ONNX Runtime, of which a process has one, for as long as it lives.
var startingRuntime sync.Mutex

// startRuntime loads ONNX Runtime from the library at path unless the process already has it.
func startRuntime(path string) error {
	startingRuntime.Lock()
	defer startingRuntime.Unlock()
	if ort.IsInitialized() {
		return nil
	}
	ort.SetSharedLibraryPath(path)
	// The library would report its use to its maker, keeping a database of it in the user's cache. Nothing leaves Homeward:
	// it is told so before it starts, by the only means it reads then, and once more after.
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return fmt.Errorf("silence ONNX Runtime: %w", err)
	}
	if err := ort.InitializeEnvironment(ort.WithLogLevelError()); err != nil {
		return fmt.Errorf("loading ONNX Runtime from %s: %w; run scripts/setup", path, err)
	}
	if err := ort.DisableTelemetry(); err != nil {
		return fmt.Errorf("silence ONNX Runtime: %w", err)
	}
	return nil
}

// network is an ONNX model as its card describes it. Safe for concurrent use.
type network struct {
	card    models.Card
	session *ort.DynamicAdvancedSession
}

// openNetwork loads the card's first file.
func openNetwork(cat *models.Catalogue, card models.Card) (*network, error) {
	if card.Input.Scale == 0 || len(card.Output.Names) == 0 || (len(card.Input.Mean) != 1 && len(card.Input.Mean) != 3) {
		return nil, fmt.Errorf("the card of model %s lacks its input's mean or scale, or its outputs' names", card.Name)
	}
	options, err := ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("preparing model %s: %w", card.Name, err)
	}
	defer options.Destroy()
	for _, set := range []error{
		// One core a photo: we work on several photos at once instead.
		options.SetIntraOpNumThreads(1),
		options.SetInterOpNumThreads(1),
		options.SetExecutionMode(ort.ExecutionModeSequential),
		options.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		// Photos come in every shape: a plan of memory per shape, and an arena that never shrinks, would only grow.
		options.SetMemPattern(false),
		options.SetCpuMemArena(false),
		options.AddSessionConfigEntry("session.set_denormal_as_zero", "1"),
	} {
		if set != nil {
			return nil, fmt.Errorf("preparing model %s: %w", card.Name, set)
		}
	}
	path := cat.Path(card.Files[0])
	session, err := ort.NewDynamicAdvancedSession(path, []string{card.Input.Name}, card.Output.Names, options)
	if err != nil {
		return nil, fmt.Errorf("loading model %s from %s: %w; run scripts/setup", card.Name, path, err)
	}
	return &network{card, session}, nil
}

func (n *network) close() error { return n.session.Destroy() }

// side is the width and height of the square chip that the model takes.
func (n *network) side() int {
	if n.card.Input.Layout == "NHWC" {
		return n.card.Input.Shape[1]
	}
	return n.card.Input.Shape[len(n.card.Input.Shape)-1]
}

// batch is how many chips one run may take: 0 for any number.
func (n *network) batch() int { return max(0, n.card.Input.Shape[0]) }

// run puts pictures of one size through the model. The outputs are in the card's order, each flattened; their lengths
// are found from the model. spent grows by the time the model itself took.
func (n *network) run(pictures []*Image, spent *time.Duration) ([][]float32, []ort.Shape, error) {
	width, height := pictures[0].Width, pictures[0].Height
	size := 3 * width * height
	data := make([]float32, size*len(pictures))
	for i, im := range pictures {
		fill(data[i*size:(i+1)*size], im, n.card.Input)
	}
	shape := ort.NewShape(int64(len(pictures)), 3, int64(height), int64(width))
	if n.card.Input.Layout == "NHWC" {
		shape = ort.NewShape(int64(len(pictures)), int64(height), int64(width), 3)
	}
	input, err := ort.NewTensor(shape, data)
	if err != nil {
		return nil, nil, fmt.Errorf("preparing the input of model %s: %w", n.card.Name, err)
	}
	defer input.Destroy()
	outputs := make([]ort.Value, len(n.card.Output.Names))
	defer func() {
		for _, out := range outputs {
			if out != nil {
				out.Destroy()
			}
		}
	}()
	start := time.Now()
	err = n.session.Run([]ort.Value{input}, outputs)
	*spent += time.Since(start)
	if err != nil {
		return nil, nil, fmt.Errorf("running model %s: %w", n.card.Name, err)
	}
	values, shapes := make([][]float32, len(outputs)), make([]ort.Shape, len(outputs))
	for i, out := range outputs {
		tensor, ok := out.(*ort.Tensor[float32])
		if !ok {
			return nil, nil, fmt.Errorf("output %s of model %s is not float32", n.card.Output.Names[i], n.card.Name)
		}
		// The slice is Go's own and outlives the tensor.
		values[i], shapes[i] = tensor.GetData(), tensor.GetShape()
	}
	return values, shapes, nil
}

// fill writes a picture as the model's input wants it: (byte − mean) / scale in its colour order and layout.
func fill(to []float32, im *Image, in models.Input) {
	var table [3][256]float32
	for c := range 3 {
		mean := in.Mean[c%len(in.Mean)]
		for b := range 256 {
			table[c][b] = (float32(b) - mean) / in.Scale
		}
	}
	// Channel c of the input is channel from(c) of our RGB.
	from := func(c int) int {
		if in.Colour == "BGR" {
			return 2 - c
		}
		return c
	}
	n := im.Width * im.Height
	for c := range 3 {
		values := &table[c]
		start, step := c*n, 1
		if in.Layout == "NHWC" {
			start, step = c, 3
		}
		for i, at := from(c), start; i < len(im.Pix); i, at = i+3, at+step {
			to[at] = values[im.Pix[i]]
		}
	}
}
