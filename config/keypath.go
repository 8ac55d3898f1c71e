package config

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

// keyOf returns where in the file a node stands, such as
// "membership.static[0].host"; empty for the file as a whole and for what is
// not in it. Only who has a problem pays for the map.
func (d *decoder) keyOf(at *yaml.Node) string {
	if d.places == nil {
		d.places = map[*yaml.Node]string{}
		if d.root != nil {
			d.place(d.root, "")
		}
	}
	return d.places[at]
}

func (d *decoder) place(n *yaml.Node, path string) {
	d.places[n] = path
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			d.place(child, fmt.Sprintf("%s[%d]", path, i))
		case i%2 == 0: // a key
			inside := child.Value
			if path != "" {
				inside = path + "." + child.Value
			}
			d.places[child] = inside
			if i+1 < len(n.Content) {
				d.place(n.Content[i+1], inside)
			}
		}
	}
}
