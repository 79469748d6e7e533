package main

import (
	"context"
	"time"

	"walpost/chaos/kafkaproxy"
)

// answerFaults are the errors that a broker may return to a produce request, a fault for each code. The proxy returns the error instead of
// the broker, or after the broker has appended the records if the code can mean that too.
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
		if code.Ambiguous { // the other codes promise that nothing was appended
			all = append(all, fault{"Kafka appends, and answers " + code.Name, 8, brief, func(ctx context.Context, r *round) error {
				return r.used(ctx)(r.toKafka.Mask(code.Number, 1+r.r.IntN(3)))
			}})
		}
	}
	for _, api := range kafkaproxy.OtherAPIs {
		for i, code := range api.Codes {
			traits := trait(0)
			if i == 0 {
				traits = brief
			}
			all = append(all, fault{"Kafka answers " + api.Name + " with " + code.Name, 2, traits, func(ctx context.Context, r *round) error {
				return r.deny(ctx, api, code.Number)
			}})
		}
	}
	return all
}

// deny restarts the relay and returns errors to the requests that it sends while it starts. A request that the relay does not repeat by itself
// is repeated after a cut of its connections.
func (r *round) deny(ctx context.Context, api *kafkaproxy.API, code int16) error {
	if err := r.relay.stop(ctx); err != nil {
		return err
	}
	f, err := r.toKafka.Deny(api, code, 1+r.r.IntN(3))
	if err != nil {
		return err
	}
	defer f.Cancel()
	if err := r.relay.start(); err != nil {
		return err
	}
	for {
		select {
		case <-f.Done():
			return nil
		case <-ctx.Done():
			return f.Wait(ctx)
		case <-time.After(200 * time.Millisecond):
			if err := r.toKafka.Cut(); err != nil {
				return err
			}
		}
	}
}

// used returns a function that waits until the requests that a fault of the proxy is for have been affected by it.
func (r *round) used(ctx context.Context) func(*kafkaproxy.Fault, error) error {
	return func(f *kafkaproxy.Fault, err error) error {
		if err != nil {
			return err
		}
		return f.Wait(ctx)
	}
}
