// Package wake wakes a goroutine that waits for a change, whoever made it and however many there were.
package wake

// Signal leaves a token in c, a channel with room for one, unless one is there. It never blocks.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
