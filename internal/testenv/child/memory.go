package child

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PeakRSS is the largest resident set that a process has had so far, in bytes
// (VmHWM in Linux's /proc); 0 when that cannot be read, as elsewhere or after
// its end.
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
