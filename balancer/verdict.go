package balancer

// SessionVerdict is what became of a client's session in one request.
type SessionVerdict uint8

const (
	SessionNone   SessionVerdict = iota // no affinity there, or the request belongs to no session
	SessionNew                          // bound to a member by this request
	SessionKept                         // went to the member that it is bound to
	SessionBroken                       // its member is gone or unfit: bound to another one, or refused
	SessionVoid                         // what the client sent for it is forged, stale or nothing of ours
)

// String returns the verdict in one lower-case word.
func (v SessionVerdict) String() string {
	words := [...]string{"none", "new", "kept", "broken", "void"}
	if int(v) < len(words) {
		return words[v]
	}
	return "invalid"
}
