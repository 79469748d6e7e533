// Package kafkaproxy stands between Kafka's clients and a whole cluster: one
// loopback listener for each broker, and answers rewritten so that clients
// come back through it wherever metadata sends them.
//
// It knows where requests and answers begin and end. So it can do to a
// cluster what a network and a failing broker do: cut connections, refuse
// them, let them stall, answer a produce request with any error, change the
// answer to one that was appended, lose it, deliver a request after its sender
// is dead, or deny producer ids and metadata.
//
// Its clients speak plain text and do not log in. What it cannot parse ends
// the connection and is told by [Cluster.Err]: a fault that nobody asked for
// must not pass for one of Kafka's.
package kafkaproxy
