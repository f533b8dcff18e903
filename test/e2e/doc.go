// Package e2e holds the end-to-end tests: a real gitlab-runner (runner, built
// by realrunner) takes jobs from a stand-in for GitLab (coordinator) and runs
// them through the built eci-executor in container groups of the local ECI.
//
// Each scenario also runs against an executor that runs the scripts on the
// host (testdata/local.sh); where both fail, the scenario or the coordinator is
// wrong, where only one fails, the driver is.
//
// TestCut and the tests beside it end jobs in each way but their own: canceled,
// timed out, with the runner. testdata/witness.sh, between runner and driver, notes
// the order of the stages for them.
//
// TestJavaDemo and TestExamples run the pipelines of /examples as they stand there, on
// images of Debian's packages and with stand-ins for what those ask.
//
// TestDemoScripts keeps /testdata/jobs and /testdata/demo in step with what the
// runner generates; go test ./test/e2e -run TestDemoScripts -update rewrites
// them, and TestDemo -update draws docs/demo.svg. Nothing here talks to Alibaba Cloud or to a real GitLab.
package e2e
