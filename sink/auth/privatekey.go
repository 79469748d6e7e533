package auth

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
)

// The standard library cannot read encrypted private keys. The form that openssl has written for years, PKCS #8 with PBES2 (RFC 8018), is
// simple: PBKDF2 derives a key from the password, and AES-CBC decrypts the rest.
type encryptedKey struct {
	Algorithm struct {
		ID     asn1.ObjectIdentifier
		Params struct {
			Derivation pkix.AlgorithmIdentifier
			Cipher     pkix.AlgorithmIdentifier
		}
	}
	Data []byte
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	keyHashes = map[string]func() hash.Hash{
		"":                    sha1.New, // the default, for which the PRF is left out
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
	}
	keyLengths = map[string]int{ // key lengths of AES-CBC
		"2.16.840.1.101.3.4.1.2":  16,
		"2.16.840.1.101.3.4.1.22": 24,
		"2.16.840.1.101.3.4.1.42": 32,
	}
)

// mostIterations limits how much work a file can cause. openssl's default is 2048; 100,000 is a careful choice.
const mostIterations = 10_000_000

const convertKey = "convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW"

var errKeyPassword = errors.New("does not open the key in ssl.key.location")

// openKey decrypts the private key of a PEM file, and returns it as PEM. It returns a file without an encrypted key as it is.
func openKey(file []byte, password string) ([]byte, error) {
	var block *pem.Block
	for rest := file; ; {
		if block, rest = pem.Decode(rest); block == nil {
			return file, nil
		}
		if block.Headers["DEK-Info"] != "" {
			return nil, wrong("ssl.key.location", "the key is encrypted in OpenSSL's old form, whose password is easy to guess; "+convertKey)
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" {
			break
		}
	}
	if password == "" {
		return nil, wrong("ssl.key.password", "is required: the key in ssl.key.location is encrypted")
	}
	der, err := decryptKey(block.Bytes, password)
	if errors.Is(err, errKeyPassword) {
		return nil, &KeyError{"ssl.key.password", err}
	}
	if err != nil {
		return nil, wrong("ssl.key.location", "%w; "+convertKey, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func decryptKey(der []byte, password string) ([]byte, error) {
	var key encryptedKey
	if _, err := asn1.Unmarshal(der, &key); err != nil || !key.Algorithm.ID.Equal(oidPBES2) {
		return nil, errors.New("the key is not encrypted with PBES2")
	}
	derivation, encryption := key.Algorithm.Params.Derivation, key.Algorithm.Params.Cipher
	var params pbkdf2Params
	if _, err := asn1.Unmarshal(derivation.Parameters.FullBytes, &params); err != nil || !derivation.Algorithm.Equal(oidPBKDF2) {
		return nil, errors.New("the encryption of the key does not use PBKDF2")
	}
	if params.Iterations < 1 || params.Iterations > mostIterations {
		return nil, fmt.Errorf("the encryption of the key has %d PBKDF2 iterations, which is out of range", params.Iterations)
	}
	sum, length := keyHashes[params.PRF.Algorithm.String()], keyLengths[encryption.Algorithm.String()]
	var iv []byte
	_, err := asn1.Unmarshal(encryption.Parameters.FullBytes, &iv)
	if sum == nil || length == 0 || err != nil || len(iv) != aes.BlockSize || len(key.Data) == 0 || len(key.Data)%aes.BlockSize != 0 {
		return nil, errors.New("the key is not encrypted with AES-CBC")
	}
	secret, err := pbkdf2.Key(sum, password, params.Salt, params.Iterations, length)
	if err != nil {
		return nil, err
	}
	c, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(key.Data))
	cipher.NewCBCDecrypter(c, iv).CryptBlocks(plain, key.Data)
	return unpad(plain)
}

// unpad removes the padding. With a wrong password, the padding is nearly always wrong, and otherwise the rest is not a key.
func unpad(plain []byte) ([]byte, error) {
	n := int(plain[len(plain)-1])
	if n == 0 || n > aes.BlockSize || !bytes.HasSuffix(plain, bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, errKeyPassword
	}
	plain = plain[:len(plain)-n]
	if _, err := x509.ParsePKCS8PrivateKey(plain); err != nil {
		return nil, errKeyPassword
	}
	return plain, nil
}
