package config

import "strings"

// key describes one key of loadbalancer.conf. The table below decides which
// keys exist and what they are when left out; docs/configuration.md is compared
// with it.
type key struct {
	path     string // sections joined by dots; <...> is a name of the user's, [] an element of a list
	kind     string // what is expected, in the user's words
	standard string // the default; required where there is none
	meaning  string
}

// required marks a key that has no default; noDefault one that may be absent.
const (
	required  = "required"
	noDefault = "none"
)

// schema lists every key that is accepted, in the order of the documentation.
// "<block>" stands for services.defaults, a service, a domain and a sub-domain.
func schema() []key {
	return []key{
		{"loadbalancer", "section", required, "this process: where it listens and what it allows"},
		{"loadbalancer.name", "name", "lb1", "a label, shown in logs and to peers"},
		{"loadbalancer.installation", "name", "default", "members and peers of another installation are refused"},
		{"loadbalancer.state_dir", "directory", `""`, "where facts are kept over restarts; empty: nothing is kept"},
		{"loadbalancer.listeners", "list of sections", required, "addresses on which clients are accepted"},
		{"loadbalancer.listeners[].name", "name", "the address", "how sub-domains and logs refer to it"},
		{"loadbalancer.listeners[].address", "address", required, "host:port; without host every local address; port 0 is any free port"},
		{"loadbalancer.listeners[].public_port", "port", "the port of address", "what clients dial, where something in front changes the port; port mappings go by it"},
		{"loadbalancer.listeners[].tls", "section", noDefault, "makes it an HTTPS listener"},
		{"loadbalancer.listeners[].tls.certificates", "list of sections", required, "chosen by the name the client asks for; the first is the default"},
		{"loadbalancer.listeners[].tls.certificates[].cert_file", "file", required, "PEM, the server's certificate first"},
		{"loadbalancer.listeners[].tls.certificates[].key_file", "file", required, "PEM private key of the certificate"},
		{"loadbalancer.listeners[].tls.client_ca_file", "file", `""`, "PEM of who signs client certificates; members learn the subject as X-Client-Cert-Subject; empty: none are asked for"},
		{"loadbalancer.listeners[].tls.require_client_cert", "true or false", "false", "refuse clients without a certificate; needs client_ca_file"},
		{"loadbalancer.listeners[].tls.ticket_key_file", "file", `""`, "keys of session tickets, base64 of 32 bytes a line, the first in use; shared by load balancers that resume each other's sessions; empty: keys of this process, renewed daily"},
		{"loadbalancer.listeners[].tls.strict_sni", "true or false", "false", "421 where Host is not the name that the TLS session is for"},
		{"loadbalancer.listeners[].proxy_protocol", "true or false", "false", "every connection begins with a PROXY protocol header, version 1 or 2, that names the client"},
		{"loadbalancer.admin", "section", noDefault, "the operators' API and metrics"},
		{"loadbalancer.admin.address", "address", "127.0.0.1:9280", "host:port; if the default is taken Jetway runs without, if one given here is taken it does not start"},
		{"loadbalancer.session_timeout", "duration", "10m", "how long a session lasts without a request, where affinity.timeout does not say it; at least 1s"},
		{"loadbalancer.fail_over", "true or false", "true", "false: never another member after a failed connect"},
		{"loadbalancer.timeouts", "section", noDefault, "how long one wait may take; 0s: no limit, where it is allowed"},
		{"loadbalancer.timeouts.header", "duration", "10s", "a whole request head, from its first byte; above 0s"},
		{"loadbalancer.timeouts.body_min_rate", "size", "512B", "per second, that a request body must keep; 0B: none"},
		{"loadbalancer.timeouts.idle", "duration", "60s", "a kept-alive client connection between requests; above 0s"},
		{"loadbalancer.timeouts.connect", "duration", "1s", "a connection to a member; above 0s"},
		{"loadbalancer.timeouts.response_header", "duration", "60s", "from the end of the request to the head of the response"},
		{"loadbalancer.timeouts.response_idle", "duration", "5m", "without progress while a response streams"},
		{"loadbalancer.timeouts.total", "duration", "0s", "the whole request"},
		{"loadbalancer.timeouts.upgrade_idle", "duration", "1h", "an upgraded connection (WebSocket) without a byte in either direction"},
		{"loadbalancer.timeouts.drain", "duration", "30s", "for requests in flight when Jetway stops"},
		{"loadbalancer.limits", "section", noDefault, "what one client may send"},
		{"loadbalancer.limits.header_bytes", "size", "32KiB", "a whole request head, 1KiB to 1MiB"},
		{"loadbalancer.limits.header_fields", "number", "100", "header lines, 1 to 10000"},

		{"loadbalancer.limits.connections", "number", "0", "client connections in all; 0: 60 % of what the descriptor limit leaves, which is also the most"},
		{"loadbalancer.limits.connections_per_source", "number", "0", "client connections of one IPv4 address or IPv6 /64; 0: no limit"},
		{"loadbalancer.limits.requests_per_connection", "number", "0", "after them a client connection is closed; 0: no limit"},
		{"loadbalancer.limits.upgrades", "number", "0", "upgraded connections (WebSocket) in all; 0: no limit"},
		{"loadbalancer.limits.sessions", "number", "1000000", "learned sessions in all, about 50 bytes each; 1000 or more; a change needs a restart"},
		{"loadbalancer.trusted_proxies", "list of networks", "[]", "whose forwarding fields (X-Forwarded-*, Forwarded, X-Real-IP, X-Request-Id) and tenant headers are believed; everybody else's are replaced"},

		{"membership", "section", noDefault, "where members come from; all sources may be used at once"},
		{"membership.gossip", "section", noDefault, "the Serf gossip pool in which members announce themselves; absent: no gossip"},
		{"membership.gossip.bind", "IP:port", required, "UDP and TCP"},
		{"membership.gossip.advertise", "IP:port", `""`, "what others are told; empty: bind"},
		{"membership.gossip.join", "list of host:port", "[]", "well-known addresses, at least two; members and other Jetways alike"},
		{"membership.gossip.key_file", "file", `""`, "base64 of 32 bytes, as `jetway keygen gossip` writes it; needed unless bind is loopback; of several lines the first encrypts, all are understood"},
		{"membership.gossip.insecure", "true or false", "false", "allow gossip beyond loopback without a key: anyone who reaches the port can take traffic"},
		{"membership.gossip.allowed_cidrs", "list of networks", "[]", "where members may be; empty: everywhere"},
		{"membership.gossip.failed_grace", "duration", "60s", "how long a member stays that only gossip says failed; longer only while more than half of them failed; above 0s"},
		{"membership.static", "list of sections", "[]", "members that do not gossip"},
		{"membership.static[].id", "name", "host and port", "unique within the domain"},
		{"membership.static[].domain", "name", required, "the domain it serves"},
		{"membership.static[].sub_domain", "name or names", "worker", "one or several, separated by commas"},
		{"membership.static[].host", "host", required, "IP address or host name, without port; a name is one member per address, looked up again and again"},
		{"membership.static[].http", "port", noDefault, "for requests in the clear"},
		{"membership.static[].https", "port", noDefault, "for requests over TLS"},
		{"membership.static[].port_mapping", "section", noDefault, "`public port: port of the member`, for requests that came in on that public port"},
		{"membership.static[].weight", "number", "1", "share of the load relative to the others, 1 to 1000"},
		{"membership.static[].zone", "text", `""`, "free text, shown to operators"},
		{"membership.exec", "list of sections", "[]", "commands that print members, see docs/membership.md"},
		{"membership.exec[].name", "name", "the program", "what it is called in logs and metrics; unique"},
		{"membership.exec[].command", "list of texts", required, "program and arguments, run without a shell in the directory of this file"},
		{"membership.exec[].interval", "duration", "10s", "between two runs, at least 1s"},
		{"membership.exec[].timeout", "duration", "5s", "after which it is killed; the last good list stays"},
		{"membership.dns", "section", noDefault, "how the names in join, static and exec are looked up"},
		{"membership.dns.servers", "list of IP:port", "[]", "asked in turn; empty: those of the system"},
		{"membership.dns.interval", "duration", "10s", "between two questions for one name, at least 1s"},
		{"membership.dns.timeout", "duration", "2s", "of one question; above 0s"},

		{"standby", "section", noDefault, "the other load balancers of the installation, and who holds the address; absent: no peers"},
		{"standby.listen", "IP:port", required, "where peers connect, over TLS"},
		{"standby.advertise", "IP:port", `""`, "what gossip tells peers; empty: listen"},
		{"standby.peers", "list of host:port", "[]", "peers that gossip does not tell; it is enough if one of two knows the other"},
		{"standby.key_file", "file", `""`, "the same on all peers: base64 of 32 bytes a line, as `jetway keygen peer` writes it, the first in use, all accepted"},
		{"standby.tls", "section", noDefault, "certificates instead of key_file"},
		{"standby.tls.cert_file", "file", required, "PEM, this peer's certificate first"},
		{"standby.tls.key_file", "file", required, "PEM private key of the certificate"},
		{"standby.tls.ca_file", "file", required, "PEM of who signs the certificates of peers, and of nobody else"},
		{"standby.priority", "number", "100", "1 to 254: the greatest is preferred for the address, and acts for all where nobody says who is active"},
		{"standby.snapshot_rate", "size", "64MiB", "per second, of whole copies to one peer"},
		{"standby.handover_drain", "duration", "5s", "how long clients are told to close before `jetway handover` moves the address"},
		{"standby.track_file", "file", `""`, "how `jetway guard` tells keepalived; empty: `NAME.track` in state_dir, or in /run/jetway"},
		{"standby.virtual_address", "IP/length", noDefault, "the address that moves between the peers; listeners on it are bound before this host has it"},
		{"standby.interface", "interface", noDefault, "that carries virtual_address"},
		{"standby.virtual_router_id", "number", "51", "of VRRP, 1 to 255: the same on all peers, and used by nobody else on the network"},

		{"tenants", "section", noDefault, "whose request is it"},
		{"tenants.identify", "list of sections", "see below", "where the tenant's name stands; the first that finds one wins"},
		{"tenants.identify[].path", "path pattern", noDefault, "literal segments, then `{tenant}`; with `**` in front it matches anywhere in the path"},
		{"tenants.identify[].host", "host pattern with {tenant}", noDefault, "such as `{tenant}.apps.example.com`: the labels in front of the others name the tenant"},
		{"tenants.identify[].header", "header field", noDefault, "believed from trusted_proxies only, everybody else's is removed"},
		{"tenants.identify[].cookie", "text", noDefault, "name of a cookie, believed from trusted_proxies only"},
		{"tenants.identify[].query", "text", noDefault, "name of a query parameter; looked at where no other rule found a name"},
		{"tenants.super", "tenant name", "carbon.super", "goes where requests without tenant go"},
		{"tenants.unknown", "default or refuse", "default", "a tenant that the directory does not have: to the range `*`, or 403"},
		{"tenants.directory", "section", noDefault, "where tenant ids come from: one of file, sql, http and embedded; absent: every tenant is unknown"},
		{"tenants.directory.file", "file", noDefault, "a .csv with lines of name,id,active,plan or a .yaml with a list of such sections; the last two may be left out"},
		{"tenants.directory.max_shrink", "percentage", "50%", "share of the tenants in a file that may be gone when it is loaded again; with more the reload is refused"},
		{"tenants.directory.ttl", "duration", "5m", "sql, http, embedded: how old an answer gets before it is refreshed, while it goes on being used; above 0s"},
		{"tenants.directory.negative_ttl", "duration", "10s", "how long a name is believed not to exist; above 0s"},
		{"tenants.directory.timeout", "duration", "250ms", "the longest that a request waits for an answer; above 0s, at most 10s"},
		{"tenants.directory.entries", "number", "1000000", "answers remembered, at least 1000"},
		{"tenants.directory.concurrency", "number", "16", "questions at a time"},
		{"tenants.directory.rate", "number", "1000", "questions per second for names that are not known; 0: no limit"},
		{"tenants.directory.sql", "section", noDefault, "a table of a database"},
		{"tenants.directory.sql.driver", "postgres, mysql or sqlite", required, "mysql is for MariaDB too"},
		{"tenants.directory.sql.dsn", "text", `""`, "where the database is, in the words of its driver; from the environment, such as `${TENANTS_DSN}`, it is not shown"},
		{"tenants.directory.sql.dsn_file", "file", `""`, "a file that holds the DSN, instead of dsn"},
		{"tenants.directory.sql.query", "text", `""`, "returns id, and perhaps active and plan, for a name at its one `?`; empty: UM_ID of UM_TENANT by UM_DOMAIN_NAME"},
		{"tenants.directory.sql.active", "true or false", "false", "the standard query looks at UM_ACTIVE too"},
		{"tenants.directory.sql.connections", "number", "8", "to the database, 1 to 1000"},
		{"tenants.directory.sql.idle", "duration", "1m", "after which an unused connection is closed"},
		{"tenants.directory.sql.lifetime", "duration", "30m", "after which any connection is replaced"},
		{"tenants.directory.http", "section", noDefault, "a service that answers GET with `{\"id\": 42, \"active\": true, \"plan\": \"gold\"}`, or 404"},
		{"tenants.directory.http.url", "text", required, "with `{tenant}` where the name belongs"},
		{"tenants.directory.http.ca_file", "file", `""`, "PEM; empty: the system's authorities"},
		{"tenants.directory.http.token", "text", `""`, "sent as bearer token"},
		{"tenants.directory.http.token_file", "file", `""`, "a file that holds the token, instead of token"},
		{"tenants.directory.embedded", "section", noDefault, "a file of Jetway's own, edited by `jetway tenants`"},
		{"tenants.directory.embedded.file", "file", "tenants.db", "relative to state_dir"},
		{"tenants.plans", "section", noDefault, "limits by plan, for the tenants that the directory or this file says have it"},
		{"tenants.plans.<plan>", "section", noDefault, "what it leaves out stays as the service says; 0: no limit"},
		{"tenants.plans.<plan>.tenants", "list of tenant names", "[]", "that have this plan, whatever the directory says"},
		{"tenants.plans.<plan>.body", "size", noDefault, "a request body"},
		{"tenants.plans.<plan>.tenant_in_flight", "number", noDefault, "requests at a time"},
		{"tenants.plans.<plan>.tenant_rate", "rate", noDefault, "requests per second"},
		{"tenants.plans.<plan>.tenant_burst", "number", noDefault, "requests at once after a pause"},
		{"tenants.headers", "section", noDefault, "header fields that tell members the tenant; the client's own are removed"},
		{"tenants.headers.id", "header field", "X-Tenant-Id", `empty: not sent`},
		{"tenants.headers.name", "header field", "X-Tenant-Name", `empty: not sent`},

		{"services", "section", required, "the products behind Jetway, by name"},
		{"services.defaults", "section", noDefault, "a <block> for all services"},
		{"services.<service>", "section", required, "a <block>; at least one service"},
		{"services.<service>.identify", "list of sections", noDefault, "as tenants.identify, which it replaces for this service"},
		{"services.<service>.identify[].path", "path pattern", noDefault, "see tenants.identify"},
		{"services.<service>.identify[].host", "host pattern with {tenant}", noDefault, "likewise"},
		{"services.<service>.identify[].header", "header field", noDefault, "likewise"},
		{"services.<service>.identify[].cookie", "text", noDefault, "likewise"},
		{"services.<service>.identify[].query", "text", noDefault, "likewise"},
		{"services.<service>.domains", "section", required, "clusters of interchangeable members, by the name that members announce"},
		{"services.<service>.domains.<domain>", "section", required, "a <block>; at least one domain"},
		{"services.<service>.domains.<domain>.tenant_range", "tenant range", `"*"`, "tenants served: ids and intervals such as `1-100,200`; `\"*\"` is everybody whom no other domain of the same host serves"},
		{"services.<service>.domains.<domain>.sub_domains", "section", noDefault, "parts of the domain by name; absent: one, called worker"},
		{"services.<service>.domains.<domain>.sub_domains.<sub_domain>", "section", noDefault, "a <block>"},

		{"<block>.hosts", "list of host patterns", noDefault, "names that lead here: exact, or `*.` and a suffix; needed on a service, domain or sub-domain, not possible in defaults"},
		{"<block>.balance", "least_requests or round_robin", "least_requests", "how a member is chosen"},
		{"<block>.retry", "section", noDefault, "another member where the first could not be reached"},
		{"<block>.retry.attempts", "number", "2", "members tried per request, the first included, 1 to 10"},
		{"<block>.retry.budget", "percentage", "20%", "share of requests that may be repeated"},
		{"<block>.member_scheme", "same, http or https", "same", "how members are spoken to: as the client came, in the clear, or by TLS"},
		{"<block>.member_tls", "section", noDefault, "how a member's certificate is verified"},
		{"<block>.member_tls.ca_file", "file", `""`, "PEM; empty: the system's authorities"},
		{"<block>.member_tls.server_name", "host", `""`, "name the certificate must carry; empty: the member's host"},
		{"<block>.member_tls.insecure", "true or false", "false", "verify nothing"},
		{"<block>.require_signature", "section", noDefault, "members that gossip need a signature of the domain's key, see docs/membership.md"},
		{"<block>.require_signature.public_key_file", "file", `""`, "PEM, one or several Ed25519 public keys, as `jetway keygen domain` writes them; empty: no signature is needed"},
		{"<block>.limits", "section", noDefault, "what one request and one tenant may take"},
		{"<block>.limits.body", "size", "0B", "a request body, 413 beyond; 0B: no limit"},
		{"<block>.limits.tenant_in_flight", "number", "0", "requests of one tenant at a time, 429 beyond; 0: no limit"},
		{"<block>.limits.tenant_rate", "rate", "0", "requests of one tenant per second, such as 50 or 0.5, 429 beyond; 0: no limit"},
		{"<block>.limits.tenant_burst", "number", "0", "requests of one tenant at once after a pause; 0: those of one second"},
		{"<block>.limits.dry_run", "true or false", "false", "only count what is over these limits, body included"},
		{"<block>.rewrite", "section", noDefault, "what names the member in a response, changed to what the client dialled"},
		{"<block>.rewrite.location", "true or false", "false", "Location and Content-Location that name the member's address, port or scheme"},
		{"<block>.rewrite.cookies", "true or false", "false", "cookies: a Domain that is the member's host is removed, Secure is added where only the client's side is TLS"},
		{"<block>.listeners", "list of names", "[]", "listeners on which it is reachable; empty: all"},
		{"<block>.allow_from", "list of networks", "[]", "clients that may reach it; empty: everybody"},
		{"<block>.affinity", "section", noDefault, "how a client stays with its member"},
		{"<block>.affinity.mode", "cookie, route, learn, source or none", "cookie", "by a cookie of Jetway's own, by a suffix in the application's session cookie, by remembering that cookie, by where the client comes from, or not at all; see [sessions](sessions.md)"},
		{"<block>.affinity.timeout", "duration", "the session_timeout", "how long a session lasts without a request; modes cookie and learn"},
		{"<block>.affinity.key_file", "file", `""`, "keys of cookies, the one in use first and at most one from before, by jetway keygen cookie; the same file on all load balancers; empty: a key in state_dir, or of this process"},
		{"<block>.affinity.cookies", "list of cookie names", "JSESSIONID, PHPSESSID", "the application's session cookies; modes learn and route"},
		{"<block>.affinity.strip_unknown", "true or false", "false", "session cookies that nothing is known of are kept from members; mode learn"},
		{"<block>.affinity.source", "address or header:NAME", "address", "what mode source goes by"},
		{"<block>.affinity.cookie", "section", noDefault, "how the cookie of mode cookie looks"},
		{"<block>.affinity.cookie.name", "name", "JETWAY", "stem of its name; a hyphen and four characters for cluster and tenant follow"},
		{"<block>.affinity.cookie.path", "path", "/", "paths at which browsers send it"},
		{"<block>.affinity.cookie.same_site", "lax, strict or none", "lax", "whether browsers send it with requests from other sites; none only works by TLS"},
		{"<block>.affinity.cookie.max_age", "duration", "0s", "how long browsers keep it; 0s: until they end"},
	}
}

// defaultText returns the default of a key as it would stand in the file;
// false where the decoder has to find one or there is none.
func (k key) defaultText() (string, bool) {
	switch {
	case k.standard == `""`:
		return "", true
	case k.standard == required, k.standard == noDefault, k.standard == "[]", strings.Contains(k.standard, " "):
		return "", false
	}
	return strings.Trim(k.standard, `"`), true
}
