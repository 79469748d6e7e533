package parking

import (
	"encoding/binary"

	"walpost/internal/reason"
	"walpost/schema"
)

// pack holds letters that wait for their topics, in order, in one piece of memory. When a topic is parked, a hundred thousand letters may come at
// once. If each were an object, they would need half as much memory again, and the garbage collector would work all the time.
type pack struct {
	topics []blockedTopic // of the letters
	count  int
	held   int    // bytes that the letters hold
	lowest uint64 // the lowest Tx
	buf    []byte // the letters, see appendLetter
}

// blockedTopic is what letters of a topic have in common.
type blockedTopic struct{ name, detail string }

const (
	packSize = 64 << 10 // of a pack's memory
	// besidesPacked is about how many bytes a packed letter takes besides its record. [besidesRecord] is the same of one that is not packed.
	besidesPacked = 64
)

// add appends a letter in the form that appendLetter has given it. It returns false if there is no room.
func (k *pack) add(l *schema.DeadLetter, encoded []byte) bool {
	if len(encoded) > cap(k.buf)-len(k.buf) {
		return false
	}
	k.buf = append(k.buf, encoded...)
	if k.count++; k.count == 1 || l.Tx < k.lowest {
		k.lowest = l.Tx
	}
	k.held += l.Held
	return true
}

// topicOf returns the number of a topic, which it notes if it is new.
func (k *pack) topicOf(l *schema.DeadLetter) int {
	one := blockedTopic{l.Topic, l.Detail}
	for i, t := range k.topics {
		if t == one {
			return i
		}
	}
	k.topics = append(k.topics, one)
	return len(k.topics) - 1
}

// has reports whether the pack may have letters of a topic.
func (k *pack) has(topic string) bool {
	for _, t := range k.topics {
		if t.name == topic {
			return true
		}
	}
	return false
}

// letters returns the letters. They point into the pack.
func (k *pack) letters() []*schema.DeadLetter {
	all := make([]*schema.DeadLetter, 0, k.count)
	for r := (packReader{k.buf}); len(r.rest) > 0; {
		t := k.topics[r.number()]
		l := &schema.DeadLetter{Topic: t.name, Detail: t.detail, Blocked: true, Code: reason.TopicBlocked}
		l.At = schema.Position{Timeline: uint32(r.number()), LSN: r.number(), Index: uint32(r.number())}
		l.Tx, l.Held = r.number(), int(r.number())
		l.Partition, l.Timestamp = int32(r.signed()), r.signed()
		l.Key, l.Value, l.EventID, l.Type = r.bytes(), r.bytes(), r.bytes(), r.bytes()
		headers := packReader{r.bytes()}
		l.Headers = func(yield func(schema.DeadHeader) bool) {
			for r := headers; len(r.rest) > 0; {
				if !yield(schema.DeadHeader{Name: r.bytes(), Value: r.bytes()}) {
					return
				}
			}
		}
		all = append(all, l)
	}
	return all
}

// appendLetter encodes a letter. headers is memory for its headers, which appendLetter returns, too.
func appendLetter(b, headers []byte, topic int, l *schema.DeadLetter) (encoded, memory []byte) {
	for _, n := range []uint64{uint64(topic), uint64(l.At.Timeline), l.At.LSN, uint64(l.At.Index), l.Tx, uint64(l.Held)} {
		b = binary.AppendUvarint(b, n)
	}
	b = binary.AppendVarint(b, int64(l.Partition))
	b = binary.AppendVarint(b, l.Timestamp)
	for _, v := range [][]byte{l.Key, l.Value, l.EventID, l.Type} {
		b = appendBytes(b, v)
	}
	headers = headers[:0]
	for h := range l.EachHeader() {
		headers = appendBytes(appendBytes(headers, h.Name), h.Value)
	}
	return appendBytes(b, headers), headers
}

// appendBytes appends a value with its length. nil is not the same as an empty value.
func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
}

// packReader reads what appendLetter has written.
type packReader struct{ rest []byte }

func (r *packReader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.rest = r.rest[n:]
	return v
}

func (r *packReader) signed() int64 {
	v, n := binary.Varint(r.rest)
	r.rest = r.rest[n:]
	return v
}

func (r *packReader) bytes() []byte {
	n := r.number()
	if n == 0 {
		return nil
	}
	v := r.rest[: n-1 : n-1]
	r.rest = r.rest[n-1:]
	return v
}
