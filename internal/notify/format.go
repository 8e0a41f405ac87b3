package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/serin-dev/serin/internal/engine"
)

// The formats of spec.notify.
const (
	CloudEvents = "CloudEvents"
	Slack       = "Slack"
	Teams       = "Teams"
)

// cloudEvent is CloudEvents 1.0 in structured JSON.
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject,omitempty"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            data      `json:"data"`
}

// data is what every notification tells.
type data struct {
	Endpoint       string `json:"endpoint"`
	Namespace      string `json:"namespace,omitempty"`
	Rollout        string `json:"rollout,omitempty"`
	Action         string `json:"action,omitempty"` // Advance, Hold, Revert
	Reason         string `json:"reason"`
	Message        string `json:"message"`
	EvidenceDigest string `json:"evidenceDigest,omitempty"`
}

func contentType(format string) string {
	if format == Slack || format == Teams {
		return "application/json"
	}
	return "application/cloudevents+json; charset=utf-8"
}

// message writes an entry for a receiver.
func (n *Notifier) message(format string, e engine.Entry) (message, error) {
	m := message{id: id(n.cfg.Endpoint, e), reason: e.Reason}
	var v any
	switch format {
	case Slack:
		v = map[string]string{"text": slackText(n.cfg.Endpoint, e)}
	case Teams:
		v = teamsCard(text(n.cfg.Endpoint, e))
	default:
		source := "/endpoints/" + url.PathEscape(n.cfg.Endpoint)
		if n.cfg.Namespace != "" {
			source = "/namespaces/" + url.PathEscape(n.cfg.Namespace) + source
		}
		subject := e.Rollout
		if subject == "" {
			subject = n.cfg.Endpoint
		}
		v = cloudEvent{
			SpecVersion: "1.0", ID: m.id, Source: source, Type: "dev.serin.rollout." + e.Reason, Subject: subject, Time: e.At.UTC(), DataContentType: "application/json",
			Data: data{n.cfg.Endpoint, n.cfg.Namespace, e.Rollout, e.Action, e.Reason, e.Message, e.EvidenceDigest},
		}
	}
	var err error
	m.body, err = json.Marshal(v)
	return m, err
}

// id is the same at every attempt, so that a receiver can tell a repetition.
func id(endpoint string, e engine.Entry) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s\x00%s\x00%s\x00%s", endpoint, e.At.UnixNano(), e.Kind, e.Rollout, e.Reason, e.Message))
	return hex.EncodeToString(sum[:16])
}

// text is one line for a person.
func text(endpoint string, e engine.Entry) string {
	what := e.Action
	if e.Kind == engine.EntryFault {
		what = "Fault"
	}
	name := e.Rollout
	if name == "" {
		name = endpoint
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s (%s): %s", name, what, e.Reason, e.Message))
}

// slackText escapes what Slack gives a meaning.
func slackText(endpoint string, e engine.Entry) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text(endpoint, e))
}

// teamsCard is what a Teams workflow's webhook takes.
func teamsCard(text string) any {
	type object = map[string]any
	return object{"type": "message", "attachments": []object{{
		"contentType": "application/vnd.microsoft.card.adaptive",
		"content": object{
			"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
			"body": []object{{"type": "TextBlock", "text": text, "wrap": true}},
		},
	}}}
}
