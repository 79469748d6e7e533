package sink

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
	"walpost/schema"
	"walpost/sink/lane"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// inPartition makes event i for a partition, with a payload of this many bytes that do not compress.
func inPartition(topic string, partition, i, bytes int) *schema.Event {
	ev := event(topic, "k"+strconv.Itoa(partition), i)
	ev.Values[schema.Partition] = strconv.AppendInt(nil, int64(partition), 10)
	if bytes > 0 {
		noise := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(partition)})
		ev.Values[schema.Payload] = make([]byte, bytes)
		_, _ = noise.Read(ev.Values[schema.Payload])
	}
	return ev
}

// openGated opens a producer that reaches a scripted broker through a gate.
func openGated(t *testing.T, partitions int, change func(*Config)) (*Producer, *gate, *ledger, *logLines, *scripted) {
	t.Helper()
	b := newScripted(t, "orders", int32(partitions))
	g := newGate(t, b, "orders", int32(partitions))
	log, acks := new(logLines), newLedger()
	cfg := config(t, []string{g.addr})
	cfg.Logger, cfg.Codec = log.logger(), recordbatch.None
	if change != nil {
		change(&cfg)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.all())
		}
	})
	return open(t, cfg, acks), g, acks, log, b
}

// round publishes one event for each partition, with numbers from first on.
func round(t *testing.T, p *Producer, next *int, first, partitions int) {
	t.Helper()
	for n := first; n < partitions; n++ {
		publish(t, p, inPartition("orders", n, *next, 0), uint64(*next))
		*next++
	}
	p.Flush(false)
}

// No request is larger than max.request.size as it is sent, unless it has a single event. This holds for every codec, with events that do
// not compress, and with batches that are sealed before it is known that they do not fit.
func TestRequestsKeepToMaxRequestSize(t *testing.T) {
	for _, codec := range []recordbatch.Codec{recordbatch.None, recordbatch.Snappy, recordbatch.LZ4, recordbatch.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			const most, partitions = 20_000, 12
			p, g, acks, _, _ := openGated(t, partitions, func(c *Config) { c.MaxRequestSize, c.Codec = most, codec })
			r := rand.New(rand.NewPCG(1, 2))
			events := 0
			for range 60 {
				for range 1 + r.IntN(80) {
					size := r.IntN(2500)
					if r.IntN(50) == 0 {
						size = most - 500 + r.IntN(1000)
					}
					publish(t, p, inPartition("orders", r.IntN(partitions), events, size), uint64(events))
					events++
				}
				p.Flush(false)
				acks.wait(t, events, 0) // otherwise every batch fills a request
			}
			g.checkSequences(t)
			shared, alone := 0, 0
			for _, r := range g.passed {
				if r.bytes > most && (len(r.batches) > 1 || r.batches[0].count > 1) {
					t.Errorf("a request of %d bytes with %d batches, the first of %d events", r.bytes, len(r.batches), r.batches[0].count)
				}
				if r.bytes > most {
					alone++
				}
				if r.bytes > most*3/4 && len(r.batches) > 1 {
					shared++
				}
			}
			t.Logf("%d of %d requests are of one event that is larger, %d of several batches are nearly full", alone, len(g.passed), shared)
			if alone == 0 || shared < 3 {
				t.Errorf("%d events alone were larger, and %d requests of several batches nearly full: this proves little", alone, shared)
			}
		})
	}
}

// The event comes together with one for each neighbour. They fail together, and are tried again together: the neighbours must not wait
// behind it.
func TestNeighboursOfAnEventThatEndsConnections(t *testing.T) {
	for _, partitions := range []int{10, 200} {
		t.Run(strconv.Itoa(partitions), func(t *testing.T) {
			t.Parallel()
			const limit = 100_000
			p, g, acks, log, _ := openGated(t, partitions, nil)
			next := 0
			round(t, p, &next, 0, partitions)
			acks.wait(t, next, 0)
			g.hangsUp(above(limit))
			began := time.Now()
			publish(t, p, inPartition("orders", 0, 1_000_000, limit+50_000), 1_000_000)
			round(t, p, &next, 1, partitions)
			acks.wait(t, next, 0)
			if took := time.Since(began); took > lonePause/2 {
				t.Errorf("the neighbours waited for %v", took)
			}
			if cuts, _ := g.counts(); cuts > 12 {
				t.Errorf("%d connections ended before the neighbours were acked", cuts)
			}
			until(t, "the event's name", func() bool {
				round(t, p, &next, 1, partitions)
				acks.wait(t, next, 0)
				return log.says("waiting for partition 0 of topic orders", "reason="+string(reason.RequestCut))()
			})
			if took := time.Since(began); took > lonePause {
				t.Errorf("the event was named after %v", took)
			}
		})
	}
}

