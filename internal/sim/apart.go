package sim

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// mostApart is less than what a message takes on any network, and many more nanoseconds than there may be things that happen together.
const mostApart = 16 * time.Microsecond

// Apart has what would happen at one moment, and wake several goroutines, happen at a moment each, up to some microseconds later, by
// the seed: what arrives behind something else on its connection, what a black hole has kept, commands that a pause has held back,
// dials that have hung, the ends of connections that are cut or closed together, deadlines. The moment of a test that counts nanoseconds is no
// longer exact then. It must be called before anything is dialled.
func (s *Server) Apart(seed uint64) { s.apart = seed }

// gap is how much later than at something happens that must not happen at the same moment. It belongs to who: nobody else decides
// it, so it is the same however the runtime orders those who ask.
func (s *Server) gap(at time.Time, who string, n, m int) time.Duration {
	if s.apart == 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(who))
	for _, v := range []int64{int64(n), int64(m), at.UnixNano()} {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(v)))
	}
	return 1 + time.Duration(rand.New(rand.NewPCG(s.apart, h.Sum64())).Int64N(int64(mostApart)))
}

// part lets that time pass.
func (s *Server) part(who string, n, m int) {
	if s.apart != 0 {
		time.Sleep(s.gap(time.Now(), who, n, m))
	}
}
