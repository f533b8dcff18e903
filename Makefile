# What the driver costs, beside the floor, as one table: docs/performance.md.
bench:
	go run ./test/bench $(BENCHFLAGS)

.PHONY: bench