// An event whose request ends the connection is found, and named with the cure. It is not refused, and waits. The other events flow, over a
// connection that no longer ends. When the limit is raised, the event arrives, in its order.
func TestEventThatEndsConnectionsIsNamed(t *testing.T) {
	const partitions, limit = 6, 30_000
	p, g, acks, log, b := openGated(t, partitions, nil)
	next := 0
	round(t, p, &next, 0, partitions)
	acks.wait(t, next, 0)
	g.hangsUp(above(limit))
	p.topics["orders"].warned.due(reason.KafkaUnreachable) // somebody was warned of something else
	publish(t, p, inPartition("orders", 0, 1_000_000, limit+10_000), 1_000_000)
	p.Flush(false)
	until(t, "the first attempt", func() bool { n, _ := g.counts(); return n > 0 })
	publish(t, p, inPartition("orders", 0, 1_000_001, 0), 1_000_001) // waits behind it
	until(t, "the event's name", func() bool {
		round(t, p, &next, 1, partitions)
		acks.wait(t, next, 0)
		return log.says("waiting for partition 0 of topic orders", "reason="+string(reason.RequestCut), "event 01000000", "key k0",
			"request of 40", "socket.request.max.bytes")()
	})
	cuts, shared := g.counts()
	if cuts > 12 {
		t.Errorf("%d connections ended before the event was named", cuts)
	}
	waits := p.metrics.waits()
	if len(waits) != 1 || waits[0].Code != reason.RequestCut || waits[0].Cure == "" {
		t.Errorf("status: %+v", waits)
	}
	before := time.Now()
	for range 100 {
		round(t, p, &next, 1, partitions)
		acks.wait(t, next, 0)
	}
	until(t, "another attempt", func() bool { n, _ := g.counts(); return n > cuts })
	t.Logf("500 events of the others took %v, %d connections ended", time.Since(before), cuts)
	if _, now := g.counts(); now != shared {
		t.Errorf("%d connections that others use ended after the event was named", now-shared)
	}
	if n := log.count("reason=" + string(reason.RequestCut)); n != 1 {
		t.Errorf("%d warnings within a minute", n)
	}
	// A request that is known to be too large is not tried over the shared connection.
	publish(t, p, inPartition("orders", partitions-1, 1_000_003, limit+20_000), 1_000_003)
	p.Flush(false)
	second := (*p.topics["orders"].partitions.Load())[partitions-1].lane // the log has one line a minute
	until(t, "the other event's name", func() bool {
		_, err := second.Waiting()
		return err != nil && strings.Contains(err.Error(), "event 01000003")
	})
	if _, now := g.counts(); now != shared {
		t.Errorf("%d connections that others use ended for a second event", now-shared)
	}
	if _, rejected := acks.total(); rejected > 0 {
		t.Errorf("rejected: %v", acks.rejected)
	}
	g.hangsUp(nil)
	acks.wait(t, next+3, 0)
	g.checkSequences(t)
	if n := asked[*sarama.InitProducerIDRequest](b); n != 1 {
		t.Errorf("%d producer ids", n)
	}
	// A request of that size is sent the usual way again.
	publish(t, p, inPartition("orders", 0, 1_000_002, limit+10_000), 1_000_002)
	p.Flush(false)
	acks.wait(t, next+4, 0)
	until(t, "the sender to forget", func() bool { return !p.anySender().knowsOfHangUps() })
}

// anySender returns the only sender.
func (p *Producer) anySender() *sender {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.senders {
		return s
	}
	return nil
}

func (s *sender) knowsOfHangUps() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hangUps.row > 0 || s.hangUps.bound > 0 || len(s.apart) > 0 || s.apartRuns
}

