package main

import (
	"syscall"
	"time"
)

// sleep sleeps to within about 0.1 ms. time.Sleep would oversleep by up to a millisecond on an idle process, and commits that are meant to be
// 0.1 ms apart would come in bursts.
func sleep(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil) // interrupted: the caller looks at the clock anyway
}
