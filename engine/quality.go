package engine

import (
	"math"
	"slices"
)

// The limits of quality. Each pair is where a face is hopeless and where it is as good as it needs to be; between them
// its worth grows evenly. They are lenient on purpose: an old, small, faded print may be all that a family has, and only
// a face below the first of a pair is kept from searching.
const (
	// Distance between the eyes in pixels of the original. Recognisers see 35 on their chip; below 6, a face some 15
	// pixels wide, they see a smear. ISO/IEC 19794-5 asks 60 of a passport photo.
	hopelessSize, enoughSize = 6, 32
	// Variance of the Laplacian over the aligned chip, of 8-bit luminance. Portraits have 100 to 1,000.
	hopelessSharpness, enoughSharpness = 4, 80
	// Degrees of yaw from the landmarks; pitch counts with it.
	hopelessYaw, enoughYaw = 80, 30
	// The detector's score.
	hopelessScore, enoughScore = 0.3, 0.7
	// poor is the worth below which a part of quality is named as a reason.
	poor = 0.5
)

// Text is the reason in words for the family, with what to do about it.
func (r Reason) Text() string {
	switch r {
	case TooSmall:
		return "The face is too small: send a larger photo or one taken closer."
	case TooBlurred:
		return "The face is blurred: send a sharper photo, or the original instead of a copy or a screenshot."
	case TurnedAway:
		return "The face is turned away: send a photo that shows it from the front."
	case Uncertain:
		return "It is not certain that this is a face: send a photo that shows it whole and well lit."
	}
	return "The face is hard to make out: send another photo of it."
}

// assess judges a face from its geometry in the photo and from its aligned chip.
func assess(chip *Image, landmarks [5]Point, score float32) Quality {
	q := Quality{
		Size:       distance(landmarks[0], landmarks[1]),
		Sharpness:  sharpness(chip),
		Searchable: true,
	}
	q.Yaw, q.Pitch, q.Roll = pose(landmarks)
	turned := max(abs(q.Yaw), abs(q.Pitch))
	// Eyes close together because the head is turned do not make the face small.
	q.Overall = 1
	for _, part := range []struct {
		worth  float32
		reason Reason
	}{
		{between(q.Size/max(0.5, cosDegrees(q.Yaw)), hopelessSize, enoughSize), TooSmall},
		{between(q.Sharpness, hopelessSharpness, enoughSharpness), TooBlurred},
		{between(turned, hopelessYaw, enoughYaw), TurnedAway},
		{between(score, hopelessScore, enoughScore), Uncertain},
	} {
		q.Overall *= part.worth
		if part.worth < poor {
			q.Reasons = append(q.Reasons, part.reason)
		}
		if part.worth <= 0 {
			q.Searchable = false
		}
	}
	// A small face is blurred on its chip because it was enlarged: one advice is enough.
	if slices.Contains(q.Reasons, TooSmall) {
		q.Reasons = slices.DeleteFunc(q.Reasons, func(r Reason) bool { return r == TooBlurred })
	}
	return q
}

// between is 0 at hopeless, 1 at enough, and even in between; hopeless may be the larger.
func between(x, hopeless, enough float32) float32 {
	return min(1, max(0, (x-hopeless)/(enough-hopeless)))
}

// pose estimates yaw, pitch and roll in degrees from the landmarks, each good to some ten degrees; positive yaw is to
// the viewer's right, positive pitch down, positive roll clockwise. In units of the distance between the eyes an average
// head has the tip of its nose noseOut in front of the eyes and noseDown below them, its mouth mouthOut and mouthDown.
func pose(landmarks [5]Point) (yaw, pitch, roll float32) {
	const noseOut, noseDown, mouthOut, mouthDown = 0.5, 0.57, 0.2, 1.16
	left, right, nose := landmarks[0], landmarks[1], landmarks[2]
	ax, ay := float64(right.X-left.X), float64(right.Y-left.Y)
	eyes := math.Hypot(ax, ay)
	if eyes == 0 {
		return 0, 0, 0
	}
	ax, ay = ax/eyes, ay/eyes
	// along and below measure from between the eyes, along their line and at right angles to it.
	mx, my := float64(left.X+right.X)/2, float64(left.Y+right.Y)/2
	along := func(x, y float64) float64 { return (x-mx)*ax + (y-my)*ay }
	below := func(x, y float64) float64 { return -(x-mx)*ay + (y-my)*ax }
	nx, ny := float64(nose.X), float64(nose.Y)
	mouthX, mouthY := float64(landmarks[3].X+landmarks[4].X)/2, float64(landmarks[3].Y+landmarks[4].Y)/2

	degrees := func(tan float64) float32 { return float32(math.Atan(tan) * 180 / math.Pi) }
	yaw = degrees(along(nx, ny) / eyes / noseOut)
	roll = float32(math.Atan2(ay, ax) * 180 / math.Pi)
	// The tilt t (its tangent) moves nose and mouth unequally: nose / mouth = (noseDown + noseOut·t) / (mouthDown + mouthOut·t).
	if mouth := below(mouthX, mouthY); mouth > 0 {
		ratio := min(2, max(0, below(nx, ny)/mouth))
		pitch = degrees((mouthDown*ratio - noseDown) / (noseOut - mouthOut*ratio))
	} else {
		pitch = 90
	}
	return yaw, pitch, roll
}

// sharpness is the variance of the four-neighbour Laplacian of luminance over the middle of a chip, where the face is
// and the black of beyond the photo's edge is not.
func sharpness(chip *Image) float32 {
	margin := chip.Width / 6
	luma := func(x, y int) float64 {
		p := chip.Pix[3*(y*chip.Width+x):]
		return 0.299*float64(p[0]) + 0.587*float64(p[1]) + 0.114*float64(p[2])
	}
	var sum, squares, n float64
	for y := max(1, margin); y < chip.Height-max(1, margin); y++ {
		for x := max(1, margin); x < chip.Width-max(1, margin); x++ {
			l := luma(x-1, y) + luma(x+1, y) + luma(x, y-1) + luma(x, y+1) - 4*luma(x, y)
			sum += l
			squares += l * l
			n++
		}
	}
	if n == 0 {
		return 0
	}
	mean := sum / n
	return float32(squares/n - mean*mean)
}

func cosDegrees(x float32) float32 { return float32(math.Cos(float64(x) * math.Pi / 180)) }
