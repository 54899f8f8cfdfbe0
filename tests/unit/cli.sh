#!/bin/bash
# cli.sh - the command line: help of every command, exit codes, what `valet check` says of good and bad files.
# usage: cli.sh VALET EXAMPLE_YAML
# SPDX-License-Identifier: Apache-2.0
set -u
valet="$(realpath "$1")"
example="$(realpath "$2")"
failures=0
dir="$(mktemp -d "${TMPDIR:-/tmp}/valet-cli.XXXXXX")" || exit 1
server=
stop_server() {
	[ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null
	server=
}
trap 'stop_server; rm -rf "$dir"' EXIT
unset VALET_CONFIG VALET_ADMIN VALET_ADMIN_KEY
export VALET_STATE="$dir/state"
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
expect 0 key
below="$(printf '%s\n' "$out" | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p')"
[ "$(printf '%s\n' "$below" | wc -l)" -ge 8 ] || fail "few commands below key: $below"
for command in $below; do
	expect 0 key "$command" --help
	says "usage: valet key $command"
	says '--help'
	one="$out"
	expect 0 help key "$command"
	[ "$out" = "$one" ] || fail "valet help key $command is not valet key $command --help"
	expect 2 key "$command" --no-such-option
	complains "valet key $command: "
	quiet
done
for command in '' $commands 'key create' 'key update' 'target drain'; do
	# shellcheck disable=SC2086 # words
	expect 0 $command --help
	long="$(printf '%s\n' "$out" | awk 'length > 80 && !/^usage/')"
	[ -z "$long" ] || fail "valet $command --help has lines of more than 80 columns: $long"
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
complains 'settings, errors, metrics, cli, admin-api'
expect 2 reference everything
expect 2 version now
expect 2 key crate
complains 'there is no command "crate"; did you mean create?'
expect 2 help key nothing
complains 'valet key --help lists them'
expect 2 key create
complains 'expected the name of a key'
expect 2 key create one two
expect 2 key create one --bugdet 5
complains 'did you mean --budget?'
expect 2 key create one --model-rpm qwen
complains '--model-rpm: expected GLOB=N, found "qwen"'
expect 2 key create one --budget none --budget 5
expect 2 key update one
complains 'expected at least one option'
expect 2 key delete one
complains 'expected --yes'
expect 2 usage --by moon
complains 'found "moon"'
expect 2 usage --json --csv
expect 2 live stop
complains 'valet live lists the ids'
expect 2 live go
expect 2 live $'go\e[2J'
case $err in *$'\e'*) fail 'a control character reaches the terminal' ;; esac
expect 2 usage --by $'moon\e[2J'
case $err in *$'\e'*) fail 'a control character reaches the terminal' ;; esac
expect 2 check -c one two
complains 'expected one file'
long="$(head -c 30000 /dev/zero | tr '\0' x)"
for question in 'explain --model' 'usage --key' 'target show' 'live stop' 'key show'; do
	# shellcheck disable=SC2086 # words
	"$valet" $question "$long" >.out 2>.err
	[ $? -eq 2 ] || fail "valet $question with a name of 30000 letters does not exit with 2"
	grep -q 'too long' .err || fail "valet $question does not say that the name is too long"
done
expect 1 recover --state missing
complains 'missing: No such file or directory; expected a state folder'
: >a-file
expect 1 recover --state a-file
complains 'a-file: Not a directory; expected a state folder'
mkdir closed
ln -s nowhere closed/lock
for look in 'recover --check' recover live 'key list' 'target list'; do
	# shellcheck disable=SC2086
	expect 1 $look --state closed # which cannot be told: neither whole nor unused
	complains 'cannot look into the state folder closed: '
	quiet
done
for look in 'key list' usage; do
	# shellcheck disable=SC2086
	expect 1 $look --state misspelt
	complains 'there is no state folder misspelt'
	[ ! -e misspelt ] || fail "valet $look made a state folder"
done
[ ! -e state ] || fail 'a wrong command line made a state folder'

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

# ---- keys, usage, recover: on the folder itself, and then through a server ----

# told NAME: what `key show NAME` says behind that label.
told() { printf '%s\n' "$out" | sed -n "s/^$1  *//p"; }
is_secret() { printf '%s' "$1" | grep -Eq '^vk_[0-9A-Za-z]{10}_[0-9A-Za-z]{40,}_[0-9A-Za-z]+$' || fail "no secret: $1"; }