// A batch of several events whose request ends the connection is divided, and later batches of its topic are smaller.
func TestBatchThatEndsConnectionsIsDivided(t *testing.T) {
	const partitions, limit, large = 4, 30_000, 100
	p, g, acks, log, _ := openGated(t, partitions, nil)
	next := 0
	round(t, p, &next, 0, partitions)
	acks.wait(t, next, 0)
	g.hangsUp(above(limit))
	for i := range large {
		publish(t, p, inPartition("orders", 0, 1_000_000+i, 1000), uint64(1_000_000+i))
	}
	p.Flush(false)
	until(t, "the large batch", func() bool {
		round(t, p, &next, 1, partitions)
		acks.wait(t, next, 0)
		return log.says("taking a new producer id", "partition=0")()
	})
	acks.wait(t, next+large, 0)
	acks.mu.Lock()
	order := slices.DeleteFunc(slices.Clone(acks.order), func(tx uint64) bool { return tx < 1_000_000 })
	acks.mu.Unlock()
	if !slices.IsSorted(order) || len(order) != large {
		t.Errorf("acked: %v", order)
	}
	if n := p.topics["orders"].limit.Load(); n > int64(p.cfg.MaxRequestSize)/4 {
		t.Errorf("batches may still have %d bytes", n)
	}
	if log.says("waiting for", "reason="+string(reason.RequestCut))() {
		t.Error("an event is blamed")
	}
}

// If there is only one lane, it is suspected after a while: no other lane is answered, but the broker answers questions.
func TestLoneLaneThatEndsConnections(t *testing.T) {
	p, g, acks, log, _ := openGated(t, 1, nil)
	p.lonePause = 500 * time.Millisecond
	publish(t, p, inPartition("orders", 0, 0, 0), 0)
	p.Flush(false)
	acks.wait(t, 1, 0)
	g.hangsUp(above(30_000))
	const events, large = 60, 40
	for i := 1; i < events; i++ {
		size := 2000
		if i == large {
			size = 40_000
		}
		publish(t, p, inPartition("orders", 0, i, size), uint64(i))
	}
	p.Flush(false)
	until(t, "the event's name", log.says("reason="+string(reason.RequestCut), fmt.Sprintf("event %08d", large)))
	acks.wait(t, large, 0)
	g.hangsUp(nil)
	acks.wait(t, events, 0)
	acks.mu.Lock()
	defer acks.mu.Unlock()
	if !slices.IsSorted(acks.order) {
		t.Errorf("acked: %v", acks.order)
	}
}

// If lanes are too large together, and none of them alone, their requests are kept smaller.
func TestRequestsThatEndConnectionsAreKeptSmaller(t *testing.T) {
	const partitions, limit = 10, 200_000
	p, g, acks, log, b := openGated(t, partitions, nil)
	next := 0
	round(t, p, &next, 0, partitions)
	acks.wait(t, next, 0)
	g.hangsUp(above(limit))
	large := func() {
		for n := range partitions {
			publish(t, p, inPartition("orders", n, next, 40_000), uint64(next))
			next++
		}
		p.Flush(false)
		acks.wait(t, next, 0)
	}
	until(t, "smaller requests", func() bool {
		large()
		return log.says("requests are kept smaller", "broker="+g.addr)()
	})
	for range 3 { // by halves
		large()
	}
	before, _ := g.counts()
	for range 20 {
		large()
	}
	if cuts, _ := g.counts(); cuts > before {
		t.Errorf("%d connections ended although requests are kept smaller", cuts-before)
	}
	g.checkSequences(t)
	if n := asked[*sarama.InitProducerIDRequest](b); n != 1 || log.says("over a connection of its own")() {
		t.Errorf("%d producer ids, or a partition was set apart", n)
	}
}

