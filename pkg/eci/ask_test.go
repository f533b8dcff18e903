package eci

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDryRun(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		code   string
		made   string
		want   string // code of the error
	}{
		{"passed, as the SDK says", 400, "DryRunOperation", "", ""},
		{"passed, as the metadata says", 400, "DryRun.Success", "", ""},
		{"refused", 403, "OperationDenied.NoStock", "", "OperationDenied.NoStock"},
		{"made all the same", 200, "", "eci-1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.FormValue("DryRun") != "true" || r.FormValue("ClientToken") != "" || r.FormValue("Cpu") != "2" {
					t.Errorf("sent %v", r.Form)
				}
				if tt.code != "" {
					refuse(w, tt.status, tt.code, "so it is")
					return
				}
				reply(w, tt.status, map[string]any{"ContainerGroupId": tt.made})
			})
			made, err := c.DryRun(t.Context(), Params{"Cpu": "2", "ClientToken": "once"})
			if made != tt.made || CodeOf(err) != tt.want || (err == nil) != (tt.want == "") {
				t.Errorf("%q, %v", made, err)
			}
		})
	}
}

func TestDenied(t *testing.T) {
	for code, want := range map[string]bool{"NoPermission": true, "Forbidden.RAM": true, "Forbidden.RiskControl": false,
		"InvalidParameter.NotFound": false, "SignatureDoesNotMatch": false} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, code, "no") })
		_, err := c.Ask(t.Context(), "DescribeImageCaches", nil)
		if got := Denied(err); got != want {
			t.Errorf("%s: %t, %v", code, got, err)
		}
	}
	if Denied(nil) || Denied(fmt.Errorf("other")) {
		t.Error("denied without a refusal")
	}
}

func TestListUsageAndRegions(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.FormValue("Action") {
		case "ListUsage":
			fmt.Fprint(w, `{"Attributes":{"UsedCpu":12.5,"MaxCpu":1000,"MaxImageCacheCount":500}}`)
		case "DescribeRegions":
			fmt.Fprint(w, `{"Regions":[{"RegionId":"cn-a","Zones":["cn-a-1"]},{"RegionId":"cn-b"}]}`)
		}
	})
	usage, err := c.ListUsage(t.Context())
	if err != nil || usage != (Usage{12.5, 1000}) {
		t.Errorf("%v, %v", usage, err)
	}
	regions, err := c.DescribeRegions(t.Context())
	if d := cmp.Diff(map[string][]string{"cn-a": {"cn-a-1"}, "cn-b": nil}, regions); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestDescribeAvailableResource(t *testing.T) {
	zone := func(id, status string) string {
		return fmt.Sprintf(`{"ZoneId":%q,"AvailableResources":{"AvailableResource":[{"SupportedResources":{"SupportedResource":[{"Value":"x","StatusCategory":%q}]}}]}}`, id, status)
	}
	var sent string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sent = r.FormValue("DestinationResource.Value") + " " + r.FormValue("DestinationResource.Cores") + " " + r.FormValue("SpotResource.SpotDuration")
		fmt.Fprintf(w, `{"AvailableZones":{"AvailableZone":[%s,%s,%s,%s]}}`, zone("d", "WithoutStock"), zone("c", "WithStock"),
			zone("b", "ClosedWithoutStock"), zone("a", "ClosedWithStock"))
	})
	with, without, err := c.DescribeAvailableResource(t.Context(), StockQuery{CPU: 2, MemoryGiB: 4, SpotStrategy: "SpotAsPriceGo"})
	if d := cmp.Diff([][]string{{"a", "c"}, {"b", "d"}}, [][]string{with, without}); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	if sent != " 2 0" {
		t.Errorf("sent %q", sent)
	}
	if _, _, err = c.DescribeAvailableResource(t.Context(), StockQuery{InstanceType: "ecs.c6.large", CPU: 2}); err != nil || sent != "ecs.c6.large  " {
		t.Errorf("sent %q, %v", sent, err)
	}
}

func TestWhoseTheCredentialsAre(t *testing.T) {
	sts := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Version") != "2015-04-01" || r.FormValue("Action") != "GetCallerIdentity" || r.FormValue("Signature") == "" {
			t.Errorf("sent %v", r.Form)
		}
		fmt.Fprint(w, `{"IdentityType":"RAMUser","AccountId":"1234","Arn":"acs:ram::1234:user/ci"}`)
	})
	c := newClient(t, "http://127.0.0.1:1")
	got, err := c.GetCallerIdentity(t.Context(), "http://"+sts.endpoint.Host)
	if err != nil || got != (Identity{"RAMUser", "1234", "acs:ram::1234:user/ci"}) {
		t.Errorf("%v, %v", got, err)
	}
	key, err := c.Key(t.Context())
	if err != nil || key.ID != testKey || key.Source == "" || strings.Contains(fmt.Sprint(key), testSecret) {
		t.Errorf("%v, %v", key, err)
	}
}

func TestSTSEndpoint(t *testing.T) {
	for eci, want := range map[string]string{
		"https://eci-vpc.cn-beijing.aliyuncs.com": "https://sts-vpc.cn-beijing.aliyuncs.com",
		"https://eci.cn-beijing.aliyuncs.com":     "https://sts.cn-beijing.aliyuncs.com",
		"http://127.0.0.1:9300":                   "",
		"https://aliyuncs.com.example.org":        "",
	} {
		if got := STSEndpoint(eci); got != want {
			t.Errorf("%s: %q, want %q", eci, got, want)
		}
	}
}
