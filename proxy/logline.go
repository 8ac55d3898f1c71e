package proxy

import (
	"sync/atomic"

	"jetway/balancer"
	"jetway/tenant"
)

// appendJSON writes an outcome as one JSON object. Fields that are empty are
// left out, but for those that every request has. Names stand together with
// what surrounds them, and what most requests have in common is one piece: each
// piece costs about the same, whatever its length.
func (l *accessLog) appendJSON(b []byte, o *Outcome) []byte {
	b = l.appendStamp(b, o.Time.UTC(), `{"time":"2006-01-02T15:04:05.`)
	b = appendDigits3(b, o.Time.Nanosecond()/1e6)
	b = append(b, `Z","client":"`...)
	if o.Client.IsValid() {
		b = o.Client.AppendTo(b)
	}
	b = append(b, `","listener":"`...)
	b = append(escapeJSON(b, o.Listener), '"')
	if o.TLS {
		b = append(b, `,"tls":true`...)
		if o.SNI != "" {
			b = append(escapeJSON(append(b, `,"sni":"`...), o.SNI), '"')
		}
	}
	if len(o.Method) > 0 {
		b = escapeJSON(append(b, `,"method":"`...), o.Method)
		b = escapeJSON(append(b, `","host":"`...), o.Host)
		b = escapeJSON(append(b, `","target":"`...), l.target(o))
		if o.HTTP10 {
			b = append(b, `","proto":"HTTP/1.0","status":`...)
		} else {
			b = append(b, `","proto":"HTTP/1.1","status":`...)
		}
	} else {
		b = append(b, `,"status":`...)
	}
	b = appendInt(b, int64(o.Status))
	b = appendInt(append(b, `,"bytes_in":`...), o.BytesIn)
	b = appendInt(append(b, `,"bytes_out":`...), o.BytesOut)
	b = append(escapeJSON(append(b, `,"request_id":"`...), o.ID), '"')
	b = l.appendDecision(b, o)
	if o.ClientTime|o.QueueTime|o.ConnectTime == 0 {
		b = append(b, `,"t_client":0,"t_queue":0,"t_connect":0,"t_response":`...)
	} else {
		b = appendSeconds(append(b, `,"t_client":`...), o.ClientTime)
		b = appendSeconds(append(b, `,"t_queue":`...), o.QueueTime)
		b = appendSeconds(append(b, `,"t_connect":`...), o.ConnectTime)
		b = append(b, `,"t_response":`...)
	}
	b = appendSeconds(b, o.ResponseTime)
	b = appendSeconds(append(b, `,"t_total":`...), o.TotalTime)
	return append(b, "}\n"...)
}

// appendDecision writes what Jetway decided and what came of it.
func (l *accessLog) appendDecision(b []byte, o *Outcome) []byte {
	if f := o.Tenant(); f != nil {
		b = append(escapeJSON(append(b, `,"tenant":"`...), f.Name()), '"')
		if id, ok := tenantID(f); ok {
			b = appendInt(append(b, `,"tenant_id":`...), int64(id))
		}
		b = append(append(append(b, `,"tenant_state":"`...), f.Outcome.String()...), '"')
	}
	b = l.appendRoute(b, o)
	if o.Endpoint != nil {
		if b = appendInt(append(b, `,"attempts":`...), int64(o.Attempts)); o.Reused {
			b = append(b, `,"reused":true`...)
		} else {
			b = append(b, `,"reused":false`...)
		}
	}
	if o.Session == balancer.SessionNone && o.Reason == "" {
		b = append(b, `,"sticky":"none","generation":`...)
	} else {
		b = append(append(append(b, `,"sticky":"`...), o.Session.String()...), '"')
		if o.Reason != "" {
			b = append(append(b, `,"reason":"`...), o.Reason...)
			b = append(append(b, `","ended_by":"`...), o.EndedBy()...)
			b = append(append(append(b, `","phase":"`...), o.Phase.String()...), '"')
		}
		b = append(b, `,"generation":`...)
	}
	return appendInt(b, int64(o.Generation))
}