// A batch that is sent apart is not blamed either if the broker is gone after it: the broker may have been stopping, or may crash on
// anything.
func TestBrokerThatIsGoneBlamesNobody(t *testing.T) {
	p, g, acks, log, _ := openGated(t, 2, nil)
	next := 0
	round(t, p, &next, 0, 2)
	acks.wait(t, next, 0)
	(*p.topics["orders"].partitions.Load())[0].apart = &apart{left: 1} // it is idle
	publish(t, p, inPartition("orders", 0, 100, 0), 100)
	for range 2 * blameAfter {
		crashed := make(chan struct{})
		before := p.splicer.Failures(g.addr)
		g.hangsUp(func(produced) bool {
			g.hangUp = nil
			g.crash()
			close(crashed)
			return true
		})
		p.Flush(false)
		<-crashed
		until(t, "an attempt to connect", func() bool { return p.splicer.Failures(g.addr) > before })
		g.listen(g.addr)
	}
	acks.wait(t, next+1, 0)
	if log.says(string(reason.RequestCut))() {
		t.Error("a request is blamed for what ended the broker")
	}
}

// A lane is sent apart once its connection has ended twice in a row with it alone, while others are answered. A lane that was answered
// meanwhile is not. The next sender of the same broker takes over what is known.
func TestWhoIsSetApart(t *testing.T) {
	a, b := &partition{index: 0}, &partition{index: 1}
	large := &request{size: wire.NewSize("").With("t", 2000)}
	request := func(conn int, alone bool, of ...*partition) *request {
		r := &request{conn: conn, alone: alone}
		for _, p := range of {
			r.parts = append(r.parts, part{p, &lane.Batch{}})
		}
		return r
	}
	now, conn := time.Now(), 0
	var h hangUps
	ends := func(alone bool, of ...*partition) finding {
		conn++
		now = now.Add(time.Millisecond)
		return h.ended(request(conn, alone, of...), 0, time.Hour, now)
	}
	answered := func(of ...*partition) finding { return h.answered(request(conn, false, of...), now) }
	for n := 1; n < narrowAfter; n++ {
		if f := ends(false, a, b); f.narrow || h.narrow(now) {
			t.Fatalf("narrow after %d", n)
		}
		h.ended(request(conn, false, a), 0, time.Hour, now) // on the same connection
	}
	if f := ends(false, a, b); !f.narrow || !h.narrow(now) || h.narrow(now.Add(rowLasts)) {
		t.Fatalf("%+v after %d in a row", f, narrowAfter)
	}
	if f := ends(true, a); f.suspect != nil {
		t.Error("set apart at once")
	}
	if f := ends(true, a); f.suspect != nil {
		t.Error("set apart although nobody else was answered")
	}
	answered(a)
	if ends(true, a).suspect != nil || ends(true, a).suspect != a {
		t.Error("not set apart the second time after it was answered")
	}
	if answered(b); h.row > 0 {
		t.Errorf("all lanes were answered or set apart, and the row lasts: %+v", h)
	}
	h.together, h.size = 2, 1000
	if h.answered(large, now); h.together > 0 || h.size > 0 {
		t.Error("a larger request was answered, and it counts that smaller ones ended their connections")
	}
	h.bound = 7
	ends(false, a, b)
	s := &sender{hangUps: h}
	if next := s.inherited(); next.bound != 7 || next.row != 1 || len(next.lanes) != 2 || len(s.hangUps.lanes) != 0 {
		t.Errorf("inherited: %+v", next)
	}
}

// A broker with a new connection is still the same broker.
func TestNewSenderKnowsWhatTheOldOneDid(t *testing.T) {
	p, _ := offline(t, config(t, nil), newLedger())
	p.senderOf(sarama.NewBroker("127.0.0.1:1")).hangUps.bound = 7
	if s := p.senderOf(sarama.NewBroker("127.0.0.1:1")); s.hangUps.bound != 7 {
		t.Errorf("%+v", s.hangUps)
	}
}

// Attempts to send apart have pauses that grow to half a minute. If one passes unexpectedly, the others are tried at once.
func TestPausesOfWhatIsSentApart(t *testing.T) {
	a := &apart{}
	if d := a.pause(); d != 0 {
		t.Errorf("%v before the first attempt", d)
	}
	for a.tries = 1; a.tries < 20; a.tries++ {
		whole := min(50*time.Millisecond<<a.tries, 30*time.Second)
		if d := a.pause(); d > whole || d < whole*3/4 {
			t.Errorf("%v after %d attempts, want about %v", d, a.tries, whole)
		}
	}
	for _, size := range []int{99, 100} {
		other := &apartEntry{due: time.Now().Add(time.Minute)}
		s := &sender{hangUps: hangUps{bound: 100}, apart: []*apartEntry{other}}
		s.passed(&partition{apart: &apart{}}, &lane.Batch{}, size, wire.Answer{})
		if passed := size >= 100; other.due.IsZero() != passed || (s.hangUps.bound == 0) != passed {
			t.Errorf("%d bytes passed where 100 did not: due %v, bound %d", size, other.due, s.hangUps.bound)
		}
	}
}

