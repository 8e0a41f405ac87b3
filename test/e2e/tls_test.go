package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const tlsGateway = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tls-only, namespace: abtesting}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: [secure.example.com]
    tls: {mode: SIMPLE, credentialName: e2e-tls-only}
`

// selfSigned is a certificate for one name, in PEM.
func selfSigned(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})
}

// gatewayPod is where clients of a port come in that the gateway's Service does not have.
func gatewayPod(t *testing.T) string {
	t.Helper()
	var pods corev1.PodList
	if err := mesh.api.List(t.Context(), &pods, client.InNamespace("istio-system"), client.MatchingLabels{"istio": "ingressgateway"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			return p.Status.PodIP
		}
	}
	t.Fatal("no ingress gateway runs")
	return ""
}

// TestA7TLSOnly: clients reach the endpoint by TLS alone, by its name; a rollout goes
// through as it does by plain HTTP, and there is no way by that.
func TestA7TLSOnly(t *testing.T) {
	t.Parallel()
	cert, key := selfSigned(t, "secure.example.com")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "e2e-tls-only"}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": cert, "tls.key": key}}
	_ = mesh.api.Delete(t.Context(), secret.DeepCopy()) // what a run that was killed left
	if err := mesh.api.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mesh.api.Delete(context.WithoutCancel(t.Context()), secret) })
	if err := mesh.Apply(t.Context(), []byte(tlsGateway)); err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(cert)
	w := newWorld(t, "secure")
	plain, address := w.via, net.JoinHostPort(gatewayPod(t), "8443")
	w.via = door{url: "https://secure.example.com:8443", tls: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}, dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
	}}
	w.apply(plan{Version: "v1", Gateway: "tls-only"})
	w.awaitStable("v1")
	stop := w.traffic(60)
	t.Cleanup(func() { stop() })
	w.apply(plan{Version: "v2", Gateway: "tls-only", Steps: "{shadow: 100%, minDuration: 2s}, " + shortSteps})
	w.awaitOutcome("v2", "Promoted", 3*time.Minute)
	all := stop()
	if bad := failures(all); len(bad) > 0 {
		t.Errorf("%d of %d requests failed, want none; the first: %+v", len(bad), len(all), bad[0])
	}
	w.via = plain
	if a := w.ask(w.via.client(), []byte("{}"), "", ""); a.status != 404 {
		t.Errorf("by plain HTTP: %+v, want that the gateway knows no such endpoint", a)
	}
	t.Logf("%d requests by TLS, %d failed", len(all), len(failures(all)))
}
