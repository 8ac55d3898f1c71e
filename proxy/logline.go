package proxy

import (
	"strconv"

	"jetway/tenant"
)

// appendJSON writes an outcome as one JSON object. Fields that are empty are
// left out, but for those that every request has.
func (l *accessLog) appendJSON(b []byte, o *Outcome) []byte {
	b = append(b, `{"time":"`...)
	b = append(l.appendStamp(b, o.Time.UTC(), "2006-01-02T15:04:05"), '.')
	milli := o.Time.Nanosecond() / 1e6
	b = append(b, byte('0'+milli/100), byte('0'+milli/10%10), byte('0'+milli%10))
	b = append(b, `Z","client":"`...)
	if o.Client.IsValid() {
		b = o.Client.AppendTo(b)
	}
	b = append(b, `","listener":`...)
	b = appendQuoted(b, o.Listener)
	if o.TLS {
		b = append(b, `,"tls":true`...)
		if o.SNI != "" {
			b = appendQuoted(append(b, `,"sni":`...), o.SNI)
		}
	}
	if len(o.Method) > 0 {
		b = appendQuoted(append(b, `,"method":`...), o.Method)
		b = appendQuoted(append(b, `,"host":`...), o.Host)
		b = appendQuoted(append(b, `,"target":`...), l.target(o))
		b = append(append(append(b, `,"proto":"`...), o.proto()...), '"')
	}
	b = strconv.AppendInt(append(b, `,"status":`...), int64(o.Status), 10)
	b = strconv.AppendInt(append(b, `,"bytes_in":`...), o.BytesIn, 10)
	b = strconv.AppendInt(append(b, `,"bytes_out":`...), o.BytesOut, 10)
	b = appendQuoted(append(b, `,"request_id":`...), o.ID)
	b = l.appendDecision(b, o)
	b = appendSeconds(append(b, `,"t_client":`...), o.ClientTime)
	b = appendSeconds(append(b, `,"t_queue":`...), o.QueueTime)
	b = appendSeconds(append(b, `,"t_connect":`...), o.ConnectTime)
	b = appendSeconds(append(b, `,"t_response":`...), o.ResponseTime)
	b = appendSeconds(append(b, `,"t_total":`...), o.TotalTime)
	return append(b, "}\n"...)
}

// appendDecision writes what Jetway decided and what came of it.
func (l *accessLog) appendDecision(b []byte, o *Outcome) []byte {
	if service := o.Service(); service != "" {
		b = appendQuoted(append(b, `,"service":`...), service)
	}
	if k := o.Cluster(); k.Domain != "" {
		b = appendQuoted(append(b, `,"domain":`...), k.Domain)
		b = appendQuoted(append(b, `,"sub_domain":`...), k.SubDomain)
	}
	if f := o.Tenant(); f != nil {
		b = appendQuoted(append(b, `,"tenant":`...), f.Name())
		if id, ok := tenantID(f); ok {
			b = strconv.AppendInt(append(b, `,"tenant_id":`...), int64(id), 10)
		}
		b = append(append(append(b, `,"tenant_state":"`...), f.Outcome.String()...), '"')
	}
	if e := o.Endpoint; e != nil {
		b = appendQuoted(append(b, `,"member":`...), e.Upstream.Member().ID)
		b = appendQuoted(append(b, `,"address":`...), e.Address)
		b = strconv.AppendInt(append(b, `,"attempts":`...), int64(o.Attempts), 10)
		b = strconv.AppendBool(append(b, `,"reused":`...), o.Reused)
	}
	b = append(append(append(b, `,"sticky":"`...), o.Session.String()...), '"')
	if o.Reason != "" {
		b = append(append(append(b, `,"reason":"`...), o.Reason...), '"')
		b = append(append(append(b, `,"ended_by":"`...), o.EndedBy()...), '"')
		b = append(append(append(b, `,"phase":"`...), o.Phase.String()...), '"')
	}
	return strconv.AppendUint(append(b, `,"generation":`...), o.Generation, 10)
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
	b = append(b, " - "...)
	if f := o.Tenant(); f != nil && (f.Outcome == tenant.Known || f.Outcome == tenant.Inactive) {
		b = append(b, f.Name()...)
	} else {
		b = append(b, '-')
	}
	b = append(b, " ["...)
	b = l.appendStamp(b, o.Time, "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	if len(o.Method) > 0 {
		b = append(appendEscaped(b, o.Method), ' ')
		b = append(appendEscaped(b, l.target(o)), ' ')
		b = append(b, o.proto()...)
	} else {
		b = append(b, '-')
	}
	b = strconv.AppendInt(append(b, `" `...), int64(o.Status), 10)
	b = strconv.AppendInt(append(b, ' '), o.BytesOut, 10)
	b = appendWord(b, o.Host)
	b = appendWord(b, o.Service())
	if k := o.Cluster(); k.Domain != "" {
		b = append(append(appendWord(b, k.Domain), '/'), k.SubDomain...)
	} else {
		b = append(b, " -"...)
	}
	if o.Endpoint != nil {
		b = appendWord(b, o.Endpoint.Upstream.Member().ID)
	} else {
		b = append(b, " -"...)
	}
	b = appendWord(b, o.Session.String())
	b = appendWord(b, o.Reason)
	b = strconv.AppendInt(append(b, ' '), int64(o.Attempts), 10)
	b = appendMillis(append(b, ' '), o.ClientTime)
	b = appendMillis(append(b, '/'), o.QueueTime)
	b = appendMillis(append(b, '/'), o.ConnectTime)
	b = appendMillis(append(b, '/'), o.ResponseTime)
	b = appendMillis(append(b, '/'), o.TotalTime)
	b = strconv.AppendInt(append(b, ' '), o.BytesIn, 10)
	b = appendWord(b, o.ID)
	switch {
	case o.Endpoint == nil:
		b = append(b, " -"...)
	case o.Reused:
		b = append(b, " kept"...)
	default:
		b = append(b, " new"...)
	}
	if o.TLS {
		b = append(b, " tls"...)
	} else {
		b = append(b, " plain"...)
	}
	b = appendWord(b, o.SNI)
	return append(strconv.AppendUint(append(b, ' '), o.Generation, 10), '\n')
}

func (o *Outcome) proto() string {
	if o.HTTP10 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// appendWord writes a blank and a word, "-" for none.
func appendWord[T string | []byte](b []byte, s T) []byte {
	b = append(b, ' ')
	if len(s) == 0 {
		return append(b, '-')
	}
	return appendEscaped(b, s)
}

// appendEscaped writes text in which nothing can be taken for the end of a
// word, a quoted string or a line: other bytes become \xNN, as nginx writes
// them.
func appendEscaped[T string | []byte](b []byte, s T) []byte {
	plain := 0
	for i := range len(s) {
		c := s[i]
		if c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[plain:i]...)
		plain = i + 1
		b = append(b, '\\', 'x', hexDigit(c>>4), hexDigit(c&15))
	}
	return append(b, s[plain:]...)
}

// appendQuoted writes a JSON string. Bytes beyond ASCII become \u00NN: what is
// no text stays recognisable and cannot break the line.
func appendQuoted[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	plain := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[plain:i]...)
		plain = i + 1
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
			continue
		}
		b = append(b, '\\', 'u', '0', '0', hexDigit(c>>4), hexDigit(c&15))
	}
	return append(append(b, s[plain:]...), '"')
}

func hexDigit(c byte) byte { return "0123456789abcdef"[c] }
