package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// balance counts how often each order is in the three databases. It must be
// once in each of them, or in none.
type balance struct {
	committed  map[int64]int
	deducted   map[int64]int
	granted    map[int64]int
	void       map[int64]string // orders that were not committed, and why
	duplicates int64            // that the services ignored
}

// balance reads the three databases.
func (s *scene) balance(ctx context.Context) (b balance, err error) {
	b.void = s.orders.voided()
	if b.committed, err = tally(ctx, s.orders.dsn, `select id from orders`); err != nil {
		return b, err
	}
	if b.deducted, err = tally(ctx, s.stock.dsn, s.stock.read); err != nil {
		return b, err
	}
	if b.granted, err = tally(ctx, s.points.dsn, s.points.read); err != nil {
		return b, err
	}
	b.duplicates = s.stock.duplicates.Load() + s.points.duplicates.Load()
	return b, nil
}

func tally(ctx context.Context, dsn, sql string) (map[int64]int, error) {
	ids, err := query[int64](ctx, dsn, sql)
	if err != nil {
		return nil, fmt.Errorf("read the orders for the balance: %w", err)
	}
	times := make(map[int64]int, len(ids))
	for _, id := range ids {
		times[id]++
	}
	return times, nil
}

// account shows the balance. It returns an error if the balance does not hold.
func (s *scene) account(ctx context.Context) error {
	b, err := s.balance(ctx)
	if err != nil {
		return err
	}
	s.screen.balance(b)
	if len(b.differences()) > 0 {
		return errors.New("the balance does not hold")
	}
	return nil
}

// missing returns how many effects of committed orders are missing.
func (b balance) missing() (n int) {
	for id := range b.committed {
		for _, effects := range []map[int64]int{b.deducted, b.granted} {
			if effects[id] == 0 {
				n++
			}
		}
	}
	return n
}

// differences lists the orders that are wrong. It compares orders and not sums,
// because in a sum a lost order and a double one would cancel out.
func (b balance) differences() []string {
	ids := maps.Clone(b.committed)
	maps.Copy(ids, b.deducted)
	maps.Copy(ids, b.granted)
	var found []string
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		committed, deducted, granted := b.committed[id], b.deducted[id], b.granted[id]
		why, void := b.void[id]
		if committed == deducted && committed == granted && !void {
			continue
		}
		text := fmt.Sprintf("order #%d: committed %d, deducted %d, granted %d", id, committed, deducted, granted)
		if void {
			text += ", though it was " + why
		}
		found = append(found, text)
	}
	return found
}

// String returns the balance in words.
func (b balance) String() string {
	sign := func(x, y int) string {
		if x == y {
			return "="
		}
		return "≠"
	}
	deducted, granted, committed := sum(b.deducted), sum(b.granted), sum(b.committed)
	text := fmt.Sprintf("stock deducted %d %s points granted %d %s orders committed %d, duplicates met and ignored: %d",
		deducted, sign(deducted, granted), granted, sign(granted, committed), committed, b.duplicates)
	if len(b.differences()) == 0 {
		text += fmt.Sprintf("\nthe balance holds; without effect, as it should be: %s", b.voids())
	} else {
		text += "\nthe balance does not hold:"
	}
	return text
}

// voids counts the orders that were not committed, by reason.
func (b balance) voids() string {
	counts := map[string]int{}
	for _, why := range b.void {
		counts[why]++
	}
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[why], why))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func sum(times map[int64]int) (n int) {
	for _, t := range times {
		n += t
	}
	return n
}
