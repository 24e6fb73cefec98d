# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # see scripts/harness
#
# Tests of scripts/splats.

t_splats_canned() {
	local f n=0
	for f in "$TOP"/scripts/splats.d/*.log; do
		want=$(sed -n 's/^# expect: //p' "$f")
		same "$("$TOP/scripts/splats" --tsv --allow /dev/null "$f" | wc -l)" "$want" "${f##*/}"
		n=$((n + 1))
	done
	[ "$n" -ge 25 ]
	same "$("$TOP/scripts/splats" --tsv "$TOP/scripts/splats.d/two-tests.log" | cut -f2 | xargs)" "kvm/a kvm/b" "attribution"
}

t_splats_allow() {
	local d=$TOP/scripts/splats.d f
	"$TOP/scripts/splats" --allow "$d/allowed.allow" "$d/allowed.log" > /dev/null
	# ... but only what the entry describes, in the test it names
	no "$TOP/scripts/splats" --allow "$d/allowed.allow" "$d/lockdep-wait-context.log" > /dev/null
	sed 's,kvm/demo,kvm/other,' "$d/allowed.log" > "$toy/other.log"
	no "$TOP/scripts/splats" --allow "$d/allowed.allow" "$toy/other.log" > /dev/null
	printf 'splat: BUG\n\tevidence: scripts/splats.d/clean.log\n' > "$toy/allow"
	fails "has no reason" "$TOP/scripts/splats" --allow "$toy/allow" "$d/clean.log"
	printf 'splat: BUG\n\treason: because\n' > "$toy/allow"
	fails "has no evidence" "$TOP/scripts/splats" --allow "$toy/allow" "$d/clean.log"
	printf 'splat: BUG\n\treason: because\n\tevidence: scripts/none.log\n' > "$toy/allow"
	fails "is missing" "$TOP/scripts/splats" --allow "$toy/allow" "$d/clean.log"
	# Each entry of the real list explains its evidence, and nothing in the rest.
	sed -n 's/^\tevidence: //p' "$TOP/scripts/splats.allow" | while read -r f; do
		"$TOP/scripts/splats" "$TOP/$f" > /dev/null
	done
	for f in "$d"/*.log; do
		grep -qF "evidence: ${f#"$TOP"/}" "$TOP/scripts/splats.allow" ||
			same "$("$TOP/scripts/splats" --tsv "$f" | wc -l)" "$(sed -n 's/^# expect: //p' "$f")" "${f##*/}"
	done
}
