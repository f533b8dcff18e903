# What a contributor runs; CONTRIBUTING.md says when. `make` alone lists it.
GOTOOL = go tool -modfile=tools/go.mod

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: build
build: ## the binary, ./eci-executor
	CGO_ENABLED=0 go build -o eci-executor ./cmd/eci-executor

.PHONY: demo
demo: ## the main job on the local ECI
	go run ./cmd/eci-executor demo

# -count=1: a cached result does not know of the programs that a test builds (test/e2e).
.PHONY: test
test: ## all tests but those in a guest kernel
	go test -count=1 ./...

.PHONY: lint
lint: ## gofmt, go vet and golangci-lint
	test -z "$$(git ls-files '*.go' | xargs gofmt -l | tee /dev/stderr)"
	go vet -tags qemu ./...
	$(GOTOOL) golangci-lint run ./...

.PHONY: golden
golden: ## rewrite the golden files that tests compare with; look at the diff
	go test ./internal/config -run TestManyMistakesAtOnce -update
	go test ./pkg/eci -run TestParamsGolden -update
	go test ./pkg/stages -run 'TestRequests|TestStories|TestErrorsDocument' -update
	go test ./pkg/check -run TestDocument -update
	go test ./test/messages -run TestTroubleshooting -update
	go test ./test/e2e -run 'TestDemoScripts|TestJobsDocument' -update

.PHONY: fuzz
fuzz: ## each fuzz target for a minute
	@for package in $$(grep -rl --include=*_test.go '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$package/*_test.go); do \
			go test $$package -run xxx -fuzz "^$$target$$" -fuzztime 1m || exit 1; done; done

.PHONY: ci
ci: ## everything that must hold before a change lands, as CI runs it
	.ci/run

.PHONY: bench
bench: ## what the driver costs, beside the floor, as one table: docs/performance.md
	go run ./test/bench $(BENCHFLAGS)

.PHONY: licences
licences: ## the licences of all that is linked into the binary
	$(GOTOOL) go-licenses report ./cmd/eci-executor

.PHONY: vulnerabilities
vulnerabilities: ## known ones that the program reaches, where vuln.go.dev is reached
	.ci/vulnerabilities

.PHONY: release
release: ## binaries, packages, SBOM and checksums for amd64 and arm64, in dist/
	packaging/release
