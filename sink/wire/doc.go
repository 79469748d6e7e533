// Package wire connects to brokers and sends them produce requests with batches that walpost has encoded itself.
//
// sarama encodes, sends and receives requests, matches answers to them, and logs in. It has no public way to send a batch that it did not
// encode. So a [Splicer] dials the connections for sarama. When sarama writes a produce request with a placeholder, the connection replaces
// the placeholder by our batches; see splice.go. A produce request that cannot be replaced is never sent.
//
//	s := NewSplicer(access)
//	cfg, err := s.SaramaConfig(clientID)
//	link, err := s.Link(addr, cfg)
//	err = link.Produce(parts, answered)
//	link.Close()
//	s.Close()
//
// [Size] measures a request while it is built, before the version in which it is sent is known.
//
// The package also finds out why a listener closes connections ([Splicer.CheckListener]), disconnects from a broker that hangs
// ([Splicer.Avoid]), and asks brokers a few questions. It retries nothing, keeps no order among requests, and does not know what a batch
// contains: its caller does all that.
package wire
