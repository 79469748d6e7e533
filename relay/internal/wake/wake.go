// Package wake wakes a goroutine that waits for a change. Several changes wake it once.
package wake

// Signal puts a token into c, a channel with a buffer of one, unless it has one already. It never blocks.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
