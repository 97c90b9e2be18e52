package crowd

// sleepers are a heap of those that sleep, by when they are due.
type sleepers []*member

func (s sleepers) Len() int           { return len(s) }
func (s sleepers) Less(i, j int) bool { return s[i].due.Before(s[j].due) }
func (s sleepers) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = i, j
}

func (s *sleepers) Push(x any) {
	w := x.(*member)
	w.place = len(*s)
	*s = append(*s, w)
}

func (s *sleepers) Pop() any {
	last := len(*s) - 1
	w := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return w
}
