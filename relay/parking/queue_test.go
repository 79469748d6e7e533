package parking

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"walpost/internal/reason"
	"walpost/schema"
)

// blockedLetter returns a letter that waits for a topic.
func blockedLetter(topic string, n uint64, value string) *schema.DeadLetter {
	return &schema.DeadLetter{Topic: topic, Key: []byte(fmt.Sprint("k", n%7)), Value: []byte(value), At: at(n), Tx: n, Timestamp: int64(n), Partition: -1, Blocked: true,
		Code: reason.TopicBlocked, Detail: "topic_missing: no", Held: besidesRecord + 100 + len(value)}
}

// len returns the number of letters.
func (q *queue) len() int {
	n := len(q.front)
	for _, s := range q.back {
		if n += len(s.letters); s.pack != nil {
			n += s.pack.count
		}
	}
	return n
}

// A queue fills a transaction, however its letters are kept.
func TestQueueFills(t *testing.T) {
	var q queue
	for n := uint64(1); n <= 2*mostLetters; n++ {
		q.pushPacked(blockedLetter("t", n, "v"))
		if got, want := q.fills(), n >= mostLetters; got != want {
			t.Fatalf("%d letters: %t", n, got)
		}
	}
	if q.back[0].pack == nil {
		t.Error("none is packed")
	}
	for q.fills() {
		if q.pick(); q.picked != mostLetters {
			t.Errorf("it fills with %d letters", q.picked)
		}
		q.drop(q.picked)
	}
	if q.len() >= mostLetters {
		t.Errorf("%d letters are left", q.len())
	}
}

// A letter that was packed is the same afterwards.
func TestPackedLetter(t *testing.T) {
	headers := func(all ...schema.DeadHeader) func(func(schema.DeadHeader) bool) {
		return func(yield func(schema.DeadHeader) bool) {
			for _, h := range all {
				if !yield(h) {
					return
				}
			}
		}
	}
	long := []byte(strings.Repeat("é", 5000))
	var in []*schema.DeadLetter
	for _, v := range [][]byte{nil, {}, {0}, []byte("x"), long} {
		for _, n := range []uint64{0, 1, 127, 128, math.MaxUint32, math.MaxInt64} {
			in = append(in, &schema.DeadLetter{Topic: "t", Detail: "why", Blocked: true, Code: reason.TopicBlocked, Key: v, Value: v, EventID: v, Type: v,
				At: schema.Position{Timeline: uint32(n), LSN: n<<1 | 1, Index: uint32(n) / 2}, Tx: n, Held: int(n), Partition: int32(n/2) - 1, Timestamp: int64(n) - 1,
				Headers: headers(schema.DeadHeader{Name: []byte("a"), Value: v}, schema.DeadHeader{Name: []byte{}, Value: nil}, schema.DeadHeader{Name: []byte("b"), Value: []byte("1")})})
		}
	}
	in = append(in, &schema.DeadLetter{Topic: "u", Blocked: true, Code: reason.TopicBlocked, Timestamp: schema.NoTime, Partition: math.MaxInt32}, &schema.DeadLetter{Topic: "u", Detail: "other", Blocked: true, Code: reason.TopicBlocked, Timestamp: math.MaxInt64})
	var q queue
	k := &pack{buf: make([]byte, 0, 1<<20)}
	for _, l := range in {
		if !q.pack(k, l) {
			t.Fatal("no room")
		}
	}
	out := k.letters()
	if len(out) != len(in) || k.count != len(in) || k.lowest != 0 {
		t.Fatalf("%d letters of %d, count %d, lowest %d", len(out), len(in), k.count, k.lowest)
	}
	collect := func(l *schema.DeadLetter) (all []schema.DeadHeader) { return slices.Collect(l.EachHeader()) }
	for i := range in {
		if got, want := collect(out[i]), collect(in[i]); !reflect.DeepEqual(got, want) {
			t.Errorf("letter %d has the headers %v, want %v", i, got, want)
		}
		for range out[i].EachHeader() { // it may be read in part, and again
			break
		}
		a, b := *in[i], *out[i]
		a.Headers, b.Headers = nil, nil
		if !reflect.DeepEqual(a, b) {
			t.Errorf("letter %d is\n%+v, want\n%+v", i, b, a)
		}
	}
	full := &pack{buf: make([]byte, 0, 10)}
	if q.pack(full, in[0]) || full.count != 0 || len(full.buf) != 0 {
		t.Error("a letter is added beyond the room")
	}
}

