package stages_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eci-executor/eci-executor/internal/config"
	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// refuseCreate answers the first creates with the faults.
func refuseCreate(faults ...ecitest.CallFault) ecitest.Faults {
	return ecitest.Faults{Call: func(action string, n int) ecitest.CallFault {
		if action != "CreateContainerGroup" || n >= len(faults) {
			return ecitest.CallFault{}
		}
		return faults[n]
	}}
}

// creates are the parameters of the create calls.
func (w *world) creates() []url.Values {
	var all []url.Values
	for _, c := range w.server.Calls() {
		if c.Action == "CreateContainerGroup" {
			all = append(all, c.Params)
		}
	}
	return all
}

// unsigned is a call without what differs each time and says nothing of the group.
func unsigned(v url.Values) url.Values {
	own := url.Values{}
	for key, values := range v {
		if !slices.Contains([]string{"Signature", "SignatureNonce", "Timestamp"}, key) {
			own[key] = values
		}
	}
	return own
}

// A vSwitch without an address is no reason to fail, whether ECI looks at the others or
// not.
func TestFullVSwitch(t *testing.T) {
	for _, decides := range []bool{false, true} {
		t.Run(fmt.Sprint("the first decides ", decides), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Switches: ecitest.Switches{FirstVSwitchDecides: decides},
				Stock: ecitest.Stock{VSwitches: map[string]ecitest.VSwitch{"vsw-1": {IPs: -1}, "vsw-2": {}}}})
			w.mustPrepare(t)
			want := map[bool]int{false: 1, true: 2}[decides]
			if n := len(w.creates()); n != want {
				t.Errorf("%d creates, want %d", n, want)
			}
			w.mustCleanup(t)
		})
	}
}

// What the driver's file asks for by [group] request does no harm, whatever ECI makes
// of it: by itself the driver sends neither of the two.
func TestStrictSpotAndMaxPendingMinute(t *testing.T) {
	t.Parallel()
	for _, ignored := range []bool{false, true} {
		switches := ecitest.Switches{SpotDegrades: true, StrictSpotIgnored: ignored, MaxPendingMinuteIgnored: ignored}
		t.Run(fmt.Sprint("ignored ", ignored), func(t *testing.T) {
			t.Parallel()
			t.Run("no spot instance", func(t *testing.T) {
				w := newWorld(t, ecitest.Options{Switches: switches, Stock: ecitest.Stock{None: []ecitest.Offer{{Spot: true}}}})
				w.config.VSwitchIDs = nil
				w.config.Spot = config.Spot{Strategy: "as-price-go", Duration: 1, Fallback: true}
				w.config.Group.Request = config.Params{"StrictSpot": "true"}
				w.mustPrepare(t)
				w.mustCleanup(t)
				if n := len(w.creates()); n != map[bool]int{false: 2, true: 1}[ignored] {
					t.Errorf("%d creates", n)
				}
			})
			t.Run("never Running", func(t *testing.T) {
				// The default of 240 minutes is 24 s here, so 10 are 1 s.
				w := newWorld(t, ecitest.Options{Switches: switches, Faults: faults(t, "group:pending"), Delays: ecitest.Delays{MaxPending: 24 * time.Second}})
				w.config.Group.Request = config.Params{"MaxPendingMinute": "10"}
				if ignored {
					w.config.Timeouts.Ready = 4 * time.Second
				}
				_, err := w.prepare(t)
				wantError(t, err, map[bool]string{false: "PendingTimeout", true: "was not ready within"}[ignored])
				w.wantSystemFailure(t, err)
				w.mustCleanup(t)
			})
			t.Run("by itself", func(t *testing.T) {
				w := newWorld(t, ecitest.Options{})
				w.mustPrepare(t)
				for _, name := range []string{"StrictSpot", "MaxPendingMinute"} {
					if sent := w.creates()[0]; sent.Has(name) {
						t.Errorf("%s is sent: %s", name, sent.Get(name))
					}
				}
				w.mustCleanup(t)
			})
		})
	}
}

