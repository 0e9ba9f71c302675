package engine

import "time"

// oldestPhoto is the year of the first photograph that survives.
const oldestPhoto = 1826

// takenAt reads when a photo was taken out of its EXIF fields DateTimeOriginal and, failing that, DateTimeDigitized,
// as local time without a zone (in UTC). DateTime, which every editor rewrites, is not asked. It is zero where the photo
// does not say, or says what cannot be: cameras that lost their clock write zeros or years to come.
func takenAt(original, digitised string, now time.Time) time.Time {
	const layout = "2006:01:02 15:04:05"
	for _, field := range []string{original, digitised} {
		if len(field) < len(layout) {
			continue
		}
		t, err := time.Parse(layout, field[:len(layout)])
		if err == nil && t.Year() >= oldestPhoto && t.Before(now.Add(24*time.Hour)) {
			return t
		}
	}
	return time.Time{}
}
