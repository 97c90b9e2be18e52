package redigolock

import "time"

// An Observer is told what happens to locks, for metrics and logs. Each func is optional. They are called on the
// caller's or the renewer's goroutine, with Fair also on others of the Locker's own, and must not block; a Release in one
// of them would wait for itself.
type Observer struct {
	Acquired  func(key string, waited time.Duration)          // a lock was obtained, after that long
	Contended func(key string, held *HeldError)               // a try found the lock held
	Extended  func(key string, left time.Duration)            // a lock was extended; left is what the server has now
	Lost      func(key string, cause error)                   // a KeepAlive context ended with ErrLost
	Released  func(key string, held time.Duration, err error) // Release is done; err is what it returned
	Unknown   func(key, verb string, err error)               // a command's outcome is unknown
}

func (o *Observer) acquired(key string, waited time.Duration) {
	if o != nil && o.Acquired != nil {
		o.Acquired(key, waited)
	}
}

func (o *Observer) contended(key string, held *HeldError) {
	if o != nil && o.Contended != nil {
		o.Contended(key, held)
	}
}

func (o *Observer) extended(key string, left time.Duration) {
	if o != nil && o.Extended != nil {
		o.Extended(key, left)
	}
}

func (o *Observer) lost(key string, cause error) {
	if o != nil && o.Lost != nil {
		o.Lost(key, cause)
	}
}

func (o *Observer) released(key string, held time.Duration, err error) {
	if o != nil && o.Released != nil {
		o.Released(key, held, err)
	}
}

func (o *Observer) unknown(key, verb string, err error) {
	if o != nil && o.Unknown != nil {
		o.Unknown(key, verb, err)
	}
}
