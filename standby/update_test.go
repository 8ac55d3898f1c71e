package standby

import "flag"

// -update writes the golden frames anew, for a new version of the protocol.
var _ = flag.Bool("update", false, "write the golden frames anew")