story() {
	expect 0 key create "$1" --models 'qwen*,nomic*' --rpm 60 --budget 1M/month --budget '$5/week' --model-budget 'qwen-72b=100k/day' --tag team=home
	says "The key $1 ("
	says 'is not shown again'
	says 'export OPENAI_BASE_URL=http://127.0.0.1:'
	secret="$(printf '%s\n' "$out" | sed -n 's/.*OPENAI_API_KEY=//p')"
	is_secret "$secret"
	expect 1 key create "$1"
	complains "$1"
	expect 2 key create "$1-x" --rpm banana
	complains '--rpm: expected a whole number'
	expect 2 key create 'bad name'
	complains 'valet key create: name: expected'
	expect 0 key create "$1-batch" -q --class batch --expires 90d
	is_secret "$out"
	expect 0 key list
	says 'NAME '
	says '1M/month 0%/100%'
	says 'qwen-72b=100k/day 0%/100%'
	says "$1-batch"
	expect 0 key list --json
	is_json
	case $out in *"$secret"* | *hash*) fail "key list --json shows too much: $out" ;; esac
	expect 0 key show "$1"
	[ "$(told state)" = active ] || fail "state: $out"
	[ "$(told models)" = 'qwen*, nomic*' ] || fail "models: $out"
	[ "$(told tags)" = 'team=home' ] || fail "tags: $out"
	id="$(told id)"
	expect 0 key update "$id" --budget none --models none --rpm off --max-wait off --local-only
	[ "$(told models)" = all ] || fail "models after update: $out"
	[ -z "$(told rpm)" ] || fail "rpm after update: $out"
	case $out in *1M/month* | *week*) fail "budgets after update: $out" ;; esac
	says '100k/day'
	expect 0 key update "$1" --name "$1-new"
	expect 1 key show "$1"
	complains 'there is no key'
	expect 1 key show "$1-nev"
	complains "did you mean $1-new?"
	expect 0 key rotate "$1-new" --overlap 1h
	says 'The old one is valid until '
	expect 0 key rotate "$1-new" --overlap 0s -q
	is_secret "$out"
	[ "$out" != "$secret" ] || fail 'the secret was not changed'
	expect 2 key rotate "$1-new" --overlap soon
	complains '--overlap: '
	expect 0 key advise
	says "$1-new"
	expect 0 key advise "$1-new" --json
	is_json
	expect 0 key revoke "$1-batch"
	expect 0 key show "$1-batch"
	[ "$(told state)" = revoked ] || fail "state after revoke: $out"
	expect 0 key delete "$1-batch" --yes
	expect 1 key show "$1-batch"
	for by in key model target day; do
		expect 0 usage --by $by
		says 'total'
		says 'IN THE CLOUD'
		expect 0 usage --by $by --since 24h --csv
		says "$by,requests,errors,"
		expect 0 usage --by $by --json
		is_json
	done
	expect 0 usage --key "$1-new" --since 2020-01-01
	expect 2 usage --since yesterday
	complains '--since: '
	expect 1 usage --key nobody
	complains 'nobody'
}

story offline
expect 1 live
complains 'no server runs'
expect 1 live stop req_1
expect 1 target list
complains 'no server runs'
expect 1 target drain gpu1
expect 0 recover
says 'up to date'
expect 0 recover --json
is_json
expect 0 recover --check
says 'journal: whole'
says 'books: whole'
expect 0 recover --check --json
is_json
says '"whole":true'

