package engine

import (
	"fmt"
	"math"
	"time"

	"homeward/models"
)

// ageModel estimates how old a face looks, from a distribution over the ages its card lists.
type ageModel struct{ net *network }

func openAge(cat *models.Catalogue, card models.Card) (*ageModel, error) {
	if len(card.Input.Shape) != 4 || len(card.Output.Ages) == 0 {
		return nil, fmt.Errorf("the card of age model %s lacks its input's four dimensions or its ages", card.Name)
	}
	net, err := openNetwork(cat, card)
	if err != nil {
		return nil, err
	}
	return &ageModel{net}, nil
}

// estimate returns the distribution's mean and standard deviation.
func (a *ageModel) estimate(v *view, spent *time.Duration) (Age, error) {
	chip := v.chip(a.net.card.Input, a.net.side())
	outputs, _, err := a.net.run([]*Image{chip}, spent)
	if err != nil {
		return Age{}, err
	}
	ages := a.net.card.Output.Ages
	if len(outputs[0]) != len(ages) {
		return Age{}, fmt.Errorf("age model %s answered with %d classes, not the %d of its card", a.net.card.Name,
			len(outputs[0]), len(ages))
	}
	return meanAge(probabilities(outputs[0]), ages), nil
}

// probabilities are the outputs themselves where they already are a distribution, or their softmax.
func probabilities(out []float32) []float64 {
	p := make([]float64, len(out))
	sum, top, negative := 0.0, math.Inf(-1), false
	for i, x := range out {
		p[i] = float64(x)
		sum += p[i]
		top = max(top, p[i])
		negative = negative || p[i] < 0
	}
	if !negative && math.Abs(sum-1) < 1e-3 {
		return p
	}
	sum = 0
	for i := range p {
		p[i] = math.Exp(p[i] - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

func meanAge(p []float64, ages []float32) Age {
	var mean, square float64
	for i, age := range ages {
		mean += p[i] * float64(age)
		square += p[i] * float64(age) * float64(age)
	}
	return Age{Years: float32(mean), SD: float32(math.Sqrt(max(0, square-mean*mean)))}
}
