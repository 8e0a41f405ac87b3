package kube

import (
	"context"
	"fmt"

	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serin-dev/serin/api/v1alpha1"
	"github.com/serin-dev/serin/internal/engine"
)

// Act creates a RolloutAction as the user that the API server knows, and waits
// until the controller has answered it.
func (c *Client) Act(ctx context.Context, a engine.ActionRequest) (engine.ActionResult, error) {
	var none engine.ActionResult
	e, err := c.get(ctx)
	if err != nil {
		return none, err
	}
	by, err := c.whoAmI(ctx)
	if err != nil {
		return none, err
	}
	if a.Rollout == "" {
		a.Rollout = e.Status.Rollout // what the user saw; refused if another one runs by now
	}
	uid, err := c.rolloutUID(ctx, a.Rollout)
	if err != nil {
		return none, err
	}
	o := &v1alpha1.RolloutAction{Spec: v1alpha1.RolloutActionSpec{
		Endpoint: e.Name, Rollout: a.Rollout, RolloutUID: string(uid), Action: a.Action, Step: a.Step, By: by, OnBehalfOf: a.OnBehalfOf, Reason: a.Reason, EvidenceDigest: a.EvidenceDigest,
	}}
	o.Namespace, o.GenerateName = c.namespace, e.Name+"-"
	if a.ID != "" {
		o.Name = o.GenerateName + a.ID
	}
	if err := c.createOnce(ctx, o); err != nil {
		return none, explained(fmt.Sprintf("asking for %s", a.Action), err)
	}
	return c.answered(ctx, o)
}

// createOnce creates an action, or reads it if an earlier try, whose answer was lost,
// has made it.
func (c *Client) createOnce(ctx context.Context, o *v1alpha1.RolloutAction) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := c.api.Create(ctx, o, client.FieldOwner(ClientManager))
	if !apierrors.IsAlreadyExists(err) || o.Name == "" {
		return err
	}
	wanted := o.Spec
	if err := c.api.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		return err
	}
	if wanted.By != o.Spec.By || wanted.Action != o.Spec.Action {
		return fail(ErrConflict, "the action %s was asked for by somebody else", o.Name)
	}
	return nil
}

// whoAmI is the name under which the API server knows the user.
func (c *Client) whoAmI(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var r authentication.SelfSubjectReview
	if err := c.api.Create(ctx, &r); err != nil {
		return "", explained("asking the API server who you are", err)
	}
	if r.Status.UserInfo.Username == "" {
		return "", fail(ErrForbidden, "the API server does not say who you are; log in again")
	}
	return r.Status.UserInfo.Username, nil
}

// rolloutUID guards against a later rollout of the same name.
func (c *Client) rolloutUID(ctx context.Context, name string) (types.UID, error) {
	if name == "" {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var s v1alpha1.ScoringRollout
	err := c.api.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, &s)
	if err = client.IgnoreNotFound(err); err != nil {
		return "", explained(fmt.Sprintf("reading rollout %q", name), err)
	}
	return s.UID, nil
}

// answered waits for what became of the action. What is not answered in time may
// still be carried out, and the error says so.
func (c *Client) answered(ctx context.Context, o *v1alpha1.RolloutAction) (engine.ActionResult, error) {
	within, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	for within.Err() == nil {
		if s := o.Status; s.Answered {
			return engine.ActionResult{ID: o.Name, Accepted: s.Accepted, Reason: s.Reason, Message: s.Message}, nil
		}
		o = later(within, c, &v1alpha1.RolloutActionList{}, o)
	}
	if ctx.Err() != nil {
		return engine.ActionResult{}, ctx.Err()
	}
	return engine.ActionResult{}, fail(ErrUnanswered, "%s was asked for (rolloutaction %s), but no controller has answered within %s; when one runs again it may still be carried out\nTry: kubectl -n %s get rolloutaction %s, and look at the controller", o.Spec.Action, o.Name, c.patience, o.Namespace, o.Name)
}
