//go:build !linux

package main

import "os"

// onReaderGone does nothing here: the next write fails if nothing reads stdout any more.
func onReaderGone(*os.File, func()) {}
