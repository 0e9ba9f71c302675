package match

import (
	"fmt"
	"math"
)

// Band is how strongly evidence speaks, in words. The steps are those of the ENFSI guideline for evaluative reporting in
// forensic science (2015), table 2.
type Band string

const (
	AgainstStrong Band = "strong_against"
	Against       Band = "moderate_against"
	AgainstWeak   Band = "weak_against"
	Neutral       Band = "neutral"
	Weak          Band = "weak"
	Moderate      Band = "moderate"
	FairlyStrong  Band = "fairly_strong"
	Strong        Band = "strong"
)

// BandOf is the band of a log-LR.
func BandOf(logLR float64) Band {
	switch bans := logLR / math.Ln10; {
	case bans < -2:
		return AgainstStrong
	case bans < -1:
		return Against
	case bans < -math.Log10(2):
		return AgainstWeak
	case bans < math.Log10(2):
		return Neutral
	case bans < 1:
		return Weak
	case bans < 2:
		return Moderate
	case bans < 3:
		return FairlyStrong
	}
	return Strong
}

// Words say what a log-LR means; faces names what was compared: "These faces are", "The records are". most is the largest
// log-LR that the data support.
func Words(logLR, most float64, what string) string {
	if math.Abs(logLR) < math.Ln2 {
		return what + " about as likely if this is the same child as if these are two different children."
	}
	more := "about "
	if math.Abs(logLR) >= most {
		logLR = math.Copysign(most, logLR)
		more = "more than "
	}
	if logLR > 0 {
		return fmt.Sprintf("%s %s%s times more likely if this is the same child than if these are two different children.", what, more, Times(logLR))
	}
	return fmt.Sprintf("%s %s%s times more likely if these are two different children than if this is the same child.", what, more, Times(-logLR))
}

// Times is a likelihood ratio with the one or two digits that it deserves.
func Times(logLR float64) string {
	r := math.Exp(logLR)
	if r < 10 {
		return fmt.Sprintf("%.0f", r)
	}
	step := math.Pow(10, math.Floor(math.Log10(r)))
	n := int(math.Round(r/step) * step)
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
