// Package tlspolicy decides about TLS with the hosts that mail goes to: whether
// it must be used, and which certificates count.
package tlspolicy
