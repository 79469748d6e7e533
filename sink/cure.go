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

// permanent reports whether only a person can cure err, as long as no connection has been made yet.
func permanent(err error) bool {
	return auth.Refused(err) || errors.As(err, new(*wire.Mismatch))
}

// refusalReason returns the code of an error that is permanent.
func refusalReason(err error) reason.Code {
	if errors.As(err, new(*wire.Mismatch)) {
		return reason.KafkaListener
	}
	return auth.Reason(err)
}

// waitReason returns the code of a connection that is waited for. A login that is refused may be waited for, too.
func waitReason(err error) reason.Code {
	if permanent(err) {
		return refusalReason(err)
	}
	return kafkaerror.WaitReason(err)
}

// refusalCure returns the cure of an error that is permanent.
func (c *Config) refusalCure(err error) string {
	if m := (*wire.Mismatch)(nil); errors.As(err, &m) {
		return m.Cure
	}
	return c.security().Cure(err)
}

// security returns what new connections use.
func (c *Config) security() auth.Security {
	if c.Renew != nil {
		return c.Renew()
	}
	return c.Security
}

// operatorCures reports whether only an operator can cure an error that is waited out: passwords are rotated and certificates end while relays
// run.
func operatorCures(err error) bool {
	if permanent(err) {
		return true
	}
	class := kafkaerror.Classify(err)
	return class == kafkaerror.Alarm || class == kafkaerror.Cut && kafkaerror.Cure(err) != "" // several events are divided
}

// cure returns what an operator can do about an error that is waited out; "": time cures it.
func (c *Config) cure(err error, topic string) string {
	switch {
	case err == nil || !operatorCures(err):
		return ""
	case permanent(err):
		return c.refusalCure(err)
	}
	return c.withNames(kafkaerror.Cure(err), topic)
}

// waitCure returns the cure of a connection that is waited for. Brokers only hang up when the protocol is not the one they expect.
func waitCure(err error) string {
	if kafkaerror.Classify(err) == kafkaerror.Alarm {
		return kafkaerror.Cure(err)
	}
	if code := sarama.KError(0); errors.As(err, &code) {
		return "none is needed: the brokers answer, and give ids once the cluster is up"
	}
	if errors.Is(err, sarama.ErrOutOfBrokers) || wire.HungUp(err) {
		return "is a broker starting there, behind something that takes connections for it? Else: is kafka.security.protocol the one of this listener?"
	}
	return "is the address right, and does a broker listen there?"
}

// withNames puts the names at hand into a cure, in place of User:NAME and --topic NAME.
func (c *Config) withNames(cure, topic string) string {
	pairs := []string{}
	if user := c.security().Username; user != "" {
		pairs = append(pairs, "User:NAME", "User:"+user)
	}
	if topic != "" {
		pairs = append(pairs, "--topic NAME", "--topic "+topic)
	}
	return strings.NewReplacer(pairs...).Replace(cure)
}

// permanentError marks what no retry can cure.
type permanentError struct {
	error
	code reason.Code
}

func (e *permanentError) Permanent() bool     { return true }
func (e *permanentError) Reason() reason.Code { return e.code }
func (e *permanentError) Unwrap() error       { return e.error }
