package eci

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/eci-executor/eci-executor/internal/testport"
)

// TestPrice: both shapes of the documentation are read, and what is no price is
// none, never a wrong one.
func TestPrice(t *testing.T) {
	spot := []SpotPrice{{"ap-northeast-1a", "ecs.c5.large", 0.056}}
	const entry = `{"ZoneId":"ap-northeast-1a","SpotPrice":0.056,"InstanceType":"ecs.c5.large","OriginPrice":0.622}`
	tests := []struct {
		name, answer string
		want         Price
	}{
		{"a list", `{"Price":{"TradePrice":0.00012252,"Currency":"CNY"},"SpotPrices":[` + entry + `]}`, Price{0.00012252, "CNY", spot}},
		{"an object around it", `{"Price":{"TradePrice":0.00012252,"Currency":"USD"},"SpotPrices":{"SpotPrice":[` + entry + `]}}`, Price{0.00012252, "USD", spot}},
		{"no spot", `{"Price":{"TradePrice":0.0001,"Currency":"CNY"}}`, Price{0.0001, "CNY", nil}},
		{"an empty object", `{"Price":{"TradePrice":0.0001,"Currency":"CNY"},"SpotPrices":{}}`, Price{0.0001, "CNY", nil}},
		{"another shape", `{"Price":{"TradePrice":0.0001,"Currency":"CNY"},"SpotPrices":"none"}`, Price{0.0001, "CNY", nil}},
		{"an hour's", `{"Price":{"TradePrice":0.9,"Currency":"CNY"}}`, Price{0.00025, "CNY", nil}},
		{"an hour's in USD", `{"Price":{"TradePrice":0.05625,"Currency":"USD"}}`, Price{0.000015625, "USD", nil}},
		{"a second's in USD", `{"Price":{"TradePrice":0.00002,"Currency":"USD"}}`, Price{0.00002, "USD", nil}},
		{"nothing", `{}`, Price{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sent := Params{}
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				r.ParseForm()
				for key := range r.PostForm {
					if !r.URL.Query().Has(key) {
						sent[key] = r.PostForm.Get(key)
					}
				}
				fmt.Fprintf(w, `{"PriceInfo":%s}`, tt.answer)
			})
			got, err := c.DescribeContainerGroupPrice(t.Context(), PriceQuery{CPU: 2, MemoryGiB: 4, SpotStrategy: "SpotAsPriceGo"})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if d := cmp.Diff(Params{"Cpu": "2", "Memory": "4", "SpotStrategy": "SpotAsPriceGo", "SpotDuration": "0"}, sent); d != "" {
				t.Errorf("parameters (-want +sent)\n%s", d)
			}
		})
	}
}

// TestTimeouts: no call outlives [timeouts] call, and a delete fits twice into the
// 30 s that cleanup has by default.
func TestTimeouts(t *testing.T) {
	o := Options{CallTimeout: 15 * time.Second}
	for _, action := range []string{"CreateContainerGroup", "DeleteContainerGroup", "DescribeContainerGroups", "DescribeContainerGroupStatus",
		"DescribeContainerGroupPrice", "ExecContainerCommand", "SomethingNew"} {
		connect, whole := o.timeouts(action)
		if connect <= 0 || connect > 5*time.Second || whole <= 0 || whole > o.CallTimeout {
			t.Errorf("%s: %s to connect, %s altogether", action, connect, whole)
		}
	}
	if _, whole := o.timeouts("DeleteContainerGroup"); 2*whole > 30*time.Second {
		t.Errorf("a delete may take %s", whole)
	}
	if connect, _ := (Options{CallTimeout: time.Second}).timeouts("CreateContainerGroup"); connect > time.Second {
		t.Errorf("%s to connect within a call of 1 s", connect)
	}
}

// TestTimeoutOfEachVerb: the times reach the SDK call by call. All calls hang; the
// price, which may wait for the least, must be given up before the create.
func TestTimeoutOfEachVerb(t *testing.T) {
	release := make(chan struct{})
	c := serve(t, func(http.ResponseWriter, *http.Request) { <-release }, func(o *Options) { o.CallTimeout = 2 * time.Second })
	t.Cleanup(func() { close(release) }) // runs before the server's Close
	calls := map[string]func() error{
		"create": func() error { _, err := c.CreateContainerGroup(t.Context(), Params{}); return err },
		"price":  func() error { _, err := c.DescribeContainerGroupPrice(t.Context(), PriceQuery{}); return err },
	}
	ended := make(chan string, len(calls))
	for name, f := range calls {
		go func() {
			if err := f(); ClassOf(err) != Retry {
				t.Errorf("%s: class %s: %v", name, ClassOf(err), err)
			}
			ended <- name
		}()
	}
	if first, second := <-ended, <-ended; first != "price" || second != "create" {
		t.Errorf("%s was given up before %s", first, second)
	}
}

// TestConnectTimeout: an endpoint that takes no connection is given up long before
// a call's own time, which is for slow answers.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	c := newClient(t, fullPort(t), func(o *Options) { o.CallTimeout = 2 * time.Minute })
	begun := time.Now()
	_, err := c.CreateContainerGroup(t.Context(), Params{})
	if ClassOf(err) != Retry || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("class %s: %v", ClassOf(err), err)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it took %s to find nobody there", took)
	}
}

// fullPort is an address whose queue of connections is full, so that Linux drops
// what else comes, as a firewall would.
func fullPort(t *testing.T) string {
	t.Helper()
	fd, address := testport.Taken(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		// Of a listener these are how long its queue is, and how long it may be.
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		if info.Unacked > info.Sacked {
			return "http://" + address
		}
		conn, err := net.DialTimeout("tcp", address, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue of connections is never full")
	return ""
}
