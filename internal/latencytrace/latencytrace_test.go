package latencytrace

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// file is the file of a trace in memory. If gate is not nil, writes wait until it is closed.
type file struct {
	bytes.Buffer
	gate <-chan struct{}
	err  error
}

func (f *file) Write(p []byte) (int, error) {
	if f.gate != nil {
		<-f.gate
	}
	if f.err != nil {
		return 0, f.err
	}
	return f.Buffer.Write(p)
}

func (f *file) Close() error { return nil }

// sample has one record of each kind. The values of a record are all different.
func sample() *Trace {
	at := func(ms int) time.Time { return time.Unix(1_800_000_000, int64(ms)*1e6) }
	return &Trace{
		Sessions:     1,
		Transactions: []Transaction{{Tx: 1 << 60, LSN: 1<<64 - 1, Committed: at(1), Sent: at(2), Decoded: at(3)}},
		Passes:       []Pass{{First: 1, Last: 2, Events: 3, Reads: 4, Bytes: 5, Began: at(6), Read: at(7), HandedOver: at(8), MarkAtBegin: true, Flowing: true}},
		Requests: []Request{{Woken: at(1), Sent: at(2), Answered: at(4), Settled: at(5), UnderWay: 6, Failed: true, Parts: []Part{
			{Queue: Queue{At: at(7), Linger: 8, UnderWay: 9, Behind: true}, Sealed: at(10), Txs: []uint64{11, 12}},
			{Queue: Queue{At: at(13)}, Sealed: at(14), Txs: []uint64{15}},
		}}},
	}
}

func record(r *Recorder, t *Trace) {
	r.Session()
	r.Transaction(&t.Transactions[0])
	r.Pass(&t.Passes[0])
	r.Request(&t.Requests[0])
}

func TestReadsWhatWasRecorded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "trace")
	t.Setenv(Variable, name)
	r, err := FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	record(r, sample())
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	r.Session() // too late
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := Read(f); err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("error %v\ngot  %+v\nwant %+v", err, got, sample())
	}
}

func TestOffWithoutTheVariable(t *testing.T) {
	t.Setenv(Variable, "")
	if r, err := FromEnvironment(); r != nil || err != nil || r.Close() != nil {
		t.Errorf("a recorder %v, error %v", r, err)
	}
	t.Setenv(Variable, filepath.Join(t.TempDir(), "absent", "trace"))
	if r, err := FromEnvironment(); r != nil || err == nil {
		t.Errorf("a recorder %v of a file that cannot be, error %v", r, err)
	}
}

// A disk that hangs delays nothing: records are dropped and counted.
func TestSlowDisk(t *testing.T) {
	gate := make(chan struct{})
	f := &file{gate: gate}
	r := New(f)
	const many = (buffers + 1) * bufferSize // a session record has two bytes
	for range many {
		r.Session()
	}
	closed := make(chan error)
	go func() { closed <- r.Close() }()
	close(gate)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	got, err := Read(&f.Buffer)
	if err != nil || got.Lost == 0 || got.Sessions < buffers*bufferSize/2 || int64(got.Sessions)+got.Lost != many {
		t.Errorf("error %v; of %d records %d were kept and %d reported lost", err, many, got.Sessions, got.Lost)
	}
}

func TestWriteErrorComesFromClose(t *testing.T) {
	full := errors.New("disk full")
	r := New(&file{err: full})
	r.Session()
	if err := r.Close(); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
}

func TestReadRefusesWhatIsNoTrace(t *testing.T) {
	f := &file{}
	r := New(f)
	record(r, sample())
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	whole := f.Bytes()
	for name, text := range map[string][]byte{"cut": whole[:len(whole)-1], "unknown kind": {99, 0}, "too short": {kindPass, 1, 2}} {
		if _, err := Read(bytes.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
