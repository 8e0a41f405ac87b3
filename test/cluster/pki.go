package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/serin-dev/serin/test/cluster/internal/node"
)

// authority issues the certificates of one run.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// writePKI writes the certificates and keys that the node's command lines name, and the administrator's kubeconfig.
func writePKI(c node.Config) error {
	dir := filepath.Join(c.Dir, "pki")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca := &authority{dir: dir}
	caPEM, _, err := ca.issue("ca", pkix.Name{CommonName: "kube-ca"}, nil, nil)
	if err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	if _, _, err := ca.issue("apiserver", pkix.Name{CommonName: "kube-apiserver"}, names, []string{"127.0.0.1", c.Address, node.KubernetesIP}); err != nil {
		return err
	}
	if _, _, err := ca.issue("node", pkix.Name{CommonName: "system:node:" + node.Name, Organization: []string{"system:nodes"}}, []string{node.Name}, []string{c.Address}); err != nil {
		return err
	}
	certPEM, keyPEM, err := ca.issue("admin", pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}, nil, nil)
	if err != nil {
		return err
	}
	if _, _, err := newKey(filepath.Join(dir, "sa.key")); err != nil {
		return err
	}
	b64 := base64.StdEncoding.EncodeToString
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: serin, cluster: {server: "https://%s:%d", certificate-authority-data: %s}}]
users: [{name: admin, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: serin, context: {cluster: serin, user: admin}}]
current-context: serin
`, c.Address, c.APIPort, b64(caPEM), b64(certPEM), b64(keyPEM))
	return os.WriteFile(c.KubeConfig(), []byte(text), 0o600)
}

// issue writes NAME.crt and NAME.key; the first one is the authority's own.
func (a *authority) issue(name string, subject pkix.Name, dns, ips []string) (certPEM, keyPEM []byte, err error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: subject, DNSNames: dns, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, ip := range ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	key, keyPEM, err := newKey(filepath.Join(a.dir, name+".key"))
	if err != nil {
		return nil, nil, err
	}
	if a.cert == nil {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature, nil
		a.cert, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing the certificate %q: %w", name, err)
	}
	if template.IsCA {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return nil, nil, err
		}
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certPEM, keyPEM, os.WriteFile(filepath.Join(a.dir, name+".crt"), certPEM, 0o600)
}

func newKey(path string) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return key, text, os.WriteFile(path, text, 0o600)
}
