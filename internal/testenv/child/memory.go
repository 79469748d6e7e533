package child

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PeakRSS returns the largest resident set size of a process so far, in bytes (VmHWM in Linux's /proc). It returns 0 if that cannot be
// read: on other systems, or after the process has ended.
func PeakRSS(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}
