// Package mux has the tests of redigolock.Mux as its users see it: batches, bounds, faults, cancellation, and Lockers over it.
package mux
