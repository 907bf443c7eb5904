// Package dnsbl asks lists of addresses that are kept in the DNS about those
// who connect.
package dnsbl
