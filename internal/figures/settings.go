package figures

import "slices"

// A Setting is a configuration line of the files, as cpu or commit, with each value that one of them has. A Cell that is
// in several files has the last one's only.
type Setting struct {
	Name   string
	Values []string
}

// Setting are the values of a configuration line; nil if no file has it.
func (s *Set) Setting(name string) []string {
	for _, known := range s.Settings {
		if known.Name == name {
			return known.Values
		}
	}
	return nil
}

func (s *Set) set(name, value string) {
	i := slices.IndexFunc(s.Settings, func(known Setting) bool { return known.Name == name })
	if i < 0 {
		s.Settings = append(s.Settings, Setting{name, []string{value}})
	} else if known := &s.Settings[i]; !slices.Contains(known.Values, value) {
		known.Values = append(known.Values, value)
	}
}
