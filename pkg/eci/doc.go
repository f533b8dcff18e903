// Package eci is the driver's client of the Elastic Container Instance API,
// version 2018-08-08: container groups, execs into them, and errors that say what
// to do next.
//
// Calls go through the official SDK's client, its credentials and its signing,
// with parameters of our own (Params) in the POST form body: the SDK's typed
// create request is out of date and sends probes nobody asked for, and its query
// parameters would put registry passwords into URLs (sources.md: sdk).
//
// The package decides nothing: it neither waits for groups nor retries a call
// unless it is asked to.
package eci
