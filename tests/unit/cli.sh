#!/bin/bash
# cli.sh - the command line: help of every command, exit codes, what `valet check` says of good and bad files.
# usage: cli.sh VALET EXAMPLE_YAML
# SPDX-License-Identifier: Apache-2.0
set -u
valet="$(realpath "$1")"
example="$(realpath "$2")"
failures=0
dir="$(mktemp -d "${TMPDIR:-/tmp}/valet-cli.XXXXXX")" || exit 1
trap 'rm -rf "$dir"' EXIT
unset VALET_CONFIG
cd "$dir" || exit 1

fail() {
	printf 'FAILED: %s\n' "$*"
	failures=$((failures + 1))
}

# expect CODE ARGUMENTS...: runs valet with them; out and err hold what it said.
expect() {
	local want="$1" got
	shift
	"$valet" "$@" >"$dir/.out" 2>"$dir/.err"
	got=$?
	out="$(cat "$dir/.out")"
	err="$(cat "$dir/.err")"
	if [ $got -eq "$want" ]; then printf 'ok: valet %s: %s\n' "$*" $got; else fail "valet $*: exit code $got, not $want: $out$err"; fi
}
says() { case $out in *"$1"*) ;; *) fail "no '$1' in the output: $out" ;; esac; }
complains() { case $err in *"$1"*) ;; *) fail "no '$1' in what it complains of: $err" ;; esac; }
quiet() { [ -z "$out" ] || fail "said something on standard output: $out"; }
is_json() {
	if command -v python3 >/dev/null 2>&1; then
		python3 -m json.tool <"$dir/.out" >/dev/null 2>&1 || fail "not JSON: $out"
	else
		node -e 'JSON.parse(require("fs").readFileSync(0))' <"$dir/.out" >/dev/null 2>&1 || fail "not JSON: $out"
	fi
}

# ---- help and version ----

expect 0 --help
says 'usage: valet COMMAND'
all="$out"
expect 0
[ "$out" = "$all" ] || fail 'valet alone is not valet --help'
expect 0 help
[ "$out" = "$all" ] || fail 'valet help is not valet --help'
commands="$(printf '%s\n' "$all" | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p')"
[ "$(printf '%s\n' "$commands" | wc -l)" -ge 4 ] || fail "few commands: $commands"
for command in $commands; do
	expect 0 "$command" --help
	says "usage: valet $command"
	says '--help'
	one="$out"
	expect 0 "$command" -h
	expect 0 help "$command"
	[ "$out" = "$one" ] || fail "valet help $command is not valet $command --help"
	expect 2 "$command" --no-such-option
	complains "valet $command: "
	quiet
done
expect 0 --version
case $out in 'valet '[0-9]*.[0-9]*.[0-9]*) ;; *) fail "version: $out" ;; esac
version="$out"
for form in version -V; do
	expect 0 $form
	[ "$out" = "$version" ] || fail "$form says $out"
done

# ---- wrong usage ----

expect 2 chek
complains "there is no command \"chek\"; did you mean check?"
quiet
expect 2 frobnicate
complains 'valet --help lists them'
expect 2 help chek
complains 'did you mean check?'
expect 2 --nothing
expect 2 ''
expect 2 check --jsn
complains 'did you mean --json?'
expect 2 check --config
complains 'expected FILE'
expect 2 check --json=yes
expect 2 check one two
complains 'unexpected argument "two"'
expect 2 serve --lisen 127.0.0.1:1
complains 'did you mean --listen?'
expect 2 reference
complains 'settings, errors, metrics, cli'
expect 2 reference everything
expect 2 version now

# ---- check ----

expect 0 check
says 'no settings file'
printf 'listen: 127.0.0.1:9300\n' >good.yaml
expect 0 check good.yaml
says 'fine: 0 errors, 0 warnings'
expect 0 check -cgood.yaml
expect 0 check --config=good.yaml --json
is_json
says '"ok":true'
printf 'listen: 127.0.0.1:9300\nworkers: many\nlog:\n  levl: info\n' >bad.yaml
expect 1 check bad.yaml
says 'bad.yaml:2:1: workers: '
says 'bad.yaml:4:3: log.levl: '
says 'level'
says 'refused: 2 errors'
expect 1 check bad.yaml --json
is_json
says '"ok":false'
says '"line":4'
printf 'listen: [\n' >broken.yaml
expect 1 check broken.yaml
says 'broken.yaml:2:1: '
expect 1 check missing.yaml
says 'missing.yaml: '
expect 1 check missing.yaml --json
is_json
expect 1 check .
expect 1 serve -c bad.yaml
complains 'bad.yaml:2:1: workers: '
VALET_CONFIG=bad.yaml expect 1 check
says 'bad.yaml:2:1: '
cp good.yaml valet.yaml
expect 0 check
says 'fine'
expect 0 check -- good.yaml

# ---- the example ----

CLOUD_API_KEY=a-secret expect 0 check "$example"
says 'fine: 0 errors, 0 warnings'
CLOUD_API_KEY=a-secret expect 0 check "$example" --json
is_json
case $out in *a-secret*) fail 'the secret is shown' ;; esac

[ $failures -eq 0 ] || printf '%d failures\n' $failures
[ $failures -eq 0 ]
