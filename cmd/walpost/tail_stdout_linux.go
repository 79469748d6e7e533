package main

import (
	"os"
	"syscall"
)

// onReaderGone calls gone when nothing can read from f any more, if f is a pipe or a terminal. It watches f as long as the process runs.
func onReaderGone(f *os.File, gone func()) {
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return
	}
	// No events are asked for: epoll always reports errors and hang-ups, and nothing else is of interest. It refuses a regular file.
	if err := syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, int(f.Fd()), &syscall.EpollEvent{}); err != nil {
		syscall.Close(poll)
		return
	}
	go func() {
		defer syscall.Close(poll)
		events := make([]syscall.EpollEvent, 1)
		for {
			switch n, err := syscall.EpollWait(poll, events, -1); {
			case n > 0:
				gone()
				return
			case err != nil && err != syscall.EINTR:
				return
			}
		}
	}()
}