// A definite refusal is answered by another request, with a new token and without
// what was named; what stays the same is the place in state_dir and the name.
func TestAnotherRequestAfterARefusal(t *testing.T) {
	t.Parallel()
	refused := func(code, message string) ecitest.CallFault {
		return ecitest.CallFault{Status: 403, Code: code, Message: message}
	}
	spot := func(c *config.Config) { c.Spot = config.Spot{Strategy: "as-price-go", Duration: 1, Fallback: true} }
	tests := []struct {
		name   string
		change func(*config.Config)
		faults []ecitest.CallFault
		key    string
		want   []string // of each call
	}{
		{"no stock", nil, []ecitest.CallFault{refused("OperationDenied.NoStock", "out of stock")}, "VSwitchId", []string{"vsw-1,vsw-2", "vsw-2,vsw-1"}},
		{"no stock in a vSwitch that is named", nil, []ecitest.CallFault{refused("OperationDenied.NoStock", "vsw-1 is out of stock")}, "VSwitchId", []string{"vsw-1,vsw-2", "vsw-2"}},
		{"zone not on sale", nil, []ecitest.CallFault{refused("Zone.NotOnSale", "")}, "VSwitchId", []string{"vsw-1,vsw-2", "vsw-2,vsw-1"}},
		{"no address", nil, []ecitest.CallFault{refused("InvalidVSwitchId.IpNotEnough", "The specified VSwitch vsw-1 has not enough IP.")}, "VSwitchId", []string{"vsw-1,vsw-2", "vsw-2"}},
		{"type", func(c *config.Config) { c.VSwitchIDs, c.Capacity.InstanceTypes = nil, []string{"4-8Gi", "2-4Gi"} },
			[]ecitest.CallFault{refused("RecommendEmpty.InstanceTypeFamilyNotMatched", "")}, "InstanceType", []string{"4-8Gi,2-4Gi", "2-4Gi,4-8Gi"}},
		{"no spot", func(c *config.Config) { spot(c); c.VSwitchIDs = nil }, []ecitest.CallFault{refused("Spot.NotMatched", "")}, "SpotStrategy", []string{"SpotAsPriceGo", ""}},
		{"no spot anywhere", spot, []ecitest.CallFault{refused("Spot.NotMatched", ""), refused("Spot.NotMatched", "")}, "SpotStrategy", []string{"SpotAsPriceGo", "SpotAsPriceGo", ""}},
		{"image cache", func(c *config.Config) { c.ImageCache = config.ImageCache{SnapshotID: "imc-1"} },
			[]ecitest.CallFault{{Status: 404, Code: "ImageSnapshot.NotFound", Message: "imc-1"}}, "ImageSnapshotId", []string{"imc-1", ""}},
		{"image cache that ECI found", nil, []ecitest.CallFault{{Code: "ImageSnapshot.IncorrectStatus"}}, "AutoMatchImageCache", []string{"true", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Faults: refuseCreate(tt.faults...)})
			if tt.change != nil {
				tt.change(w.config)
			}
			log, err := w.prepare(t)
			if err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			var got, tokens []string
			for _, p := range w.creates() {
				got = append(got, p.Get(tt.key))
				tokens = append(tokens, p.Get("ClientToken"))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%s (-want +sent)\n%s", tt.key, d)
			}
			if slices.Sort(tokens); len(slices.Compact(tokens)) != len(tt.want) {
				t.Errorf("tokens %q, want one for each request", tokens)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// An answer that leaves a doubt is asked for again, byte for byte, whatever it says.
func TestTheSameRequestAfterADoubt(t *testing.T) {
	w := newWorld(t, ecitest.Options{Faults: refuseCreate(
		ecitest.CallFault{CutAfter: true}, ecitest.CallFault{Status: 500, Code: "OperationDenied.NoStock", Message: "vsw-1"})})
	if out, err := w.prepare(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all := w.creates()
	for i, p := range all {
		if d := cmp.Diff(unsigned(all[0]), unsigned(p)); d != "" {
			t.Errorf("call %d (-first +this)\n%s", i, d)
		}
	}
	if live := w.server.Live(); len(all) != 3 || len(live) != 1 {
		t.Errorf("%d calls and %d groups, want 3 and 1", len(all), len(live))
	}
	if err := w.cleanup(t); err != nil {
		t.Fatal(err)
	}
}

// Once a call may have made the group, no refusal of a later one makes room for
// another request: the attempt ends, and its cleanup finds the group by the tags.
func TestNoOtherRequestAfterADoubt(t *testing.T) {
	for _, code := range []string{"OperationDenied.NoStock", "ImageSnapshot.NotFound"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Faults: refuseCreate(
				ecitest.CallFault{CutAfter: true}, ecitest.CallFault{Status: 403, Code: code, Message: "vsw-1"})})
			log, err := w.prepare(t)
			wantError(t, err, code, "an earlier call", "no other one is asked for")
			if status, _ := w.env.ExitStatus(err); status != w.env.SystemFailure {
				t.Errorf("exit status %d", status)
			}
			if strings.Contains(log, "Trying again") {
				t.Errorf("another group is spoken of:\n%s", log)
			}
			w.oneCreate(t, false)
			if live := w.server.Live(); len(live) != 1 {
				t.Errorf("%d groups, want the one of the first call", len(live))
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A group that ECI gave up is deleted before another is asked for, and none is
// where the delete is not accepted.
func TestAnotherGroupAfterScheduleFailed(t *testing.T) {
	noStock := func(n int) ecitest.GroupFault {
		if n == 0 {
			return ecitest.GroupFault{ScheduleFailed: "NoStock", Message: "Create ECI failed because the specified instance is out of stock."}
		}
		return ecitest.GroupFault{}
	}
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("delete refused %v", refuse), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Faults: ecitest.Faults{Group: noStock, Call: func(action string, n int) ecitest.CallFault {
				if refuse && action == "DeleteContainerGroup" && n == 0 {
					return ecitest.CallFault{Status: 403, Code: "Forbidden.RAM", Message: "not allowed"}
				}
				return ecitest.CallFault{}
			}}})
			log, err := w.prepare(t)
			var order, tokens []string
			for _, c := range w.server.Calls() {
				switch c.Action {
				case "CreateContainerGroup":
					tokens = append(tokens, c.Params.Get("ClientToken"))
					order = append(order, c.Action)
				case "DeleteContainerGroup":
					order = append(order, c.Action)
				}
			}
			if refuse {
				wantError(t, err, "could not be scheduled", "may still be running", "Forbidden.RAM")
				if d := cmp.Diff([]string{"CreateContainerGroup", "DeleteContainerGroup"}, order); d != "" {
					t.Errorf("calls (-want +got)\n%s", d)
				}
			} else {
				if err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
				if d := cmp.Diff([]string{"CreateContainerGroup", "DeleteContainerGroup", "CreateContainerGroup"}, order); d != "" || tokens[0] == tokens[1] {
					t.Errorf("tokens %q, calls (-want +got)\n%s", tokens, d)
				}
				if live := w.server.Live(); len(live) != 1 {
					t.Errorf("%d groups", len(live))
				}
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A code that is new ends the attempt without a second call, and is no reason not
// to try once more.
func TestUnknownCodes(t *testing.T) {
	for _, action := range []string{"CreateContainerGroup", "DescribeContainerGroups"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ecitest.Options{Faults: ecitest.Faults{Call: func(a string, n int) ecitest.CallFault {
				if a == action && n == 0 {
					return ecitest.CallFault{Status: 400, Code: "Meteor.Strike", Message: "the region is gone"}
				}
				return ecitest.CallFault{}
			}}})
			_, err := w.prepare(t)
			wantError(t, err, "Meteor.Strike", "the region is gone", "request id")
			if n := w.calls()[action]; n != 1 {
				t.Errorf("%d calls of %s, want 1", n, action)
			}
			if status, _ := w.env.ExitStatus(err); status != w.env.SystemFailure {
				t.Errorf("exit status %d", status)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
			w.env.Attempt = "0123abce"
			if out, err := w.prepare(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if err := w.cleanup(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}
