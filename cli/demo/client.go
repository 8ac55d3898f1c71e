package demo

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// client asks as anybody could. It repeats nothing: a failure that a load
// balancer should have hidden must be seen.
type client struct {
	plain fasthttp.Client
	other fasthttp.Client // from another address of this machine
}

// otherSource is an address of this machine besides loopback; Linux has all of 127.0.0.0/8.
const otherSource = "127.0.0.2"

const askWithin = 5 * time.Second

func newClient() *client {
	never := func(*fasthttp.Request, int, error) (bool, bool) { return false, false }
	return &client{
		plain: fasthttp.Client{RetryIfErr: never, MaxIdemponentCallAttempts: 1},
		other: fasthttp.Client{RetryIfErr: never, MaxIdemponentCallAttempts: 1, Dial: func(address string) (net.Conn, error) {
			d := net.Dialer{Timeout: askWithin, LocalAddr: &net.TCPAddr{IP: net.ParseIP(otherSource)}}
			return d.Dial("tcp", address)
		}},
	}
}

// question is one request to a load balancer.
type question struct {
	port       int
	host, path string
	tenant     string        // forged X-Tenant-Id, if any
	elsewhere  bool          // ask from otherSource
	session    string        // of the sample application, if any
	within     time.Duration // 0: askWithin
}

// reply is what came back: the sample application's answer, or Jetway's own.
type reply struct {
	answer
	status int
	reason string // reason code of Jetway's own answer
	login  string // the session that the application began
}

func (c *client) ask(q question) (reply, error) {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	q.fill(req)
	doer := &c.plain
	if q.elsewhere {
		doer = &c.other
	}
	if err := doer.DoTimeout(req, res, cmp.Or(q.within, askWithin)); err != nil {
		return reply{}, err
	}
	return parseReply(res)
}

func (q question) fill(req *fasthttp.Request) {
	req.SetRequestURI("http://" + net.JoinHostPort(loopback, strconv.Itoa(q.port)) + q.path)
	req.UseHostHeader = true
	req.Header.SetHost(q.host)
	req.Header.Set(fasthttp.HeaderAccept, "application/json")
	if q.tenant != "" {
		req.Header.Set("X-Tenant-Id", q.tenant)
	}
	if q.session != "" {
		req.Header.SetCookie(sessionCookie, q.session)
	}
}

func parseReply(res *fasthttp.Response) (reply, error) {
	r := reply{status: res.StatusCode()}
	var c fasthttp.Cookie
	if c.SetKey(sessionCookie); res.Header.Cookie(&c) {
		r.login = string(c.Value())
	}
	if r.status == fasthttp.StatusOK {
		if err := json.Unmarshal(res.Body(), &r.answer); err != nil {
			return r, fmt.Errorf("cannot read answer %q: %w", res.Body(), err)
		}
		return r, nil
	}
	var own struct {
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(res.Body(), &own); err != nil {
		return r, fmt.Errorf("cannot read answer %q: %w", res.Body(), err)
	}
	r.reason = own.Reason
	return r, nil
}

// memberState is what the admin API says of a member.
type memberState struct {
	ID         string   `json:"id"`
	Domain     string   `json:"domain"`
	SubDomains []string `json:"sub_domains"`
	Host       string   `json:"host"`
	HTTP       int      `json:"http"`
	State      string   `json:"state"`
}

// members asks a load balancer's admin API who the members are.
func (c *client) members(b *balancer) ([]memberState, error) {
	var list struct {
		Members []memberState `json:"members"`
	}
	address := net.JoinHostPort(loopback, strconv.Itoa(b.Admin))
	status, body, err := c.plain.GetTimeout(nil, "http://"+address+"/api/v1/members", askWithin)
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s for its members: %w", b.Name, err)
	}
	if status != fasthttp.StatusOK {
		return nil, fmt.Errorf("cannot ask %s for its members: it answers %d", b.Name, status)
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("cannot read the members of %s: %w", b.Name, err)
	}
	return list.Members, nil
}

// knows reports whether exactly these members are up at b, besides such as it
// started itself.
func (c *client) knows(b *balancer, names []string) error {
	members, err := c.members(b)
	if err != nil {
		return err
	}
	var up []string
	for _, m := range members {
		if m.State == "up" && m.Domain != elasticDomain {
			up = append(up, m.ID)
		}
	}
	slices.Sort(up)
	want := slices.Sorted(slices.Values(names))
	if !slices.Equal(up, want) {
		return fmt.Errorf("%s has %s, expected %s", b.Name, strings.Join(up, " "), strings.Join(want, " "))
	}
	return nil
}

// state returns the state of a member at b, "gone" if it has none of that id.
func (c *client) state(b *balancer, id string) (string, error) {
	members, err := c.members(b)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(members, func(m memberState) bool { return m.ID == id })
	if i < 0 {
		return "gone", nil
	}
	return members[i].State, nil
}

// change drains or undrains a member at b.
func (c *client) change(b *balancer, id, verb string) error {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.SetRequestURI("http://" + net.JoinHostPort(loopback, strconv.Itoa(b.Admin)) + "/api/v1/members/" + id + "/" + verb)
	if err := c.plain.DoTimeout(req, res, askWithin); err != nil {
		return fmt.Errorf("cannot %s %s at %s: %w", verb, id, b.Name, err)
	}
	if res.StatusCode() != fasthttp.StatusOK {
		return fmt.Errorf("cannot %s %s at %s: it answers %d: %s", verb, id, b.Name, res.StatusCode(), res.Body())
	}
	return nil
}
