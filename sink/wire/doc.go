// Package wire connects to brokers and sends them produce requests whose batches are ours.
//
// sarama encodes, sends and receives requests, correlates their answers and logs in. It has no public way to send a batch that it did not
// encode, so a [Splicer] dials the connections for sarama and replaces a placeholder by our bytes when a produce request passes; see
// splice.go. A produce request that cannot be replaced is never sent.
//
//	s := NewSplicer(access)
//	cfg, err := s.SaramaConfig(clientID, false) // for sarama.NewClient or Connect
//	err = s.Produce(broker, parts, answered)    // a broker that was made with cfg
//	s.Close()
//
// A request that is being gathered is measured by [Size], before it is known in which version it will be sent.
//
// The package also finds out why a listener hangs up ([Splicer.CheckListener]), leaves a broker that hangs ([Splicer.Avoid]), and asks the
// few questions that a client does not answer. It retries nothing, keeps no order among requests and knows nothing of what is in a batch:
// that is its caller's.
package wire
