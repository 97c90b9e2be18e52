// Package fair has the tests of fair Lockers as their users see them: crowds of waiters, processes that die or stand still, locks that
// are taken away, holders and heirs, cohorts, and what the server is sent.
package fair
