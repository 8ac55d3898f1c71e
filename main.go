// Command jetway is a load balancer for products with many tenants; see
// README.md. Everything it can do is a command of package cli.
package main

import (
	"os"

	"jetway/cli"
)

func main() { os.Exit(cli.Execute(os.Args[1:])) }
