package ban

// Len returns the number of bans, which Entries would have to copy.
func (l *List) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m.bans.len() + len(l.m.fixed.of)
}
