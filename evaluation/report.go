package evaluation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
)

// formatVersion changes when a name in the JSON does, or what it stands for.
const formatVersion = 2

// WriteJSON writes everything but photos' paths. Names in it are fixed. An interval stands beside its figure as <name>_ci,
// [low, high]; what cannot be given is null.
func (r *Result) WriteJSON(w io.Writer) error {
	var folds []any
	for _, f := range r.Folds {
		folds = append(folds, object{{"set", f.Set.object()}, {"comparers", f.comparers(false)}})
	}
	names := make([]string, 0, len(r.Comparers))
	for _, m := range r.Comparers {
		names = append(names, m.Name)
	}
	without := []any{}
	for _, p := range r.WithoutFace {
		without = append(without, object{{"name", p.Name}, {"subject", p.Subject}, {"problem", p.Problem}})
	}
	o := object{
		{"version", formatVersion},
		{"set", r.Set.object()},
		{"seed", r.Options.Seed},
		{"options", object{
			{"set", r.Options.Set}, {"bootstrap", r.Options.Bootstrap}, {"folds", len(r.Folds)},
			{"distractors", len(r.Options.Distractors)}, {"fpir", r.Options.fpir()},
		}},
		{"comparer_order", names},
		{"comparers", r.comparers(true)},
		{"hardest", object{{"comparer", names[0]}, {"mated", hardObjects(r.HardestMated)}, {"non_mated", hardObjects(r.HardestNonMated)}}},
		{"without_face", without},
		{"folds", append([]any{}, folds...)},
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	out.WriteByte('\n')
	_, err = out.WriteTo(w)
	return err
}

// object is a JSON object whose names keep their order.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members in order. A Figure becomes two; a float64 that is no finite number becomes null.
func (o object) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	put := func(name string, value any) error {
		if out.Len() > 0 {
			out.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		out.Write(key)
		out.WriteByte(':')
		out.Write(raw)
		return nil
	}
	for _, m := range o {
		var err error
		switch v := m.value.(type) {
		case Figure:
			if err = put(m.name, number(v.Value)); err == nil {
				var ci any
				if !math.IsNaN(v.Low) {
					ci = []number{number(v.Low), number(v.High)}
				}
				err = put(m.name+"_ci", ci)
			}
		case float64:
			err = put(m.name, number(v))
		default:
			err = put(m.name, v)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(append([]byte{'{'}, out.Bytes()...), '}'), nil
}

// number is null where it is not finite.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', 6, 64), nil
}

func numbers(v []float64) []number { return pick(v, func(x float64) number { return number(x) }) }

// power writes a rate as the names in the JSON do: 0.01 is 1e-2.
func power(rate float64) string {
	s := strconv.FormatFloat(rate, 'e', -1, 64)
	mantissa, exponent := s[:len(s)-4], s[len(s)-4:] // as in e-02
	if exponent[2] == '0' {
		exponent = exponent[:2] + exponent[3:]
	}
	return mantissa + exponent
}

func (i SetInfo) object() object {
	return object{
		{"photos", i.Photos}, {"without_face", i.WithoutFace}, {"subjects", i.Subjects}, {"subjects_with_two_photos", i.SubjectsWithTwo},
		{"with_age", i.Aged}, {"young", i.Young}, {"old", i.Old},
		{"distractors", i.Distractors}, {"distractors_without_face", i.DistractorsWithoutFace},
	}
}

// comparers has everything, or only the figures that are given for each fold.
func (r *Result) comparers(whole bool) object {
	var out object
	for _, m := range r.Comparers {
		var verification, identification object
		for _, b := range Bands() {
			verification = append(verification, member{b, m.Verification[b].object()})
		}
		for _, p := range Protocols() {
			identification = append(identification, member{p, m.Identification[p].object(whole)})
		}
		o := object{{"log_lr", m.LogLR}, {"verification", verification}, {"identification", identification}}
		if whole {
			o = append(o, member{"by_age_of_younger", rowObjects(m.ByAge)}, member{"by_gap", rowObjects(m.ByGap)})
		}
		var calibration any
		if m.Calibration != nil {
			var c object
			for _, b := range Bands() {
				c = append(c, member{b, m.Calibration[b].object(whole && b == "all")})
			}
			calibration = c
		}
		o = append(o, member{"calibration", calibration})
		if whole {
			mated, nonMated := m.distribution()
			det := []any{}
			for _, p := range m.DET {
				if !math.IsNaN(p.FRR) {
					det = append(det, object{{"far", p.FAR}, {"frr", p.FRR}})
				}
			}
			o = append(o,
				member{"distribution", object{{"from", m.mated.from}, {"to", m.mated.to}, {"mated", mated}, {"non_mated", nonMated}}},
				member{"det", det})
		}
		out = append(out, member{m.Name, o})
	}
	return out
}

func (v *Verification) object() object {
	var out object
	for r, oneIn := range FARs() {
		out = append(out, member{"tar_far_" + power(1/float64(oneIn)), v.TAR[r]})
	}
	out = append(out, member{"mated", v.Mated}, member{"non_mated", v.NonMated})
	for r, oneIn := range FARs() {
		out = append(out, member{"threshold_far_" + power(1/float64(oneIn)), v.Threshold[r]})
	}
	return out
}

func (f *Identification) object(whole bool) object {
	var out object
	for k, r := range Ranks() {
		out = append(out, member{"rank" + strconv.Itoa(r), f.Rank[k]})
	}
	out = append(out, member{"probes", f.Probes}, member{"gallery", f.Gallery},
		member{"probes_without_face", f.ProbesWithoutFace}, member{"gallery_without_face", f.GalleryWithoutFace})
	for _, q := range f.FNIR {
		out = append(out, member{"fnir_fpir_" + power(q.FPIR), q.FNIR})
	}
	if whole {
		out = append(out, member{"cmc", numbers(f.CMC)})
		if f.ByAge != nil {
			out = append(out, member{"by_age", searchRowObjects(f.ByAge)}, member{"by_gap", searchRowObjects(f.ByGap)})
		}
		if f.ByLooks != nil {
			out = append(out, member{"by_looks", searchRowObjects(f.ByLooks)})
		}
	}
	if c := f.WithDistractors; c != nil {
		var with object
		for k, r := range Ranks() {
			with = append(with, member{"rank" + strconv.Itoa(r), c.Rank[k]})
		}
		with = append(with, member{"distractors", c.Distractors})
		for k, r := range Ranks() {
			with = append(with, member{"rank" + strconv.Itoa(r) + "_fall", c.Fall[k]})
		}
		if whole {
			with = append(with, member{"cmc", numbers(c.CMC)})
		}
		out = append(out, member{"with_distractors", with})
	}
	return out
}

func (c *Calibration) object(whole bool) object {
	out := object{{"cllr", c.Cllr}, {"min_cllr", c.MinCllr}, {"ece", c.ECE}}
	if !whole {
		return out
	}
	bins := []any{}
	for _, b := range c.Reliability {
		bins = append(bins, object{
			{"log10_lr_from", b.From}, {"log10_lr_to", b.To}, {"mated", b.Mated}, {"non_mated", b.NonMated},
			{"stated_log10_lr", b.Stated}, {"empirical_log10_lr", b.Empirical},
		})
	}
	return append(out, member{"reliability", bins})
}

func rowObjects(rows []Row) []any {
	out := []any{}
	for _, r := range rows {
		out = append(out, object{
			{"years", r.Class}, {"mated", r.Mated}, {"non_mated", r.NonMated},
			{"tar_far_1e-3_of_all", r.TAR}, {"far_realised", r.FAR}, {"cllr", r.Cllr},
		})
	}
	return out
}

func searchRowObjects(rows []SearchRow) []any {
	out := []any{}
	for _, r := range rows {
		o := object{{"band", r.Class}, {"probes", r.Probes}, {"subjects", r.Subjects}}
		for k, rank := range Ranks() {
			o = append(o, member{"rank" + strconv.Itoa(rank), r.Rank[k]})
		}
		for _, q := range r.FNIR {
			o = append(o, member{"fnir_fpir_" + power(q.FPIR), q.FNIR})
		}
		out = append(out, o)
	}
	return out
}

func hardObjects(pairs []HardPair) []any {
	out := []any{}
	photo := func(p Photo) object {
		age := math.NaN()
		if p.Age >= 0 {
			age = p.Age
		}
		return object{{"name", p.Name}, {"subject", p.Subject}, {"age", age}, {"side", p.Side}}
	}
	for _, p := range pairs {
		out = append(out, object{{"score", p.Score}, {"a", photo(p.A)}, {"b", photo(p.B)}})
	}
	return out
}

// distributionBins divides fineBins.
const distributionBins = 64

// distribution is the share of mated and of non-mated pairs in equal bins of score.
func (m *Measures) distribution() (mated, nonMated []number) {
	coarse := func(h histogram) []number {
		out := make([]float64, distributionBins)
		total := 0
		for i, n := range h.bins {
			out[i*distributionBins/len(h.bins)] += float64(n)
			total += n
		}
		for i := range out {
			out[i] /= float64(max(total, 1))
		}
		return numbers(out)
	}
	return coarse(m.mated), coarse(m.nonMated)
}
