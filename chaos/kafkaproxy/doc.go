// Package kafkaproxy is a proxy between Kafka clients and a whole cluster. It
// has one loopback listener for each broker. It rewrites addresses in answers,
// so that clients always connect through the proxy.
//
// It knows where requests and answers begin and end. So it can imitate faults
// of a network and of brokers. It can cut, refuse and stall connections. It can
// return any error to a produce request, change or drop the answer to one that
// was appended, and deliver a request after its sender is dead. It can also
// return errors to requests for producer ids and metadata.
//
// Its clients must use plain text and no login. If it cannot parse something,
// it ends the connection, and [Cluster.Err] returns the error, so that a fault
// of the proxy is not taken for one of Kafka.
package kafkaproxy
