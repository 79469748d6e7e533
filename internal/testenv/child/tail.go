package child

import (
	"io"
	"os"
	"strings"
)

// tailBytes is enough for every log of a test and for the end of a long one.
const tailBytes = 1 << 20

// Tail is the end of a log file, at most a mebibyte; empty when there is no
// such file.
func Tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := file.Seek(-tailBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, _ := io.ReadAll(file)
	return string(text)
}

// LastLines are the last n lines of a log file, or as many as there are.
func LastLines(path string, n int) string {
	lines := strings.Split(strings.TrimSpace(Tail(path)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
