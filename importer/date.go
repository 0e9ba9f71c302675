package importer

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"

	"homeward/registry"
)

// dateForms are the ways in which a date is written, the year first.
var dateForms = []*regexp.Regexp{
	regexp.MustCompile(`^(?:大?约)?(\d{4})年?(?:左右|前后)?$`), // about a year is that year
	regexp.MustCompile(`^(\d{4})(?:[-/.]|年)(\d{1,2})月?$`),
	regexp.MustCompile(`^(\d{4})(?:[-/.]|年)(\d{1,2})(?:[-/.]|月)(\d{1,2})[日号]?$`),
	regexp.MustCompile(`^(\d{4})(\d{2})(\d{2})$`),
}

// timeOfDay is what spreadsheets put behind a date.
var timeOfDay = regexp.MustCompile(`[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?Z?$`)

// parseDate reads a date as people and spreadsheets write it, to the precision that it has; the empty text is the unknown date.
func parseDate(text string) (registry.Date, error) {
	plain := strings.Join(strings.Fields(timeOfDay.ReplaceAllString(text, "")), "")
	if plain == "" {
		return registry.Date{}, nil
	}
	for _, form := range dateForms {
		m := form.FindStringSubmatch(plain)
		if m == nil {
			continue
		}
		out := m[1]
		for _, part := range m[2:] {
			out += fmt.Sprintf("-%02s", part)
		}
		return registry.ParseDate(out)
	}
	return registry.Date{}, fmt.Errorf("date %.40q: %w: write the year first, as 2009, 2009-05 or 2009-05-17", text, registry.ErrInvalid)
}

// The numbers that a spreadsheet's cell may hold where a date is meant: years, and days since the turn of the century before the last.
const (
	lastYear   = 2200
	lastSerial = 109_574 // the end of 2199
)

// parseCell is parseDate for a cell of a spreadsheet as it is stored, which holds a day as a number. A small number is a year: days so
// early lie before 1906.
func parseCell(raw string, date1904 bool) (registry.Date, error) {
	n, err := strconv.ParseFloat(raw, 64)
	if err != nil || !(n > lastYear && n <= lastSerial) { // NaN too
		return parseDate(raw)
	}
	at, err := excelize.ExcelDateToTime(n, date1904)
	if err != nil {
		return registry.Date{}, fmt.Errorf("date %.40q: %w: %w", raw, registry.ErrInvalid, err)
	}
	return registry.DayOf(at.Truncate(24 * time.Hour)), nil
}
