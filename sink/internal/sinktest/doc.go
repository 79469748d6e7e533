// Package sinktest holds what the tests of several packages below sink need: outbox rows, listeners, an issuer of tokens. It imports none
// of those packages, so that each of them may use it.
package sinktest
