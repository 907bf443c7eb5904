package queue

// timers is a binary heap of destinations by their timer. ids[0] is not used.
type timers struct{ ids []uint32 }

// set sets or, with 0, clears the timer of a destination.
func (h *timers) set(dests []*destination, id uint32, at int64) {
	d := dests[id]
	switch {
	case d.timer == at:
	case at == 0:
		h.remove(dests, int(d.timerPos))
		d.timer, d.timerPos = 0, 0
	default:
		if d.timer == 0 {
			h.ids = append(h.ids, id)
			d.timerPos = int32(len(h.ids) - 1)
		}
		d.timer = at
		h.down(dests, h.up(dests, int(d.timerPos)))
	}
}

// first is the earliest timer; 0 if there is none.
func (h *timers) first(dests []*destination) int64 {
	if len(h.ids) == 1 {
		return 0
	}
	return dests[h.ids[1]].timer
}

// due takes out a destination whose timer has come; 0 if there is none.
func (h *timers) due(dests []*destination, now int64) uint32 {
	if len(h.ids) == 1 || dests[h.ids[1]].timer > now {
		return 0
	}
	id := h.ids[1]
	h.set(dests, id, 0)
	return id
}

func (h *timers) remove(dests []*destination, i int) {
	last := len(h.ids) - 1
	h.swap(dests, i, last)
	h.ids = h.ids[:last]
	if i < last {
		h.down(dests, h.up(dests, i))
	}
}

func (h *timers) swap(dests []*destination, i, j int) {
	h.ids[i], h.ids[j] = h.ids[j], h.ids[i]
	dests[h.ids[i]].timerPos, dests[h.ids[j]].timerPos = int32(i), int32(j)
}

func (h *timers) less(dests []*destination, i, j int) bool {
	return dests[h.ids[i]].timer < dests[h.ids[j]].timer
}

func (h *timers) up(dests []*destination, i int) int {
	for i > 1 && h.less(dests, i, i/2) {
		h.swap(dests, i, i/2)
		i /= 2
	}
	return i
}

func (h *timers) down(dests []*destination, i int) {
	for {
		c := 2 * i
		if c >= len(h.ids) {
			return
		}
		if c+1 < len(h.ids) && h.less(dests, c+1, c) {
			c++
		}
		if !h.less(dests, c, i) {
			return
		}
		h.swap(dests, i, c)
		i = c
	}
}
