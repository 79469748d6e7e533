// Package bytesize formats numbers of bytes for people.
//
// It is for screens and messages: the text is rounded and cannot be read back. A size in a configuration is config.Size.
package bytesize

import "fmt"

// Format returns n in the largest binary unit that is not larger than n, with one decimal: 17.0 MiB. Numbers below 1024 are in bytes.
func Format(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d bytes", n)
	}
	f, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for i, u := range units {
		if f /= unit; f < unit || i == len(units)-1 {
			return fmt.Sprintf("%.1f %s", f, u)
		}
	}
	panic("no unit") // the loop ends with the last one
}