// The letters of a queue stay in their order, whatever is packed, picked, written, not written, and taken out.
func TestQueueKeepsTheOrder(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		var q queue
		var want []*schema.DeadLetter // copies
		n, held := uint64(0), 0
		check := func(what string) {
			t.Helper()
			lowest, found := q.lowestTx()
			if found != (len(want) > 0) || found && lowest != slices.MinFunc(want, func(a, b *schema.DeadLetter) int { return int(a.Tx) - int(b.Tx) }).Tx {
				t.Fatalf("seed %d, %s: the lowest transaction is %d", seed, what, lowest)
			}
			if q.len() != len(want) || q.empty() != (len(want) == 0) {
				t.Fatalf("seed %d, %s: %d letters, want %d", seed, what, q.len(), len(want))
			}
		}
		for range 60 {
			switch r.IntN(6) {
			case 0, 1, 2: // a batch comes
				topic, size := fmt.Sprint("t", r.IntN(3)), r.IntN(400)
				packed := r.IntN(4) > 0
				for range r.IntN(900) {
					n++
					l := blockedLetter(topic, n, strings.Repeat("x", size))
					if r.IntN(500) == 0 {
						l.Value = make([]byte, 70_000) // it holds more than it says
					}
					l.Blocked = packed
					held += l.Held
					want = append(want, l)
					c := *l
					if packed {
						held -= q.pushPacked(&c)
					} else {
						q.push(&c)
					}
				}
			case 3, 4: // a transaction
				got := q.pick()
				if len(got) != min(len(want), len(got)) || len(got) == 0 && len(want) > 0 {
					t.Fatalf("seed %d: %d letters of %d are picked", seed, len(got), len(want))
				}
				bytes := 0
				for i, l := range got {
					bytes += l.Held
					if l.At != want[i].At || l.Topic != want[i].Topic || len(l.Value) != len(want[i].Value) || l.Blocked != want[i].Blocked {
						t.Fatalf("seed %d: letter %s instead of %s", seed, l.At, want[i].At)
					}
				}
				if len(got) > mostLetters || bytes-mostBytes > 1<<20 {
					t.Fatalf("seed %d: %d letters with %d bytes in one transaction", seed, len(got), bytes)
				}
				if r.IntN(3) > 0 { // else it fails
					held -= bytes
					want = want[len(got):]
					q.drop(len(got))
				}
			default: // the last step of a topic
				topic := fmt.Sprint("t", r.IntN(3))
				if !q.unpack(topic, 1<<20) {
					break
				}
				picked := q.picked
				var rest, taken []*schema.DeadLetter
				for i, l := range want {
					if i >= picked && l.Topic == topic {
						taken = append(taken, l)
					} else {
						rest = append(rest, l)
					}
				}
				got := q.take(func(l *schema.DeadLetter) bool { return l.Topic == topic })
				if len(got) != len(taken) {
					t.Fatalf("seed %d: %d letters of %d are taken", seed, len(got), len(taken))
				}
				for i, l := range got {
					held -= l.Held
					if l.At != taken[i].At {
						t.Fatalf("seed %d: letter %s is taken instead of %s", seed, l.At, taken[i].At)
					}
				}
				want = rest
			}
			check("then")
		}
		for len(want) > 0 {
			got := q.pick()
			for _, l := range got {
				held -= l.Held
			}
			want = want[len(got):]
			q.drop(len(got))
			check("in the end")
		}
		if held != 0 {
			t.Fatalf("seed %d: %d bytes are held by nothing", seed, held)
		}
	}
}

// Letters of topics take little more memory than what they are said to hold.
func TestQueueIsSmall(t *testing.T) {
	for _, c := range []struct{ topics, value int }{{1, 0}, {1, 300}, {2, 0}} {
		heap := func() int {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		var q queue
		before := heap()
		const letters = 100_000
		contents, more := 0, 0
		for i := range uint64(letters) {
			l := blockedLetter(fmt.Sprint("t", i%uint64(c.topics)), i, strings.Repeat("x", c.value))
			contents += int(l.Size())
			q.push() // as Park does
			more += besidesRecord - q.pushPacked(l)
		}
		if took, most := heap()-before, contents+more; took > most {
			t.Errorf("%d topics, values of %d bytes: %d bytes of memory for %d of contents, want %d at most", c.topics, c.value, took, contents, most)
		}
		if n := more / letters; n > 80 {
			t.Errorf("each letter counts %d bytes more", n)
		}
		runtime.KeepAlive(q)
	}
}