# serve LOG ARGUMENTS...: starts a server on the state folder and waits until it has said where it is.
serve() {
	local log="$1" tries=0
	shift
	"$valet" serve --state "$VALET_STATE" --listen 127.0.0.1:0 --discovery off "$@" >"$log" 2>&1 &
	server=$!
	until [ -s "$VALET_STATE/server.json" ]; do
		tries=$((tries + 1))
		if [ $tries -gt 200 ] || ! kill -0 "$server" 2>/dev/null; then
			fail "the server does not run: $(cat "$log")"
			return 1
		fi
		sleep 0.05
	done
}
if serve server.log --admin-listen 127.0.0.1:0; then
	story online
	expect 0 key show offline-new
	expect 0 live
	says 'no requests in flight'
	expect 0 live --json
	is_json
	expect 1 live stop req_000000000000000000000000
	complains 'req_000000000000000000000000'
	expect 0 target list
	says 'no targets'
	expect 0 target list --json
	is_json
	expect 1 target show gpu1
	complains 'there is no target gpu1'
	expect 1 target drain gpu1
	expect 1 target resume gpu1
	expect 2 target show
	complains 'expected the name of a target'
	expect 2 target drian gpu1
	complains 'did you mean drain?'
	expect 1 recover --check
	complains 'in use'
	expect 1 recover
	VALET_ADMIN_KEY=wrong-secret expect 1 key list
	complains 'refuses the admin secret'
	address="$(sed -n 's/.*"admin": *"\([^"]*\)".*/\1/p' "$VALET_STATE/server.json")"
	expect 0 key list --admin "$address"
	VALET_STATE="$dir/other" expect 1 key list --admin "$address"
	complains 'admin secret'
	admin_key="$(cat "$VALET_STATE/admin.key")"
	VALET_ADMIN="$address" VALET_STATE="$dir/other" VALET_ADMIN_KEY="$admin_key" expect 0 key list
	says online-new
	stop_server
	expect 0 key list
	says online-new
	says offline-new
	expect 1 key list --admin "$address"
	complains "cannot reach the server's admin address"
fi
if serve silent.log --admin-listen off; then
	expect 1 key list
	complains 'no admin listener'
	stop_server
fi
printf '%s\n' 'targets:' '  - {name: t, url: "http://127.0.0.1:1", kind: vllm}' '  - {name: far, url: "https://192.0.2.1:1", kind: openai, secret: "env:FAR_KEY"}' \
	'models:' '  - {name: a-cloud-model, targets: [far]}' "  - {name: \"it's;touch pasted;'\", targets: [t]}" >named.yaml
if FAR_KEY=a-secret serve named.log --admin-listen 127.0.0.1:0 -c named.yaml; then
	tries=0
	until grep -q Say named.log || [ $tries -gt 200 ]; do
		tries=$((tries + 1))
		sleep 0.05
	done
	stop_server
	(
		curl() { printf '%s\n' "$@"; }
		OPENAI_API_KEY=the-key
		eval "$(grep -A1 '^  curl ' named.log)"
	) >pasted.out 2>&1
	grep -q "\"model\":\"it's;touch pasted;'\"," pasted.out || fail "the line to try, pasted: $(cat pasted.out named.log)"
	grep -q '^authorization: Bearer the-key$' pasted.out || fail "the line to try has no key: $(cat pasted.out)"
	[ ! -e pasted ] || fail 'the line to try runs what a name says'
fi
expect 0 recover --check
mkdir -p elsewhere
printf 'state: books\ntargets:\n  - {name: t, url: "http://127.0.0.1:1", secret: "env:NOT_SET_HERE"}\n' >elsewhere/valet.yaml
VALET_STATE= expect 0 key list -c elsewhere/valet.yaml
complains 'elsewhere/valet.yaml has mistakes'
VALET_STATE= expect 1 key create one -c elsewhere/valet.yaml
complains 'NOT_SET_HERE is not set'
[ -e elsewhere/books/valet.db ] || fail 'the setting "state" does not say where the keys are'

# ---- damage: seen, and left as it is ----

printf 'not a database at all, but long enough to be read as one' | dd of="$VALET_STATE/valet.db" conv=notrunc bs=1 seek=0 2>/dev/null
sum="$(cksum <"$VALET_STATE/valet.db")"
expect 1 recover --check
says 'store: DAMAGED'
says 'newest copy of the whole folder'
says 'valet recover --rebuild'
expect 1 recover --check --json
is_json
says '"whole":false'
expect 1 recover
complains 'valet.db'
expect 1 key list
complains 'valet.db'
complains 'valet recover --check says'
expect 1 key create one
quiet
[ "$sum" = "$(cksum <"$VALET_STATE/valet.db")" ] || fail 'a damaged database was changed'

# ---- damage: repaired ----

expect 2 recover --rebuild --check
expect 2 recover --force
complains '--force: expected --rebuild'
expect 0 recover --rebuild
says 'all could be saved'
says 'valet.db was damaged'
says 'valet.db.damaged-'
[ "$sum" = "$(cat "$VALET_STATE"/valet.db.damaged-*[0-9] | cksum)" ] || fail 'what was set aside is not what was there'
expect 0 recover --check
says 'store: whole'
expect 0 key list
says offline-new
says online-new
expect 0 recover --rebuild
says 'nothing had to be made anew'
expect 0 recover --rebuild --json
is_json
says '"rebuilt":false'
if serve repaired.log --admin-listen 127.0.0.1:0; then
	expect 1 recover --rebuild
	complains 'in use'
	stop_server
fi
rm -f "$VALET_STATE/valet.db-wal" "$VALET_STATE/valet.db-shm"
: >"$VALET_STATE/valet.db"
expect 1 recover --rebuild --json
is_json
says '"rebuilt":true'
says '"lost":true'
expect 0 key list
says 'lost-'
expect 0 recover --check
printf 'place valet.db.rebuilt valet.db\n' >"$VALET_STATE/rebuild.plan"
expect 1 key list
complains 'valet recover --rebuild'
expect 0 recover --rebuild
says 'was brought to its end'

# ---- the example ----

CLOUD_API_KEY=a-secret expect 0 check "$example"
says 'fine: 0 errors'
CLOUD_API_KEY=a-secret expect 0 check "$example" --json
is_json
case $out in *a-secret*) fail 'the secret is shown' ;; esac

[ $failures -eq 0 ] || printf '%d failures\n' $failures
[ $failures -eq 0 ]
