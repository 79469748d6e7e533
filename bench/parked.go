package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/poll"
	"walpost/internal/testenv/program"
)

// parkSlot is the slot of the relay that parks events before a backlog is filled.
const parkSlot = "bench_park"

// smallLimit is a max.message.bytes that refuses the rows of parkKeys, and nothing else.
const smallLimit = "2000"

// parkKeys parks an event for each of n keys: the topic takes small records only, and the relay reads an event that is larger for each key.
// Then the topic takes all records again. None of the keys is one of the load or of a backlog.
func (r *rig) parkKeys(ctx context.Context, b *backlog, slot, topic, file string, env []string, n int) (err error) {
	if err := r.limitRecords(ctx, topic, smallLimit); err != nil {
		return err
	}
	relay, err := r.start(file, b, slot, topic, env...)
	if err != nil {
		return err
	}
	defer relay.Kill()
	defer func() {
		if err != nil {
			err = fmt.Errorf("park %d keys: %w\n%s", n, err, child.Tail(relay.Log))
		}
	}()
	if _, err := b.awaitReader(ctx, slot, relay.Done()); err != nil {
		return err
	}
	_, err = b.conn.Exec(ctx, `INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
		SELECT 'order', 'parked-'||k, 'parked', to_jsonb((SELECT string_agg(md5(k::text||i), '') FROM generate_series(1, 250) i)) FROM generate_series(1, $1) k`, n)
	if err != nil {
		return err
	}
	if err := poll.Until(ctx, func() (bool, error) {
		var have int
		err := b.conn.QueryRow(ctx, "SELECT count(*) FROM walpost.dead_letters WHERE slot = $1 AND state = 'head'", slot).Scan(&have)
		select {
		case <-relay.Done():
			return false, fmt.Errorf("walpost ended after %d", have)
		default:
			return have == n, err
		}
	}); err != nil {
		return err
	}
	if err := stop(ctx, relay); err != nil {
		return err
	}
	return r.limitRecords(ctx, topic, "1048588") // Kafka's default
}

// parkBefore parks n keys in a new database, and moves its base slot past their events, so that the backlog which is committed next has no
// event that a topic refuses.
func (r *rig) parkBefore(ctx context.Context, b *backlog, n int) error {
	topic, err := r.newTopic(ctx)
	if err != nil {
		return err
	}
	if _, err := b.conn.Exec(ctx, "SELECT pg_copy_logical_replication_slot('"+baseSlot+"', '"+parkSlot+"')"); err != nil {
		return err
	}
	if err := r.parkKeys(ctx, b, parkSlot, topic, r.walpost, nil, n); err != nil {
		return err
	}
	if _, err := b.conn.Exec(ctx, "TRUNCATE walpost.outbox"); err != nil { // fill counts its rows
		return err
	}
	if _, err := b.conn.Exec(ctx, "SELECT pg_replication_slot_advance('"+baseSlot+"', pg_current_wal_flush_lsn())"); err != nil {
		return err
	}
	return b.drop(ctx, parkSlot)
}

// copyParked gives a slot and its topic the dead letters that parkBefore made, as if the slot's relay had parked them.
func (b *backlog) copyParked(ctx context.Context, slot, topic string) error {
	_, err := b.conn.Exec(ctx, `INSERT INTO walpost.dead_letters (slot, topic, position, event_id, partition, key, type, value, header_names, header_values, record_timestamp, reason, detail)
		SELECT $1, $2, position, event_id, partition, key, type, value, header_names, header_values, record_timestamp, reason, detail
		FROM walpost.dead_letters WHERE slot = '`+parkSlot+`'`, slot, topic)
	return err
}

// mustPark fails unless a relay has n keys parked: otherwise the run shows nothing.
func mustPark(ctx context.Context, relay *program.Relay, n int) error {
	metrics, err := relay.Metrics(ctx)
	if err == nil && int(metrics["walpost_parked_keys"]) != n {
		err = fmt.Errorf("the relay has %v parked keys at the end of the run, want %d", metrics["walpost_parked_keys"], n)
	}
	return err
}

// limitRecords sets a topic's max.message.bytes.
func (r *rig) limitRecords(ctx context.Context, topic, bytes string) error {
	c, err := r.newClient()
	if err != nil {
		return err
	}
	defer c.Close()
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "max.message.bytes", &bytes
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.Configs = append(resource.Configs, config)
	req := kmsg.NewIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, resource)
	res, err := req.RequestWith(ctx, c)
	if err == nil {
		err = kerr.ErrorForCode(res.Resources[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("set max.message.bytes of topic %s: %w", topic, err)
	}
	return nil
}
