// Package metadata keeps the latest metadata of a cluster: its brokers, the partitions of topics, the partitions' leaders, and the largest
// batch that a topic accepts.
//
// A [Cache] asks brokers in refreshes. A caller that needs something joins the next refresh, and may wait for its end. However many callers
// join, there is one request for all of them. Only one refresh runs at a time, and a pause follows it: ten thousand partitions that have
// lost their leader ask as often as one does. Reading what is known needs no request:
//
//	c := metadata.New(metadata.NewBrokers(splicer, cfg, servers), changed)
//	go c.Run(ctx)
//	<-c.Refresh("orders", metadata.Settings)  // closed when the refresh is over, with or without an answer
//	n, err := c.Partitions("orders")
//	b, err := c.Leader("orders", 3)           // the cache has not connected to this broker; the caller may have
//
// The cache does not decide what a change means. It connects to brokers only to ask them.
package metadata
