// Package servers has the tests whose subject is a real server: rights, error replies, the approaches of the articles, failovers, and
// what the pools do with sockets.
package servers
