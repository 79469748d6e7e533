package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// balance is the books of all three databases: how often an order is in
// each, which is to be once in all or not at all.
type balance struct {
	committed  map[int64]int
	deducted   map[int64]int
	granted    map[int64]int
	void       map[int64]string // orders that never happened, and why
	duplicates int64            // met and ignored
}

// balance reads the books.
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
		return nil, fmt.Errorf("read the books: %w", err)
	}
	times := make(map[int64]int, len(ids))
	for _, id := range ids {
		times[id]++
	}
	return times, nil
}

// account closes the books; an error when they do not balance.
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

// missing counts the effects that committed orders have not had yet.
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

// differences says, order by order, what is not as it should be. It goes by
// orders and not by sums, in which a lost one and a double one would cancel.
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

// String is the balance in words.
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

// voids counts the orders that never happened, by what became of them.
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
