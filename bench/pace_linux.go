package main

import (
	"syscall"
	"time"
)

// sleep sleeps for d, to within about 0.1 ms. In an idle process time.Sleep can take up to a millisecond longer, and commits that should be
// 0.1 ms apart would come in bursts.
func sleep(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil) // it may be interrupted: the caller checks the clock anyway
}
