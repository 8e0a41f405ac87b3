package spec

import (
	"fmt"
	"regexp"

	"github.com/serin-dev/serin/api/v1alpha1"
)

// objectName is a DNS subdomain: what Kubernetes takes as a name.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

const longestObjectName = 253

// objectName checks the name of a Kubernetes object; empty means none.
func (c *checker) objectName(path, v string) {
	switch {
	case v == "":
	case len(v) > longestObjectName:
		c.bad(path, fmt.Sprintf("is longer than %d characters", longestObjectName), "shorten it")
	case !objectName.MatchString(v):
		c.bad(path, fmt.Sprintf("%q is no name of an object", v), "use lower-case letters, digits, - and .")
	}
}

func (c *checker) adopt(a *v1alpha1.Adopt) {
	if a == nil {
		return
	}
	if a.Deployment == "" {
		c.bad("spec.adopt.deployment", "is missing", "write the name of the Deployment that runs already, or take spec.adopt out")
	}
	c.objectName("spec.adopt.deployment", a.Deployment)
	c.oneOf("spec.adopt.afterwards", a.Afterwards, "Keep", "ScaleToZero", "Delete")
}
