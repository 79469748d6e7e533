package certs_test

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"sync"
	"testing"

	"walpost/internal/testenv/certs"
)

// Tests that run at the same time share an authority: all its certificates have different serial numbers.
func TestAuthorityIsShared(t *testing.T) {
	a, err := certs.NewAuthority("shared")
	if err != nil {
		t.Fatal(err)
	}
	var issuing sync.WaitGroup
	var serials sync.Map
	dir := t.TempDir()
	for i := range 8 {
		issuing.Go(func() {
			var serial *big.Int
			if _, err := a.Issue(dir, fmt.Sprint(i), func(c *x509.Certificate) { serial = c.SerialNumber }); err != nil {
				t.Error(err)
				return
			}
			if _, twice := serials.LoadOrStore(serial.String(), i); twice {
				t.Errorf("serial number %v is there twice", serial)
			}
		})
	}
	issuing.Wait()
}
