package locktest

// What the tests look at from inside.
var (
	Verbs       = verbs
	ScriptVerbs = scriptVerbs
)

// KnownKeys is how many keys the server takes for those of locks.
func KnownKeys(s *Server) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.known)
}
