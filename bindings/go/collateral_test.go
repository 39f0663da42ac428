package easyenclave

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// simulatedPlatform is a quote, its collateral and the policy that takes it, made anew: collateral has dates.
func simulatedPlatform(t *testing.T) (quote []byte, collateral map[string]string, policy *Policy) {
	t.Helper()
	build, folder := os.Getenv("EE_BUILD_DIR"), t.TempDir()
	if build == "" {
		build = filepath.Join(sourceDir(t), "build")
	}
	if out, err := exec.Command(filepath.Join(build, "tests/ee-sim-platform"), folder).CombinedOutput(); err != nil {
		t.Skipf("no simulated platform in this build: %v %s", err, out)
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if err := json.Unmarshal(read("collateral.json"), &collateral); err != nil {
		t.Fatal(err)
	}
	policy, err := ParsePolicy(string(read("policy.toml")), "policy.toml")
	if err != nil {
		t.Fatal(err)
	}
	return read("quote.bin"), collateral, policy
}

// pccs serves collateral as a PCCS does, and counts.
func pccs(t *testing.T, c map[string]string, asked *int) *httptest.Server {
	t.Helper()
	signed := func(w http.ResponseWriter, header, chain, member, text, signature string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(header, strings.ReplaceAll(url.QueryEscape(chain), "+", "%20"))
		w.Write([]byte(`{"` + member + `":` + text + `,"signature":"` + signature + `"}`))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked++
		switch r.URL.Path {
		case "/tdx/certification/v4/tcb":
			signed(w, "TCB-Info-Issuer-Chain", c["tcb_info_issuer_chain"], "tcbInfo", c["tcb_info"], c["tcb_info_signature"])
		case "/tdx/certification/v4/qe/identity":
			signed(w, "SGX-Enclave-Identity-Issuer-Chain", c["qe_identity_issuer_chain"], "enclaveIdentity", c["qe_identity"], c["qe_identity_signature"])
		case "/sgx/certification/v4/pckcrl":
			der, _ := hex.DecodeString(c["pck_crl"])
			w.Header().Set("Content-Type", "application/pkix-crl")
			w.Header().Set("SGX-PCK-CRL-Issuer-Chain", strings.ReplaceAll(url.QueryEscape(c["pck_crl_issuer_chain"]), "+", "%20"))
			w.Write(der)
		case "/sgx/certification/v4/rootcacrl":
			w.Header().Set("Content-Type", "text/plain")
			w.Write([]byte(c["root_ca_crl"]))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestFetchCollateral(t *testing.T) {
	noSettings(t)
	quote, parts, policy := simulatedPlatform(t)
	asked, folder := 0, filepath.Join(t.TempDir(), "cache")
	source := CollateralSource{PCCSURL: pccs(t, parts, &asked).URL, Cache: folder}
	collateral, err := FetchCollateral(context.Background(), quote, source)
	if err != nil {
		t.Fatal(err)
	}
	if attestation, err := VerifyQuote(quote, collateral, policy, nil, time.Time{}); err != nil || !attestation.Verified {
		t.Error(attestation, err)
	}
	again, err := FetchCollateral(context.Background(), quote, source)
	if err != nil || asked != 4 || !bytes.Equal(again, collateral) {
		t.Errorf("%d requests: %v", asked, err)
	}
	if until, err := CollateralValidUntil(collateral); err != nil || time.Until(until) < 29*24*time.Hour {
		t.Error(until, err)
	}
	if until, err := CollateralValidUntil(bytes.Replace(collateral, []byte("UpToDate"), []byte("uPToDate"), 1)); err != nil || !until.IsZero() {
		t.Error(until, err)
	}
	if _, err := CollateralValidUntil([]byte("{}")); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func TestFetchCollateralFailures(t *testing.T) {
	noSettings(t)
	quote, _, _ := simulatedPlatform(t)
	asked := 0
	server := pccs(t, map[string]string{}, &asked)
	var failed *CallError
	if _, err := FetchCollateral(context.Background(), quote, CollateralSource{PCCSURL: server.URL, NoCache: true}); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	_, err := FetchCollateral(context.Background(), quote, CollateralSource{PCCSURL: "https://127.0.0.1:1", NoCache: true})
	if !errors.Is(err, ErrUnavailable) || !errors.As(err, &failed) || failed.Hint == "" {
		t.Error(err)
	}
	for _, wrong := range []string{"http://pccs.example", "pccs.example"} {
		if _, err := FetchCollateral(context.Background(), quote, CollateralSource{PCCSURL: wrong}); !errors.Is(err, ErrConfig) {
			t.Error(wrong, err)
		}
	}
	if _, err := FetchCollateral(context.Background(), quote, CollateralSource{PCCSURL: "a\x00"}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := FetchCollateral(context.Background(), []byte("no quote"), CollateralSource{}); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	hang := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := FetchCollateral(ctx, quote, CollateralSource{PCCSURL: hang.URL, NoCache: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
