package admin

import (
	"net/http"
	"slices"
	"time"
)

// clusters returns the views of all clusters.
func (s *Server) clusters() []ClusterView {
	now := time.Now().UnixNano()
	all := []ClusterView{}
	for _, c := range s.src.Router.Table().Clusters() {
		all = append(all, clusterView(c, now))
	}
	return all
}

func (s *Server) domains(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, ClusterList{SchemaVersion, s.clusters()})
}

func (s *Server) services(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, ServiceList{SchemaVersion, sumServices(s.clusters())})
}

// sumServices adds clusters up by service; those of a service stand together.
func sumServices(clusters []ClusterView) []ServiceView {
	all := []ServiceView{}
	for i := range clusters {
		c := &clusters[i]
		if n := len(all); n == 0 || all[n-1].Service != c.Service {
			all = append(all, ServiceView{Service: c.Service, Hosts: []string{}, Domains: []string{}, Responses: map[string]uint64{}})
		}
		v := &all[len(all)-1]
		for _, h := range c.Hosts {
			if !slices.Contains(v.Hosts, h) {
				v.Hosts = append(v.Hosts, h)
			}
		}
		if !slices.Contains(v.Domains, c.Domain) {
			v.Domains = append(v.Domains, c.Domain)
		}
		v.Members += c.Members
		v.Up += c.Up
		v.InFlight += c.InFlight
		v.Retries += c.Retries
		for class, n := range c.Responses {
			v.Responses[class] += n
		}
	}
	return all
}
