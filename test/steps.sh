# Sourced by .ci/run and test/full.sh: named steps, counted, the last line
# "N passed, N failed". A failed step does not keep the others from running.

passed=0
failed=0
failures=()

# step NAME COMMAND... runs a command, shows how long it took and counts it.
step() {
  local name=$1 start=$SECONDS
  shift
  printf '\n=== %s\n' "$name"
  if "$@" </dev/null; then
    passed=$((passed + 1))
    printf -- '--- passed in %d s: %s\n' $((SECONDS - start)) "$name"
  else
    failed=$((failed + 1))
    failures+=("$name")
    printf -- '--- FAILED in %d s: %s\n' $((SECONDS - start)) "$name"
  fi
}

# finish prints what came of all steps; its status is that of the script.
finish() {
  printf '\n'
  local name
  for name in ${failures[@]+"${failures[@]}"}; do
    printf 'FAILED: %s\n' "$name"
  done
  printf 'took %d s\n' "$SECONDS"
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
}

# install_tools installs the Debian packages that black-box tests run. Where
# all of them are there already nothing is asked of a registry.
install_tools() {
  local missing=() tool
  for tool in serf haproxy nginx caddy curl openssl slowhttptest dnsmasq; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("$tool")
  done
  for tool in keepalived:keepalived nft:nftables ip:iproute2; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
  done
  PATH=$PATH:/usr/sbin:/sbin command -v ip >/dev/null || missing+=(iproute2)
  PATH=$PATH:/usr/sbin:/sbin command -v nft >/dev/null || missing+=(nftables)
  command -v promtool >/dev/null || missing+=(prometheus)
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
  [ -x /usr/share/tomcat10/bin/catalina.sh ] || missing+=(tomcat10)
  PATH=$PATH:/usr/sbin command -v mariadbd >/dev/null || missing+=(mariadb-server)
  [ ${#missing[@]} -eq 0 ] && return 0
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# formatted fails on Go files that gofmt would change.
formatted() {
  local files
  files=$(gofmt -l .)
  [ -z "$files" ] || { printf 'gofmt would change:\n%s\n' "$files"; return 1; }
}

static_check() {
  local tool
  tool=$(go -C test/tools tool -n staticcheck) && "$tool" ./...
}

# fuzz_all TIME runs every fuzz target of the module for that long.
fuzz_all() {
  local file pkg target status=0
  while IFS=: read -r file target; do
    pkg=./$(dirname "$file")
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$pkg" || status=1
  done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/func //; s|^\./||')
  return $status
}

# demo_check BINARY runs the demo's own check, which must pass, and with
# broken routing, where it must not.
demo_check() {
  "$1" demo --check || return 1
  printf '\nwith broken routing:\n'
  local status=0
  "$1" demo --check --break routing || status=$?
  [ "$status" -eq 1 ] || { printf 'demo --check --break routing exited with %d, expected 1\n' "$status"; return 1; }
}
