#!/bin/bash
# reference.sh - docs/reference is what the program prints of its own tables.
# usage: reference.sh VALET DOCS_REFERENCE
# SPDX-License-Identifier: Apache-2.0
set -u
valet="$1"
docs="$2"
failures=0
for page in settings errors metrics cli admin-api; do
	if "$valet" reference $page | diff -u "$docs/$page.md" - >&2; then
		printf 'ok: %s.md\n' $page
	else
		printf 'OUTDATED: %s.md; run: valet reference %s > docs/reference/%s.md\n' $page $page $page
		failures=$((failures + 1))
	fi
done
for file in "$docs"/*.md; do
	case ${file##*/} in
	settings.md | errors.md | metrics.md | cli.md | admin-api.md) ;;
	*)
		printf 'UNKNOWN: %s is not printed by valet reference\n' "${file##*/}"
		failures=$((failures + 1))
		;;
	esac
done
[ $failures -eq 0 ]
