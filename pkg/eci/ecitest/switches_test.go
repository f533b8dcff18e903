package ecitest_test

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eci-executor/eci-executor/pkg/eci/ecitest"
)

// switchTest shows what one switch does: look sees off under the other settings
// alone and on with the switch thrown.
type switchTest struct {
	thrown ecitest.Switches // one field
	also   ecitest.Switches // other fields that it needs
	delays ecitest.Delays
	rates  ecitest.Rates
	own    bool // it changes the server for others
	look   func(t *testing.T, s *ecitest.Server) string
	off    string
	on     string
}

func switchTests() []switchTest {
	return slices.Concat(execSwitchTests(), groupSwitchTests(), volumeSwitchTests(), requestSwitchTests(), answerSwitchTests())
}

// fieldsOf names the fields that are set.
func fieldsOf(s ecitest.Switches) []string {
	var names []string
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			names = append(names, v.Type().Field(i).Name)
		}
	}
	return names
}

// both are the settings of a and b.
func both(a, b ecitest.Switches) ecitest.Switches {
	from, to := reflect.ValueOf(b), reflect.ValueOf(&a).Elem()
	for i := range from.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
	return a
}

func TestSwitches(t *testing.T) {
	type settings struct {
		switches ecitest.Switches
		delays   ecitest.Delays
		rates    ecitest.Rates
	}
	without := map[settings]*ecitest.Server{} // shared by the tests that need the same
	for _, tt := range switchTests() {
		names := fieldsOf(tt.thrown)
		if len(names) != 1 {
			t.Fatalf("a test of one switch throws %v", names)
		}
		needs := settings{tt.also, tt.delays, tt.rates}
		off := without[needs]
		if off == nil || tt.own {
			off = start(t, ecitest.Options{Switches: tt.also, Delays: tt.delays, Rates: tt.rates})
		}
		if !tt.own {
			without[needs] = off
		}
		t.Run(names[0], func(t *testing.T) {
			t.Parallel()
			if got := tt.look(t, off); got != tt.off {
				t.Errorf("without it %q, want %q", got, tt.off)
			}
			on := start(t, ecitest.Options{Switches: both(tt.also, tt.thrown), Delays: tt.delays, Rates: tt.rates})
			if got := tt.look(t, on); got != tt.on {
				t.Errorf("with it %q, want %q", got, tt.on)
			}
		})
	}
}

func allSwitches() []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[ecitest.Switches]()) {
		names = append(names, f.Name)
	}
	return names
}

func TestEverySwitchIsTested(t *testing.T) {
	tested := map[string]bool{}
	for _, tt := range switchTests() {
		for _, name := range fieldsOf(tt.thrown) {
			tested[name] = true
		}
	}
	for _, name := range allSwitches() {
		if !tested[name] {
			t.Errorf("no test shows what the switch %s does", name)
		}
	}
}

// docs is the zero value, and between kind and hostile each switch falls the one
// way and the other.
func TestProfilesSetEverySwitch(t *testing.T) {
	profile := func(name string) reflect.Value {
		s, err := ecitest.Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		return reflect.ValueOf(s)
	}
	if !profile(ecitest.ProfileDocs).IsZero() {
		t.Error("docs is not the zero value")
	}
	kind, hostile := profile(ecitest.ProfileKind), profile(ecitest.ProfileHostile)
	for i, name := range allSwitches() {
		if kind.Field(i).Interface() == hostile.Field(i).Interface() {
			t.Errorf("kind and hostile agree on %s; profiles.go has to set it in one of them", name)
		}
	}
	if _, err := ecitest.Profile("mean"); err == nil || !strings.Contains(err.Error(), `"mean" is not one of docs, kind, hostile`) {
		t.Errorf("error %v", err)
	}
}

func requestSwitchTests() []switchTest {
	refused := func(params map[string]string) func(*testing.T, *ecitest.Server) string {
		return func(t *testing.T, s *ecitest.Server) string {
			_, code := call(t, s, "CreateContainerGroup", params)
			return code
		}
	}
	return []switchTest{
		{
			thrown: ecitest.Switches{MaxURL: 1000},
			look: func(t *testing.T, s *ecitest.Server) string {
				response, err := http.Get(s.URL() + "/?Action=" + strings.Repeat("x", 1000))
				if err != nil {
					t.Fatal(err)
				}
				return fmt.Sprint(response.StatusCode, response.Body.Close())
			},
			off: "400 <nil>", on: "414 <nil>",
		},
		{
			thrown: ecitest.Switches{MaxBody: 1000}, off: "InvalidParameter", on: "RequestEntityTooLarge",
			look: refused(map[string]string{"ContainerGroupName": strings.Repeat("x", 1000)}),
		},
		{
			thrown: ecitest.Switches{UnknownParametersIgnored: true}, off: "InvalidParameter", on: "",
			look: refused(script("true", "Colour", "red")),
		},
		{
			thrown: ecitest.Switches{BogusProbeIgnored: true}, off: "UnsupportedOperation UnsupportedOperation", on: " UnsupportedOperation",
			look: func(t *testing.T, s *ecitest.Server) string {
				one := refused(script("true", "Container.1.LivenessProbe.Exec.Command", "<[]string Value>"))
				return one(t, s) + " " + refused(script("true", "Container.1.LivenessProbe.Exec.Command.1", "true"))(t, s)
			},
		},
		{
			thrown: ecitest.Switches{LongEnvAllowed: true}, off: "InvalidParameter.ValueExceeded", on: "",
			look: refused(script("true", "Container.1.EnvironmentVar.1.Key", "A", "Container.1.EnvironmentVar.1.Value", strings.Repeat("x", 257))),
		},
		{
			thrown: ecitest.Switches{EmptyEnvRefused: true}, off: "", on: "MissingParameter",
			look: refused(script("true", "Container.1.EnvironmentVar.1.Key", "A")),
		},
		{
			thrown: ecitest.Switches{LongCommandAllowed: true}, off: "InvalidParameter.ValueExceeded", on: "",
			look: refused(script("true", "Container.1.Arg.1", strings.Repeat("x", 257))),
		},
		{
			thrown: ecitest.Switches{ConfigFileModeDecimal: true}, off: "InvalidParameter ", on: " InvalidParameter",
			look: func(t *testing.T, s *ecitest.Server) string {
				mode := func(m string) string {
					return refused(with(script("true"), with(configFiles(1), pairs("Volume.1.ConfigFileVolume.DefaultMode", m))))(t, s)
				}
				return mode("493") + " " + mode("0755")
			},
		},
		{
			thrown: ecitest.Switches{ConfigFileLimitsEncoded: true}, off: "", on: "InvalidParameter.ValueExceeded",
			look: refused(with(script("true"), configFiles(30<<10))),
		},
	}
}

// settled waits a time that no event marks the end of.
func settled() { time.Sleep(500 * time.Millisecond) }
