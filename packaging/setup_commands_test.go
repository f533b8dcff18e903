package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every call of the aliyun CLI in docs/setup.md is an action of Alibaba Cloud's own SDK,
// and every parameter one of that action.
func TestSetupCommands(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aliyun/alibaba-cloud-sdk-go").Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	services := filepath.Join(strings.TrimSpace(string(out)), "services")
	page := strings.ReplaceAll(read(t, "docs/setup.md"), "\\\n", " ")
	calls := regexp.MustCompile(`\b(vpc|ecs|nas|ram|resourcemanager) ([A-Z][A-Za-z]+)( [^|\n]*)`).FindAllStringSubmatch(page, -1)
	if len(calls) < 20 {
		t.Fatalf("docs/setup.md has %d calls: that can't be all", len(calls))
	}
	for _, call := range calls {
		product, action := call[1], call[2]
		known := parametersOf(t, filepath.Join(services, product), action)
		if known == nil {
			t.Errorf("%s has no action %s", product, action)
			continue
		}
		for _, flag := range regexp.MustCompile(` --([A-Z][A-Za-z.]+)`).FindAllStringSubmatch(call[3], -1) {
			if !known[flag[1]] {
				t.Errorf("%s %s has no parameter %s", product, action, flag[1])
			}
		}
	}
}

// parametersOf are the parameters of an action by the SDK's source, nil if it has none such.
func parametersOf(t *testing.T, dir, action string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".go"), "_", "") != strings.ToLower(action) {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		request := between(t, string(source), "type "+action+"Request struct {", "\n}")
		known := map[string]bool{}
		for _, field := range regexp.MustCompile(`name:"([^"]+)"(  type:"Struct")?`).FindAllStringSubmatch(request, -1) {
			known[field[1]] = true
			if field[2] == "" {
				continue
			}
			members := between(t, string(source), "type "+action+field[1]+" struct {", "\n}")
			for _, member := range regexp.MustCompile(`name:"([^"]+)"`).FindAllStringSubmatch(members, -1) {
				known[field[1]+"."+member[1]] = true
			}
		}
		return known
	}
	return nil
}
