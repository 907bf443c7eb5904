// Package dns asks name servers, thousands of questions at a time.
package dns
