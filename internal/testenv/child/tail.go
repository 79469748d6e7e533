package child

import (
	"io"
	"os"
	"strings"
)

// tailBytes is enough for the whole log of a test, or for the end of a long log.
const tailBytes = 1 << 20

// Tail returns the end of a log file, at most a mebibyte; "" if the file does not exist.
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

// LastLines returns the last n lines of a log file, or all lines if there are fewer.
func LastLines(path string, n int) string {
	lines := strings.Split(strings.TrimSpace(Tail(path)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
