package proxy

// fault is why a message is not served, each with its answer and its reason
// code. The zero fault is none.
type fault uint8

const (
	noFault fault = iota
	badRequestLine
	badTarget
	badPath
	badField
	badHost
	badLength
	badEncoding
	badChunk
	badUpgrade
	badExpect
	unknownEncoding
	unsupportedVersion
	methodRefused
	targetTooLong
	headTooLarge
	bodyTooLarge
	headTimeout
	bodyTimeout
	noHost
	unknownTenant
	noDomain
	noMember
	noPort
	overloaded
	connectFailed
	connectTimeout
	memberBroke
	memberInvalid
	responseTimeout
	clientGone
	crashed
	misdirected
	tooManyUpgrades
	inactiveTenant
	directoryDown
	limited
	faults // their number
)

// status is the code of the answer; 0 where none can be given.
func (f fault) status() int {
	switch f {
	case badRequestLine, badTarget, badPath, badField, badHost, badLength, badEncoding, badChunk, badUpgrade:
		return 400
	case unknownTenant, inactiveTenant:
		return 403
	case noHost, noDomain:
		return 404
	case methodRefused:
		return 405
	case headTimeout, bodyTimeout:
		return 408
	case bodyTooLarge:
		return 413
	case targetTooLong:
		return 414
	case misdirected:
		return 421
	case badExpect:
		return 417
	case limited:
		return 429
	case headTooLarge:
		return 431
	case clientGone:
		return 499
	case crashed:
		return 500
	case unknownEncoding:
		return 501
	case connectFailed, memberBroke, memberInvalid:
		return 502
	case noMember, noPort, overloaded, tooManyUpgrades, directoryDown:
		return 503
	case connectTimeout, responseTimeout:
		return 504
	case unsupportedVersion:
		return 505
	}
	return 0
}

// code is the reason code in bodies, logs and metrics.
func (f fault) code() string {
	return [faults]string{"", "bad_request_line", "bad_target", "bad_path", "bad_field", "bad_host",
		"bad_content_length", "bad_transfer_encoding", "bad_chunk", "bad_upgrade", "bad_expect",
		"unknown_transfer_encoding", "unsupported_version", "method_refused", "target_too_long",
		"head_too_large", "body_too_large", "head_timeout", "body_timeout", "no_host", "unknown_tenant",
		"no_domain", "no_member", "no_port", "overloaded", "connect_failed", "connect_timeout",
		"member_broke", "member_invalid", "response_timeout", "client_gone", "crashed", "misdirected", "upgrade_limit",
		"inactive_tenant", "directory", "limited"}[f]
}

// text is the sentence that people read.
func (f fault) text() string {
	return [faults]string{"", "The request line is malformed.", "The request target is malformed.",
		"The path could be read in two ways.", "A header field is malformed.", "The Host field is missing or malformed.",
		"The Content-Length is malformed.", "The Transfer-Encoding is malformed.", "The chunked body is malformed.",
		"An upgrade cannot carry a body.", "The expectation is not known.", "The transfer coding is not known.",
		"The HTTP version is not supported.", "The method is not allowed here.", "The request target is too long.",
		"The header fields are too large.", "The body is too large.", "The request head came too slowly.",
		"The request body came too slowly.", "No service has this host name.", "This tenant is not known.",
		"No domain serves this tenant.", "No member can serve this request now.",
		"No member serves this port.", "Too many requests are waiting.", "The member could not be reached.",
		"The member could not be reached in time.", "The member broke the connection.", "The member's answer is invalid.",
		"The member did not answer in time.", "The client went away.", "Internal error.", "This connection is for another host name.", "Too many connections are upgraded.",
		"This tenant is switched off.", "Whose request this is cannot be found out now.",
		"This tenant sends too many requests."}[f]
}

// closes reports whether the client's connection ends with the answer: always
// after what makes the position in its stream doubtful.
func (f fault) closes() bool {
	return f < noHost || f == crashed
}

// retryAfter is the seconds after which a client may try again, 0: not said.
func (f fault) retryAfter() int {
	switch f {
	case noMember, noPort, overloaded, tooManyUpgrades, directoryDown:
		return 1
	}
	return 0
}
