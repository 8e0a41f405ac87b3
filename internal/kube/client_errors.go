package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// What a Client's errors mean to whoever asked.
var (
	ErrNotFound  = errors.New("not found")
	ErrForbidden = errors.New("not allowed")
	ErrInvalid   = errors.New("refused as invalid")
	// ErrConflict: somebody else owns what was to be written.
	ErrConflict = errors.New("others own these fields")
	// ErrAway says nothing of the endpoint: whoever waits may ask again.
	ErrAway = errors.New("the API server did not answer")
	// ErrUnanswered: the cluster took it, but no controller has answered.
	ErrUnanswered = errors.New("no controller has answered")
)

// failure is a message for people with one of the meanings above.
type failure struct {
	means error
	text  string
}

func (f failure) Error() string        { return f.text }
func (f failure) Is(target error) bool { return target == f.means }

func fail(means error, format string, args ...any) error {
	return failure{means, fmt.Sprintf(format, args...)}
}

// explained turns an error of the API server into one for people.
func explained(doing string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var known failure
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &known):
		return err
	case !errors.As(err, &status):
		return unreached(doing, err)
	case apierrors.IsNotFound(err):
		if d := status.Status().Details; d == nil || d.Name == "" {
			return fail(ErrNotFound, "%s: the cluster does not know Serin's kinds (%v); install them with the chart charts/serin", doing, err)
		}
		return fail(ErrNotFound, "%s: %v", doing, err)
	case apierrors.IsUnauthorized(err):
		return fail(ErrForbidden, "%s: the API server does not know who you are (%v); log in again", doing, err)
	case apierrors.IsForbidden(err):
		return fail(ErrForbidden, "%s: %v", doing, err)
	case apierrors.IsConflict(err):
		return fail(ErrConflict, "%s: somebody else wrote these fields last:%s\nTry: --force-conflicts takes them over, or leave them out of the document", doing, causes(status))
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		if list := causes(status); list != "" {
			return fail(ErrInvalid, "%s: refused, nothing was changed:%s", doing, list)
		}
		return fail(ErrInvalid, "%s: refused, nothing was changed: %v", doing, err)
	case apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err):
		return fail(ErrAway, "%s: %v", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// unreached sorts what is no answer of the API server.
func unreached(doing string, err error) error {
	var network net.Error
	var asked *url.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) || errors.As(err, &asked) {
		return fail(ErrAway, "%s: the API server did not answer: %v", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// causes lists what is wrong, one line for each field.
func causes(status apierrors.APIStatus) (out string) {
	d := status.Status().Details
	if d == nil {
		return ""
	}
	for _, c := range d.Causes {
		if c.Field == "" || c.Field == "<nil>" {
			out += "\n  " + c.Message
		} else {
			out += fmt.Sprintf("\n  %s: %s", c.Field, c.Message)
		}
	}
	return out
}
