// Package dkim keeps the keys that sign mail.
package dkim
