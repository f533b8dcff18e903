package allow

import "testing"

func TestImage(t *testing.T) {
	for name, want := range map[string]bool{"team/app": true, "team/deep/app": true, "other/app": false} {
		if got := Image([]string{"team/**"}, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
