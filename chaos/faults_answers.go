package main

import (
	"context"

	"walpost/chaos/kafkaproxy"
)

// answerFaults are what a broker may answer a produce request, a fault for each code: in its place, or after it has appended, where its
// own answer may mean that too.
func answerFaults() []fault {
	all := []fault{
		{"Kafka: the connection dies after the append", 60, brief, func(ctx context.Context, r *round) error {
			return r.used(ctx)(r.toKafka.Swallow(1 + r.r.IntN(3)))
		}},
	}
	for _, code := range kafkaproxy.Retriable {
		all = append(all, fault{"Kafka answers " + code.Name, 4, brief, func(ctx context.Context, r *round) error {
			return r.used(ctx)(r.toKafka.Answer(code.Number, 1+r.r.IntN(3)))
		}})
		if code.Ambiguous { // after the others no broker has appended
			all = append(all, fault{"Kafka appends, and answers " + code.Name, 8, brief, func(ctx context.Context, r *round) error {
				return r.used(ctx)(r.toKafka.Mask(code.Number, 1+r.r.IntN(3)))
			}})
		}
	}
	return all
}

// used waits until produce requests have met a fault of the proxy's.
func (r *round) used(ctx context.Context) func(*kafkaproxy.Fault, error) error {
	return func(f *kafkaproxy.Fault, err error) error {
		if err != nil {
			return err
		}
		return f.Wait(ctx)
	}
}
