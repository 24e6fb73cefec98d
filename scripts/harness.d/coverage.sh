# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # see scripts/harness
#
# Tests of scripts/coverage, on a program in place of a kernel.

t_coverage() {
	local t=$toy/linux files=$toy/results/coverage/files/default/gcov
	mkdir -p "$t" "$toy/o" "$files$toy/o"
	git init -q "$t"
	commit() { git -C "$t" add . && git -C "$t" -c user.name=x -c user.email=x@y commit -qm x; }
	printf '%s\n' 'int main(int c, char **v)' '{' '	return 0;' '}' > "$t/a.c"
	commit && git -C "$t" tag base
	printf '%s\n' 'int main(int c, char **v)' '{' '	if (c > 1)' '		c = 7;' '	return 0;' '}' > "$t/a.c"
	commit && git -C "$t" branch series
	(cd "$toy/o" && gcc --coverage -c -o a.o "$t/a.c" && gcc --coverage -o a a.o && ./a)
	mv "$toy/o/a.gcda" "$files$toy/o/"
	: > "$toy/allow"
	cov() { NDM_LINUX=$t "$TOP/scripts/coverage" --results "$toy/results" --allow "$toy/allow" "$@"; }
	cov > "$toy/out"
	grep -qxF '  a.c:4: c = 7;' "$toy/out"
	grep -qE '^total +2 +1 +50.0%$' "$toy/out"
	no cov --strict > /dev/null
	printf 'a.c:main\ta reason\n' > "$toy/allow"
	cov --strict > "$toy/out"
	grep -qF '[a reason]' "$toy/out"
	printf 'a.c:=c = 8;\ta reason\n' > "$toy/allow"
	no cov --strict > "$toy/out"
	grep -qF 'executed or gone: a.c:=c = 8;' "$toy/out"
	printf 'a.c:main\n' > "$toy/allow"
	fails "not understood" cov
}