// appendText writes an outcome in the Common Log Format (the tenant stands
// where the user does) followed by host, service, domain/sub-domain, member,
// sticky, reason, attempts, times client/queue/connect/response/total, bytes
// in, request id, whether the member's connection was "kept" or "new", "tls" or
// "plain", the name asked for in TLS and the generation. What is not there is "-".
func (l *accessLog) appendText(b []byte, o *Outcome) []byte {
	if o.Client.IsValid() {
		b = o.Client.AppendTo(b)
	} else {
		b = append(b, '-')
	}
	if f := o.Tenant(); f != nil && (f.Outcome == tenant.Known || f.Outcome == tenant.Inactive) {
		b = escapeText(append(b, " - "...), f.Name())
	} else {
		b = append(b, " - -"...)
	}
	b = l.appendStamp(b, o.Time, ` [02/Jan/2006:15:04:05 -0700] "`)
	if len(o.Method) > 0 {
		b = append(escapeText(b, o.Method), ' ')
		b = escapeText(b, l.target(o))
		if o.HTTP10 {
			b = append(b, ` HTTP/1.0" `...)
		} else {
			b = append(b, ` HTTP/1.1" `...)
		}
	} else {
		b = append(b, `-" `...)
	}
	b = append(appendInt(b, int64(o.Status)), ' ')
	b = appendWord(appendInt(b, o.BytesOut), o.Host)
	b = l.appendRoute(b, o)
	if o.Session == balancer.SessionNone && o.Reason == "" {
		b = append(b, " none - "...)
	} else {
		b = append(appendWord(appendWord(b, o.Session.String()), o.Reason), ' ')
	}
	b = append(appendInt(b, int64(o.Attempts)), ' ')
	if o.ClientTime|o.QueueTime|o.ConnectTime == 0 {
		b = append(b, "0/0/0/"...)
	} else {
		b = append(appendMillis(b, o.ClientTime), '/')
		b = append(appendMillis(b, o.QueueTime), '/')
		b = append(appendMillis(b, o.ConnectTime), '/')
	}
	b = append(appendMillis(b, o.ResponseTime), '/')
	b = append(appendMillis(b, o.TotalTime), ' ')
	b = appendWord(appendInt(b, o.BytesIn), o.ID)
	switch {
	case o.Endpoint == nil:
		b = append(b, " - "...)
	case o.Reused:
		b = append(b, " kept "...)
	default:
		b = append(b, " new "...)
	}
	if o.TLS {
		b = append(appendWord(append(b, "tls"...), o.SNI), ' ')
	} else {
		b = append(b, "plain - "...)
	}
	return append(appendInt(b, int64(o.Generation)), '\n')
}

// logRoute is what the lines of all requests have in common that came the same
// way to an endpoint.
type logRoute struct {
	format  LogFormat // this and the two below are its key
	service string
	cluster balancer.Key
	text    []byte
}

// logRoutes are those of an endpoint, made on first use. A member has one or
// two; where there are more, those are made for each line.
type logRoutes [4]atomic.Pointer[logRoute]

// appendRoute writes service, domain, sub-domain and member.
func (l *accessLog) appendRoute(b []byte, o *Outcome) []byte {
	if o.Endpoint == nil {
		return l.makeRoute(b, o)
	}
	p, ok := o.Endpoint.Transport.(*pool)
	if !ok {
		return l.makeRoute(b, o)
	}
	service, cluster := o.Service(), o.Cluster()
	for i := range p.routes {
		r := p.routes[i].Load()
		if r == nil {
			r = &logRoute{l.Format, service, cluster, l.makeRoute(nil, o)}
			p.routes[i].Store(r) // the same one may come to be there twice
		}
		if r.service == service && r.cluster == cluster && r.format == l.Format {
			return append(b, r.text...)
		}
	}
	return l.makeRoute(b, o)
}

// makeRoute is appendRoute with nothing kept.
func (l *accessLog) makeRoute(b []byte, o *Outcome) []byte {
	service, cluster, member, address := o.Service(), o.Cluster(), "", ""
	if e := o.Endpoint; e != nil {
		member, address = e.Upstream.Member().ID, e.Address
	}
	if l.Format == LogText {
		if b = appendWord(b, service); cluster.Domain != "" {
			b = escapeText(append(appendWord(b, cluster.Domain), '/'), cluster.SubDomain)
		} else {
			b = append(b, " -"...)
		}
		return appendWord(b, member)
	}
	if service != "" {
		b = append(escapeJSON(append(b, `,"service":"`...), service), '"')
	}
	if cluster.Domain != "" {
		b = escapeJSON(append(b, `,"domain":"`...), cluster.Domain)
		b = append(escapeJSON(append(b, `","sub_domain":"`...), cluster.SubDomain), '"')
	}
	if o.Endpoint != nil {
		b = escapeJSON(append(b, `,"member":"`...), member)
		b = append(escapeJSON(append(b, `","address":"`...), address), '"')
	}
	return b
}
