package azure

import "testing"

func TestX(t *testing.T) {
	p, err := Load("../../../pipelines/azure-devops/azure-pipelines.yml", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Stages {
		t.Logf("%+v", s)
		for _, j := range s.Jobs {
			t.Logf("   %+v", j)
			for _, st := range j.Steps {
				t.Logf("      %+v", st)
			}
		}
	}
	if _, err = Load("../../../pipelines/azure-devops/azure-pipelines-verbs.yml", map[string]string{"image": "x"}); err != nil {
		t.Fatal(err)
	}
}
