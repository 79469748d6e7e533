// Package sinktest holds helpers for the tests of several packages below sink: outbox rows, listeners, an issuer of tokens. Of those packages
// it imports only recordbatch, so that the tests of all others may use it.
package sinktest
