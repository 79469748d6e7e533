package sink

import (
	"errors"
	"strings"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
	"walpost/sink/auth"
	"walpost/sink/kafkaerror"
	"walpost/sink/wire"
)

// permanent reports whether only a person can cure err. Callers ask this until the first connection is made.
func permanent(err error) bool {
	return auth.Refused(err) || errors.As(err, new(*wire.Mismatch))
}

// refusalReason returns the reason code of a permanent error.
func refusalReason(err error) reason.Code {
	if errors.As(err, new(*wire.Mismatch)) {
		return reason.KafkaListener
	}
	return auth.Reason(err)
}

// waitReason returns the reason code of an error that walpost waits out. A refused login may be waited out, too.
func waitReason(err error) reason.Code {
	if permanent(err) {
		return refusalReason(err)
	}
	return kafkaerror.WaitReason(err)
}

// refusalCure returns the cure of a permanent error.
func (c *Config) refusalCure(err error) string {
	if m := (*wire.Mismatch)(nil); errors.As(err, &m) {
		return m.Cure
	}
	return c.security().Cure(err)
}

// security returns the settings that new connections use.
func (c *Config) security() auth.Security {
	if c.Renew != nil {
		return c.Renew()
	}
	return c.Security
}

// operatorCures reports whether only an operator can cure an error that walpost waits out. Login errors are among these: while relays run,
// passwords are rotated and certificates expire.
func operatorCures(err error) bool {
	if permanent(err) {
		return true
	}
	class := kafkaerror.Classify(err)
	return class == kafkaerror.Alarm || class == kafkaerror.Cut && kafkaerror.Cure(err) != "" // a cut request with several events is divided
}

// cure returns what an operator can do about an error that walpost waits out; "": nothing, because it ends by itself.
func (c *Config) cure(err error, topic string) string {
	switch {
	case err == nil || !operatorCures(err):
		return ""
	case permanent(err):
		return c.refusalCure(err)
	}
	return c.withNames(kafkaerror.Cure(err), topic)
}

// waitCure returns the cure of a failed connection that walpost tries again. Brokers close a connection without a message when they expect
// another protocol.
func waitCure(err error) string {
	if kafkaerror.Classify(err) == kafkaerror.Alarm {
		return kafkaerror.Cure(err)
	}
	if code := sarama.KError(0); errors.As(err, &code) {
		return "nothing needs to be done: the brokers answer, and give producer ids once the cluster is up"
	}
	if errors.Is(err, sarama.ErrOutOfBrokers) || wire.HungUp(err) {
		return "check that kafka.security.protocol fits this listener, unless a broker is just starting behind a proxy or a load balancer"
	}
	return "check the address in kafka.bootstrap.servers, and that a broker listens there"
}

// withNames replaces User:NAME, --topic NAME and BROKERS in a cure by the actual names, so that its commands can be pasted into a shell.
func (c *Config) withNames(cure, topic string) string {
	pairs := []string{"BROKERS", strings.Join(c.Brokers, ",")}
	if user := c.security().Username; user != "" {
		pairs = append(pairs, "User:NAME", "User:"+user)
	}
	if topic != "" {
		pairs = append(pairs, "--topic NAME", "--topic "+topic)
	}
	return strings.NewReplacer(pairs...).Replace(cure)
}

// permanentError marks an error that no retry can cure.
type permanentError struct {
	error
	code reason.Code
}

func (e *permanentError) Permanent() bool     { return true }
func (e *permanentError) Reason() reason.Code { return e.code }
func (e *permanentError) Unwrap() error       { return e.error }
