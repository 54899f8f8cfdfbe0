#!/bin/bash
# hardening.sh - reads a program and asserts what can be seen in it of the hardening that meson.build asks for.
# usage: hardening.sh PROGRAM
# SPDX-License-Identifier: Apache-2.0
set -u
program="$1"
failures=0

check() { # check TITLE COMMAND...
	local title="$1"
	shift
	if "$@"; then
		printf 'ok: %s\n' "$title"
	else
		printf 'MISSING: %s\n' "$title"
		failures=$((failures + 1))
	fi
}

header="$(LC_ALL=C readelf --wide --file-header "$program")" || exit 1
segments="$(LC_ALL=C readelf --wide --program-headers "$program")"
dynamic="$(LC_ALL=C readelf --wide --dynamic "$program")"
symbols="$(LC_ALL=C readelf --wide --dyn-syms "$program")"
notes="$(LC_ALL=C readelf --wide --notes "$program" 2>/dev/null)"

has() { printf '%s\n' "$1" | grep -Eq "$2"; }
lacks() { ! has "$1" "$2"; }
checked_calls() { [ "$(printf '%s\n' "$symbols" | grep -Ec '__[a-z]+_chk(@|$)')" -ge 2 ]; }

check 'position-independent executable' has "$header" 'Type: +DYN'
check 'its flag in the dynamic section' has "$dynamic" 'FLAGS_1.*PIE'
check 'relocations made read-only (RELRO)' has "$segments" 'GNU_RELRO'
check 'all symbols bound at start (BIND_NOW)' has "$dynamic" 'BIND_NOW|FLAGS_1.*NOW'
check 'a stack that is not executable' has "$segments" 'GNU_STACK +.* RW +'
check 'no segment both writable and executable' lacks "$segments" ' RWE '
check 'no text relocations' lacks "$dynamic" 'TEXTREL'
check 'no search path for libraries' lacks "$dynamic" 'RPATH|RUNPATH'
check 'stack protector' has "$symbols" '__stack_chk_fail'
check 'fortified calls of the C library' checked_calls
# Debian's start files carry no note about control-flow protection, so the linker drops it from the program; what can be seen is that
# the places which indirect branches may reach are marked.
marked_branches() {
	has "$notes" 'x86 feature:.*IBT' ||
		[ "$(LC_ALL=C objdump --disassemble --no-show-raw-insn "$program" | grep -c endbr64)" -ge 50 ]
}
[ "$(uname -m)" != x86_64 ] || check 'control-flow protection: landing pads' marked_branches
[ $failures -eq 0 ]
