package doctor

import (
	"context"
	"net"

	"github.com/gomodule/redigo/redis"
)

// ask asks each Sentinel of the group what it knows of the master.
func (g Group) ask(ctx context.Context) (sentinels []*server) {
	for _, t := range g.Sentinels {
		s := &server{addr: t.Addr, role: "sentinel", refused: map[string]string{}}
		if err := s.askSentinel(ctx, t, g.Master); err != nil {
			s.dead = reasonOf(err).Error()
		}
		sentinels = append(sentinels, s)
	}
	for _, s := range sentinels {
		s.all = sentinels
	}
	return sentinels
}

func (s *server) askSentinel(ctx context.Context, t Target, master string) error {
	c, err := t.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if s.info, err = infoOf(ctx, c, "server"); err != nil {
		return err
	}
	if s.watched, err = redis.StringMap(redis.DoContext(c, ctx, "SENTINEL", "MASTER", master)); err != nil {
		return err
	}
	if _, err := redis.DoContext(c, ctx, "SENTINEL", "CKQUORUM", master); err != nil {
		s.noQuorum = reasonOf(err).Error()
	}
	return nil
}

// master is the address that a Sentinel names, "" if it names none.
func (s *server) master() string {
	if s.watched["ip"] == "" {
		return ""
	}
	return net.JoinHostPort(s.watched["ip"], s.watched["port"])
}
