package easyenclave

// Keys of accounts and of requests.

import (
	"github.com/easyenclave/easyenclave/bindings/go/internal/raw"
)

// Version is the version of the library that is loaded.
func Version() string { return raw.Ee_version() }

// GenerateAPIKey makes a fresh account key, "ee_sk_...". It is a seed: keep it as a secret. No network.
func GenerateAPIKey() (string, error) {
	var key []byte
	err := invoke(func(e raw.Ee_error) { key = raw.Ees_key_generate(e) })
	return string(key), err
}

// APIKeyPublic is the public half of an API key, in hex: what an account is known by.
func APIKeyPublic(key string) (string, error) {
	if err := checkText("the API key", key); err != nil {
		return "", err
	}
	var public []byte
	err := invoke(func(e raw.Ee_error) { public = raw.Ees_key_public(key, e) })
	return string(public), err
}
