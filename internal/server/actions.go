package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/serin-dev/serin/internal/engine"
)

// needs maps each action to the role that may ask for it.
var needs = map[string]Role{
	"Approve": Approver, "Reject": Approver, "Promote": Approver, "Abort": Approver, "Rollback": Approver,
	"Pause": Operator, "Resume": Operator, "Retry": Operator,
}

func (s *Server) act(w http.ResponseWriter, r *http.Request, who Identity) error {
	body, err := readBody(w, r, maxAction)
	if err != nil {
		return err
	}
	a, err := readAction(body)
	if err != nil {
		return err
	}
	switch need := needs[a.Action]; {
	case !who.May(need):
		return forbidden(who, need, a.Action)
	case a.By != "" && a.By != who.Name:
		return failure{http.StatusBadRequest, "BadRequest", fmt.Sprintf("`by` is set from your identity (%q); state another person in `onBehalfOf`", who.Name), nil}
	case a.Action == "Approve" && a.EvidenceDigest == "":
		return failure{http.StatusBadRequest, "BadRequest", "`evidenceDigest` is missing: an approval names the evidence that you saw (rollout.evidence.digest of the status)", nil}
	}
	a.By = who.Name
	result, err := s.control.Act(r.Context(), a)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if !result.Accepted {
		status = http.StatusConflict
	}
	s.write(w, status, result)
	return nil
}

// readAction reads one action and nothing else.
func readAction(body []byte) (engine.ActionRequest, error) {
	var a engine.ActionRequest
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		return a, failure{http.StatusBadRequest, "BadRequest", "the body is not an action: " + err.Error(), nil}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return a, failure{http.StatusBadRequest, "BadRequest", "the body holds more than one action; send one", nil}
	}
	if _, known := needs[a.Action]; !known {
		return a, failure{http.StatusBadRequest, "BadRequest", fmt.Sprintf("`action`: %q is none of Approve, Reject, Promote, Abort, Rollback, Pause, Resume, Retry", a.Action), nil}
	}
	return a, nil
}
