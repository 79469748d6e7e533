package main

import (
	"os"
	"syscall"
)

// onReaderGone calls gone when nobody can read any more what is written to f, if f is something that is read: a pipe, a terminal. The watch
// lasts as long as the process.
func onReaderGone(f *os.File, gone func()) {
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return
	}
	// No events: only errors and hang-ups are told, and they always are. A file is refused.
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
