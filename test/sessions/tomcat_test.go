package sessions

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"jetway/test/harness"
)

const catalina = "/usr/share/tomcat10/bin/catalina.sh"

const serverXML = `<Server port="-1">
  <Service name="Catalina">
    <Connector address="127.0.0.1" port="${member.port}" protocol="HTTP/1.1" maxThreads="32" acceptCount="1024" maxKeepAliveRequests="-1"/>
    <Engine name="Catalina" defaultHost="localhost" jvmRoute="${member.id}">
      <Host name="localhost" appBase="webapps" autoDeploy="false"/>
    </Engine>
  </Service>
</Server>
`

const webXML = `<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="5.0">
  <servlet>
    <servlet-name>jsp</servlet-name>
    <servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class>
    <load-on-startup>1</load-on-startup>
  </servlet>
  <servlet-mapping><servlet-name>jsp</servlet-name><url-pattern>*.jsp</url-pattern></servlet-mapping>
</web-app>
`

const contextXML = `<Context><JarScanner scanClassPath="false" scanManifest="false"/></Context>
`

const countJSP = `<%@ page session="true" contentType="text/plain" trimDirectiveWhitespaces="true" %><%
Integer n = (Integer) session.getAttribute("n");
n = n == null ? 1 : n + 1;
session.setAttribute("n", n);
if (request.getParameter("end") != null) session.invalidate();
%><%= System.getProperty("member.id") + " " + n %>`

// tomcat is a member that counts the requests of a session. Its jvmRoute is
// its id.
type tomcat struct {
	id   string
	port int
	base string
	*harness.Process
}

func newTomcat(t *testing.T, id string) *tomcat {
	t.Helper()
	harness.RequireTool(t, "java")
	harness.RequireTool(t, catalina)
	c := &tomcat{id: id, port: harness.FreePort(t), base: t.TempDir()}
	for name, text := range map[string]string{"conf/server.xml": serverXML, "conf/web.xml": webXML, "conf/context.xml": contextXML,
		"webapps/ROOT/count.jsp": countJSP, "logs/.keep": "", "temp/.keep": "", "work/.keep": ""} {
		path := filepath.Join(c.base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *tomcat) start(t *testing.T) {
	t.Helper()
	c.Process = harness.StartTool(t, "/usr/bin/env", "CATALINA_HOME=/usr/share/tomcat10", "CATALINA_BASE="+c.base,
		fmt.Sprintf("JAVA_OPTS=-Dmember.port=%d -Dmember.id=%s -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1", c.port, c.id),
		catalina, "run")
}

// startTomcats starts all of them before it waits for any.
func startTomcats(t *testing.T, ids ...string) []*tomcat {
	t.Helper()
	var list []*tomcat
	for _, id := range ids {
		c := newTomcat(t, id)
		c.start(t)
		list = append(list, c)
	}
	for _, c := range list {
		c.await(t)
	}
	return list
}

// await waits until it answers, which takes a JVM on a busy machine its time.
func (c *tomcat) await(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get("http://" + harness.Loopback(c.port) + "/count.jsp") // compiles it
		if err == nil {
			res.Body.Close()
			return
		}
		select {
		case <-c.Gone():
			t.Fatalf("%s ended:\n%s", c.id, c.Log())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not answer:\n%s", c.id, c.Log())
		}
	}
}

// TestTomcat: real sessions before three Jetways, one for each mode; every
// client sees one continuous session. Draining a member breaks none, killing
// one breaks its own, each once.
func TestTomcat(t *testing.T) {
	members := startTomcats(t, "t1", "t2", "t3")
	var static string
	for _, c := range members {
		static += fmt.Sprintf("    - {id: %s, domain: d, host: 127.0.0.1, http: %d}\n", c.id, c.port)
	}
	modes := []string{"cookie", "learn", "route"}
	var sites []*site
	var all []clients
	for _, mode := range modes {
		s := startSite(t, static, "{mode: "+mode+"}", "")
		sites = append(sites, s)
		all = append(all, newClients(s, harness.Scale(60, 1000)))
	}
	drained, killed := "t2", members[2]
	rounds := harness.Scale(9, 50)
	for round := range rounds {
		for i, s := range sites {
			switch round {
			case rounds / 3:
				s.post("/api/v1/members/" + drained + "/drain")
			case 2 * rounds / 3:
				all[i].wantBroken(t, modes[i]+" after draining "+drained, "")
				s.post("/api/v1/members/" + drained + "/undrain")
			}
		}
		if round == 2*rounds/3 {
			killed.Signal(syscall.SIGKILL)
			<-killed.Gone()
		}
		for _, list := range all {
			list.round(t)
		}
	}
	for i, list := range all {
		list.wantBroken(t, modes[i]+" after killing "+killed.id, killed.id)
	}
}
