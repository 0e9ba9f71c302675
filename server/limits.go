package server

import (
	"net/netip"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"homeward/registry"
)

// limit says for what a request counts and how often that may be; one without a name bounds nothing.
type limit struct {
	name  string
	every time.Duration // one more is allowed each
	burst int
	// account counts by account where there is one, and not by address: people in one office share an address.
	account bool
}

// Limits are generous to people and tight for programs that try all there is.
var (
	perAddress = limit{name: "sign-in", every: 6 * time.Second, burst: 30}
	perSearch  = limit{name: "search", every: time.Second, burst: 120, account: true}
	perUpload  = limit{name: "upload", every: 20 * time.Millisecond, burst: 1000, account: true}
)

// bucketsKept bounds the memory that counting takes; the least used are forgotten first.
const bucketsKept = 100_000

// buckets count what addresses and accounts do.
type buckets = lru.Cache[string, *rate.Limiter]

func newBuckets() (*buckets, error) { return lru.New[string, *rate.Limiter](bucketsKept) }

// take counts one use of a bucket, and says whether it was within what is allowed.
func (s *Server) take(bucket string, every time.Duration, burst int) bool {
	l, ok := s.buckets.Get(bucket)
	if !ok {
		fresh := rate.NewLimiter(rate.Every(every), burst)
		if earlier, there, _ := s.buckets.PeekOrAdd(bucket, fresh); there {
			l = earlier
		} else {
			l = fresh
		}
	}
	return l.Allow()
}

func (s *Server) moderate(c *gin.Context, l limit) bool {
	who := network(c.ClientIP())
	if a := registry.ActorOf(c.Request.Context()); l.account && a.Account != "" {
		who = string(a.Account)
	}
	return s.take(l.name+" "+who, l.every, l.burst)
}

// network is what one household or office has: an IPv4 address, or the first half of an IPv6 one, of which each has many.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	a = a.Unmap()
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // bits fit the address
	return p.String()
}
