package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// Role is what an identity may do. None but viewer is part of another: who pushes
// a version need not be who signs it off, nor who says what gates it has to pass.
type Role string

// The roles.
const (
	Viewer     Role = "viewer"     // read
	Operator   Role = "operator"   // apply, pause, resume, retry, delete
	Approver   Role = "approver"   // approve, reject, promote, abort, rollback
	Configurer Role = "configurer" // with operator: change spec.rollout and spec.judge
)

var allRoles = []Role{Viewer, Operator, Approver, Configurer}

// Identity is who asks, as the transport proved it.
type Identity struct {
	Name  string `json:"name"`
	Roles []Role `json:"roles"`
}

// May reports whether the identity has the role; every role may view.
func (i Identity) May(r Role) bool {
	return slices.Contains(i.Roles, r) || r == Viewer && len(i.Roles) > 0
}

// Token lets whoever shows it act as Name. Only its SHA-256 is kept.
type Token struct {
	Name   string
	Roles  []Role
	digest [sha256.Size]byte
}

// NewToken makes a token from its secret.
func NewToken(name, secret string, roles ...Role) (Token, error) {
	if len(secret) < 16 {
		return Token{}, fmt.Errorf("the token of %q is shorter than 16 characters", name)
	}
	return Token{Name: name, Roles: roles, digest: sha256.Sum256([]byte(secret))}, nil
}

// ReadTokens reads a file of lines "NAME ROLE[,ROLE] SECRET"; # begins a comment.
// The file must not be readable by others.
func ReadTokens(path string) ([]Token, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading tokens: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("reading tokens: %q can be read by others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading tokens: %w", err)
	}
	var tokens []Token
	for n, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("reading tokens: %s:%d: want NAME ROLE[,ROLE] SECRET", path, n+1)
		}
		roles, err := parseRoles(fields[1])
		if err != nil {
			return nil, fmt.Errorf("reading tokens: %s:%d: %w", path, n+1, err)
		}
		t, err := NewToken(fields[0], fields[2], roles...)
		if err != nil {
			return nil, fmt.Errorf("reading tokens: %s:%d: %w", path, n+1, err)
		}
		if slices.ContainsFunc(tokens, func(o Token) bool { return o.digest == t.digest }) {
			return nil, fmt.Errorf("reading tokens: %s:%d: the secret is that of another line; each name needs its own", path, n+1)
		}
		tokens = append(tokens, t)
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("reading tokens: %q holds none; write lines NAME ROLE[,ROLE] SECRET", path)
	}
	return tokens, nil
}

func parseRoles(list string) ([]Role, error) {
	var roles []Role
	for _, r := range strings.Split(list, ",") {
		if !slices.Contains(allRoles, Role(r)) {
			return nil, fmt.Errorf("unknown role %q: use %s", r, orNone(allRoles))
		}
		roles = append(roles, Role(r))
	}
	return roles, nil
}

// peerKey carries the user at the other end of a Unix socket.
type peerKey struct{}

// ConnContext notes the peer of a Unix socket connection: pass it to http.Server.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, err := peerUID(uc)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// errUnknown is what an unauthenticated request gets.
var errUnknown = errors.New("who are you? Use the Unix socket, or send the header Authorization: Bearer TOKEN")

// identify returns who sent the request: the peer of a Unix socket, or the
// holder of a token. The user that runs Serin, and root, have every role.
func (s *Server) identify(r *http.Request) (Identity, error) {
	if uid, ok := r.Context().Value(peerKey{}).(uint32); ok {
		return s.peer(uid), nil
	}
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return Identity{}, errUnknown
	}
	digest := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	for _, t := range s.tokens {
		if subtle.ConstantTimeCompare(digest[:], t.digest[:]) == 1 {
			return Identity{Name: t.Name, Roles: t.Roles}, nil
		}
	}
	return Identity{}, fmt.Errorf("the bearer token is not known (its SHA-256 begins with %s)", hex.EncodeToString(digest[:4]))
}

func (s *Server) peer(uid uint32) Identity {
	name := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	} else {
		name = "uid:" + name
	}
	if uid == 0 || int(uid) == os.Getuid() {
		return Identity{Name: name, Roles: allRoles}
	}
	return Identity{Name: name, Roles: s.peerRoles[name]}
}
