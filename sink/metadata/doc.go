// Package metadata keeps what the brokers of a cluster said of it last: who they are, which partitions topics have, who leads these, and how
// large a batch a topic takes.
//
// A [Cache] asks in looks. Whoever wants to know something joins the next look and waits for its end, or does not wait. However many
// join, there is one request for all of them, one look at a time, and a pause after each: ten thousand partitions that have lost their
// leader ask as often as one. What is known is read without a request:
//
//	c := metadata.New(metadata.NewBrokers(splicer, cfg, servers), changed)
//	go c.Run(ctx)
//	<-c.Look("orders", metadata.Settings)     // closed when the look is over, whatever came of it
//	n, err := c.Partitions("orders")
//	b, err := c.Leader("orders", 3)           // a broker that nobody has connected to yet, or the caller has
//
// The cache does not decide what a change means, and it connects to no broker but for asking.
package metadata
