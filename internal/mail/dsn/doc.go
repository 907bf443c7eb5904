// Package dsn makes and reads delivery status notifications.
package dsn