// If connections end for other reasons, no lane is blamed, and nothing is slow for long.
func TestHangUpsThatNoRequestIsToBlameFor(t *testing.T) {
	const partitions = 20
	for name, trouble := range map[string]func(t *testing.T, p *Producer, g *gate, round func()){
		// A broker that crashes whenever something is sent, and is away for a moment each time.
		"crash loop": func(t *testing.T, p *Producer, g *gate, round func()) {
			for range 12 {
				crashed := make(chan struct{})
				g.hangsUp(func(produced) bool {
					g.hangUp = nil
					g.crash()
					close(crashed)
					return true
				})
				before := p.splicer.Failures(g.addr)
				<-crashed
				until(t, "an attempt to connect", func() bool { return p.splicer.Failures(g.addr) > before })
				g.listen(g.addr)
			}
		},
		// The same behind a load balancer, which accepts the connections and closes them.
		"crash loop behind a balancer": func(t *testing.T, p *Producer, g *gate, round func()) {
			own := g.own
			for range 12 {
				crashed := make(chan struct{})
				g.hangsUp(func(produced) bool {
					g.hangUp, g.own = nil, "127.0.0.1:1"
					for conn := range g.conns {
						conn.Close()
					}
					close(crashed)
					return true
				})
				before := p.splicer.Failures(g.addr)
				<-crashed
				until(t, "an attempt to connect", func() bool { return p.splicer.Failures(g.addr) > before })
				g.leadsTo(own)
			}
		},
		// A firewall or a load balancer that closes connections, whether they are in use or not.
		"frequent cuts": func(t *testing.T, p *Producer, g *gate, round func()) {
			tick := time.NewTicker(13 * time.Millisecond)
			defer tick.Stop()
			for range 150 {
				<-tick.C
				g.cut()
				round()
			}
		},
		// A proxy that answers questions by itself while its broker is gone.
		"dead broker behind a proxy": func(t *testing.T, p *Producer, g *gate, round func()) {
			g.hangsUp(func(produced) bool { return true })
			until(t, "many attempts", func() bool { n, _ := g.counts(); return n > 8 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, g, acks, log, b := openGated(t, partitions, nil)
			next := 0
			one := func() { round(t, p, &next, 0, partitions) }
			one()
			acks.wait(t, next, 0)
			one()
			stop, stopped := make(chan struct{}), make(chan struct{})
			rounds := make(chan struct{})
			go func() { // publishing is one goroutine's
				defer close(stopped)
				tick := time.NewTicker(3 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-rounds:
					case <-tick.C:
					}
					for n := range partitions {
						if _, err := p.Publish(inPartition("orders", n, next, 0), uint64(next)); err != nil {
							t.Error(err)
						}
						next++
					}
					p.Flush(false)
				}
			}()
			trouble(t, p, g, func() {
				select {
				case rounds <- struct{}{}:
				default:
				}
			})
			g.hangsUp(nil)
			begin := time.Now()
			close(stop)
			<-stopped
			acks.wait(t, next, 0)
			if took := time.Since(begin); took > lonePause*2/3 { // a pause is a second at most; the rest is for a busy machine
				t.Errorf("events flowed again only after %v", took)
			}
			if n := asked[*sarama.InitProducerIDRequest](b); n != 1 || log.says("reason="+string(reason.RequestCut))() {
				t.Errorf("%d producer ids were taken, or a request was blamed", n)
			}
			until(t, "the sender to forget", func() bool {
				round(t, p, &next, 0, partitions)
				acks.wait(t, next, 0)
				return !p.anySender().knowsOfHangUps()
			})
			if strings.HasPrefix(name, "crash") && log.says("one by one")() {
				t.Error("a broker that was away counts as one that hangs up on requests")
			}
			t.Log(fmt.Sprint(log.count("over a connection of its own"), " partitions were set apart, narrow ", log.count("one by one"), " times"))
		})
	}
}
