# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2065,SC2154,SC2164,SC2266 # see scripts/harness
#
# Tests of scripts/test and the runner in the machine.

t_required_list() {
	local out
	out=$("$TOP/scripts/test" --list)
	[ "$(grep -c . <<< "$out")" -gt 10 ]
	toy
	# What takes minutes runs if named, not if a pattern happens to fit.
	printf 'profile | default |\nlong | test | amd | default | 60 | - | slow_one | true\nkvm | test | amd | default | 60 | - | slow_not | true\n' > selftests/machine/required
	fails "no test matches" scripts/test 'slow_o*'
	fails 'no test matches "slow_to"' scripts/test slow_not slow_to
	mkdir -p build/results/test
	touch build/results/test/mine
	fails "holds something else than results" scripts/test --no-build slow_one
	[ -e build/results/test/mine ]
	local bad
	while IFS='@' read -r bad text; do
		printf 'profile | default |\n%b\n' "$bad" > selftests/machine/required
		fails "$text" scripts/test --list
	done <<- 'END'
	kvm | test | amd | default | 60 | - | name@cannot be read
	kvm | test | amd | default | soon | - | name | true@cannot be read
	kvm | test | amd | none | 60 | - | name | true@cannot be read
	kvm | fast | amd | default | 60 | - | name | true@cannot be read
	kvm | test | arm | default | 60 | - | name | true@cannot be read
	kvm | test | amd | default | 60 | a b | name | true@cannot be read
	kvm | test | amd | default | 60 | - | a b | true@cannot be read
	kvm | test | amd | default | 60 | - | name |@cannot be read
	\tskip-ok: nothing above@cannot be read
	kvm | test | amd | default | 60 | - | name | true\n\tskip-ok:@cannot be read
	kvm | test | amd | default | 60 | - | name | true\nkvm | test,debug | amd,intel | default | 60 | - | name | true@cannot be read
	END
	# Each processor, and each backing, is a column.
	printf 'profile | default | --mem 1G\nkvm | test,debug | amd,intel | default | 10 | some_type | one | a | b\nkvm | test | intel | default | 10 | - | two | true\n' > selftests/machine/required
	same "$(scripts/test --list kvm one two 2>&1 | tail -n 1)" 'test: error: no test matches "kvm" (see: scripts/test --list)'
	same "$(scripts/test --list --suite kvm | awk '{ print $2 ":" $4 ":" $6 }' | xargs)" \
		"test:10:one debug:40:one test-intel:10:one debug-intel:40:one test-intel:10:two" "machines"
	same "$(scripts/test --list --suite kvm --cpu intel --config test | awk '{ print $6 }' | xargs)" "one two" "Intel's"
	# What always runs under debug is in suite race, too.
	same "$(scripts/test --list --cpu amd | awk '{ print $2 }' | xargs)" "test debug race" "AMD's"
	same "$(scripts/test --list --suite race | awk '{ print $1 ":" $2 ":" $4 ":" $6 }' | xargs)" "race:race:40:one" "suite race"
	# arm64 is a processor, but not of --arch x86.
	printf 'kvm | test | amd,arm64 | default | 10 | - | three | true\n' >> selftests/machine/required
	same "$(scripts/test --list --arch arm64 | awk '{ print $2 ":" $6 }' | xargs)" "test-arm64:three" "arm64's"
	same "$(scripts/test --list --arch x86 three | awk '{ print $2 }' | xargs)" "test" "x86's"
}

# Whoever names a test means AMD's machine, if that has it.
t_named_tests() {
	fake_machine
	printf 'profile | default |\nndm | test | amd | default | 9 | - | one | true\nept | test | intel | default | 9 | - | one | true\narm64 | test | arm64 | default | 9 | - | one | true\narm64 | test | arm64 | default | 9 | - | two | true\n' > selftests/machine/required
	scripts/test --no-build one > out 2> err || :
	same "$(grep -c ':one' out)" "$(grep -c ' test:one' out)" "another machine's test"
	scripts/test --no-build --cpu intel one > out 2> err || :
	grep -q ' test-intel:one' out
	scripts/test --no-build --arch arm64 one > out 2> err || :
	grep -q ' test-arm64:one' out
	scripts/test --no-build two > out 2> err || :
	grep -q ' test-arm64:two' out
	same "$(scripts/test --list one | grep -c one)" 3 "what there is"
	# Suite race's take their kernel.
	printf 'ndm | debug | amd | default | 9 | - | four | true\n' >> selftests/machine/required
	scripts/test --no-build four > out 2> err || :
	grep -q ' debug:four' out
	no grep -q ' race:' out
	scripts/test --no-build --config race four > out 2> err || :
	grep -q ' race:four' out
}

# verdict LINE: what scripts/test ends with
verdict() {
	local out
	out=$(scripts/test --no-build --config test 2> err) && rc=0 || rc=$?
	same "$(tail -n 1 <<< "$out")" "$1" "last line"
	case $1 in *" 0 failed"*) same "$rc" 0 "exit code" ;; *) same "$rc" 1 "exit code" ;; esac
	python3 - <<- 'END'
	import xml.etree.ElementTree as e
	t = e.parse("build/results/junit.xml").getroot()
	assert sum(int(s.get("tests")) for s in t) == len(t.findall(".//testcase"))
	END
	same "$(grep -cE '^(not )?ok ' <<< "$out")" 4 "results"
	grep -q '^1\.\.4$' <<< "$out"
	OUT=$out
}

t_verdict_pass() {
	fake_machine
	verdict "3 passed, 0 failed, 1 skipped"
	same "$(cut -f1,2 build/results/test/summary.tsv | tr '\t\n' ': ')" \
		"test:result boot/default:pass one:pass two:pass three:skip " "summary"
	same "$(awk '$1 == "two" { print $3 }' build/results/test/summary.tsv)" 1.25 "seconds"
	grep -q 'ndm-test: start one' build/results/test/console.log
	grep -q '^ok 1 one' build/results/test/ktap
}

# One at a time writes to a directory.
t_test_results_lock() {
	fake_machine
	cp scripts/boot machine
	printf '#!/bin/bash\ntouch begun\nfor i in {1..300}; do [ ! -e go ] || break; sleep 0.1; done\nexec bash machine "$@"\n' > scripts/boot
	# shellcheck disable=SC2265 # in the background it is
	scripts/test --no-build --config test > first 2>&1 &
	until_true 20 test -e begun
	touch build/results/test/mine
	fails "another scripts/test writes to build/results; wait for it" scripts/test --no-build --config test
	[ -e build/results/test/mine ]
	touch go
	wait $!
	same "$(tail -n 1 first)" "3 passed, 0 failed, 1 skipped"
	scripts/test --no-build --config test > first 2>&1
	[ ! -e build/results/test/mine ]
	touch file
	fails "cannot write in file/x" scripts/test --no-build --config test --results file/x
}

t_verdict_columns() {
	fake_machine
	sed -i '/^s /s/ | amd | / | intel | /; /one/s/ | - | / | some_type | /' selftests/machine/required
	out=$(scripts/test --no-build one two three 2> err)
	same "$(tail -n 1 <<< "$out")" "3 passed, 0 failed, 1 skipped"
	grep -q '^ok 2 test-intel:one$' <<< "$out"
	grep -q -- '--config test --cpu intel ' machine.args
	same "$(tr '\t' ':' < machine.tests | head -n 2 | xargs -d '\n')" "9:one:export KVM_SELFTEST_MEM_SRC=some_type; true 9:two:true"
	same "$(cut -f1,2 build/results/test-intel/summary.tsv | tail -n 1 | tr '\t' :)" three:skip
}

t_verdict_skip_without_leave() {
	fake_machine
	sed -i 's/^ok 2 two/ok 2 two # SKIP/' machine.out
	verdict "2 passed, 1 failed, 1 skipped"
	grep -q 'not ok 3 test:two # skipped without leave' <<< "$OUT"
}

t_verdict_skip_of_a_part() {
	fake_machine
	sed -i 's/^# hello$/# # SKIP no such feature/; s/^# not here$/# Skipping all of it/' machine.out
	verdict "2 passed, 1 failed, 1 skipped"
	grep -q 'not ok 2 test:one # skipped a part without leave: # SKIP no such feature' <<< "$OUT"
	fake_machine
	sed -i 's/^# hello$/# ok 2 a.b # SKIP why/' machine.out
	verdict "2 passed, 1 failed, 1 skipped"
	fake_machine
	sed -i "s/^# hello\$/# X isn't supported, skipping test/" machine.out
	verdict "2 passed, 1 failed, 1 skipped"
	fake_machine
	sed -i 's/^# hello$/# skips nothing, SKIPPER/; s/^ok 3 three.*/ok 3 three/; s/^# not here/# # SKIP it may/' machine.out
	verdict "4 passed, 0 failed, 0 skipped"
}

t_runner() {
	cd "$toy"
	# A hung test idles, a slow one doesn't.
	printf '2\\thung\\tsleep 100\n2\\tslow\\tt=$(($(date +%%s) + 6)); while [ $(date +%%s) -lt $t ]; do :; done\n2\\tquick\\ttrue\n1\\tspins\\twhile :; do :; done\n' | sed 's/\\t/\t/g' > list
	no sh "$TOP/selftests/machine/runner" list > out 2> /dev/null
	grep -qx 'not ok 1 hung # TIMEOUT 2 seconds, idle' out
	grep -qx '# slow: slow, was to take 2 s' out
	grep -qx 'ok 2 slow' out
	grep -qx 'ok 3 quick' out
	no grep -q '^# quick: slow' out
	grep -qx 'not ok 4 spins # TIMEOUT 3 seconds, busy to the end' out
}

t_history() {
	fake_machine
	fails "nothing was tested yet" scripts/test --flakes
	mkdir -p build/obj/test
	echo 1111111111111111 > build/obj/test/.ndm-tree
	sed -i 's/^# two: 1.25 s$/# two: 1.25 s\n# two: slow, was to take 1 s/' machine.out
	verdict "3 passed, 0 failed, 1 skipped"
	grep -qx '# slow: test:two: took 1.25 s, slow, was to take 1 s' <<< "$OUT"
	grep -q '^ok 3 test:two # slow, was to take 1 s' <<< "$OUT"
	same "$(cut -f3- build/history.tsv | sed -n 3p)" "$(printf '111111111111\ttest\ttwo\tpass\t1.25\tslow, was to take 1 s')" "a line"
	# Another kernel fails: that is no flake.
	echo 2222222222222222 > build/obj/test/.ndm-tree
	sed -i 's/^ok 1 one/not ok 1 one # exit 1/' machine.out
	verdict "2 passed, 1 failed, 1 skipped"
	same "$(scripts/test --flakes)" "slow:  test:two                                 2 of 2 times" "no flakes"
	# The same one does.
	echo 1111111111111111 > build/obj/test/.ndm-tree
	verdict "2 passed, 1 failed, 1 skipped"
	scripts/test --flakes | grep -E '^flaky: test:one  *failed 1 of 2 times, last: .*Z, exit 1$' > /dev/null
}

t_verdict_fail_and_timeout() {
	fake_machine
	sed -i 's/^ok 2 two/not ok 2 two # TIMEOUT 9 seconds/; s/^ok 1 one/not ok 1 one # exit 254/' machine.out
	echo 1 > machine.rc
	verdict "1 passed, 2 failed, 1 skipped"
	grep -q 'not ok 3 test:two # TIMEOUT 9 seconds' <<< "$OUT"
	grep -q '^# hello' <<< "$OUT"			# what a failed test said is shown
}

t_verdict_missing_and_truncated() {
	fake_machine
	sed -i '/^# two/,$d' machine.out
	verdict "2 passed, 2 failed, 0 skipped"
	fake_machine
	sed -i 's/^1\.\.3/1..2/' machine.out
	verdict "2 passed, 1 failed, 1 skipped"
	fake_machine
	: > machine.out
	verdict "0 passed, 4 failed, 0 skipped"
}

t_verdict_splat() {
	fake_machine
	sed -i '1a [    1.05] WARNING: mm/gup.c:1 at f+0x1/0x2, CPU#1: a/1' machine.console
	verdict "2 passed, 1 failed, 1 skipped"
	grep -q 'not ok 2 test:one # splat: WARNING: mm/gup.c' <<< "$OUT"
	# outside of any test it is the boot's
	fake_machine
	sed -i '1i [    0.05] WARNING: mm/gup.c:1 at f+0x1/0x2, CPU#1: a/1' machine.console
	verdict "2 passed, 1 failed, 1 skipped"
	grep -q 'not ok 1 test:boot/default # splat: WARNING: mm/gup.c' <<< "$OUT"
	# a test that may skip may not splat
	fake_machine
	printf '[ 2.0] ndm-test: start three\n[ 2.1] WARNING: mm/a.c:1 at f\n' >> machine.console
	verdict "3 passed, 1 failed, 0 skipped"
}

t_verdict_panic_and_hang() {
	fake_machine
	sed -i '/^# two: 1/,$d' machine.out
	echo 120 > machine.rc
	verdict "1 passed, 3 failed, 0 skipped"
	grep -q 'not ok 1 test:boot/default # kernel panic' <<< "$OUT"
	grep -q 'test:two # no result: kernel panic in this test' <<< "$OUT"
	grep -q 'test:three # no result: kernel panic in two' <<< "$OUT"
	echo 121 > machine.rc
	verdict "1 passed, 3 failed, 0 skipped"
	grep -q 'test:two # no result: the machine hung in this test' <<< "$OUT"
}

t_verdict_no_console() {
	# No console, no splats.
	fake_machine
	: > machine.console
	verdict "2 passed, 1 failed, 1 skipped"
	grep -q 'not ok 1 test:boot/default # the console is lost' <<< "$OUT"
}

t_verdict_boot_failure() {
	# Each test says ok, the boot doesn't.
	fake_machine
	echo 1 > machine.rc
	verdict "2 passed, 1 failed, 1 skipped"
	grep -q 'not ok 1 test:boot/default # the boot failed' <<< "$OUT"
	# It ended before there was a console.
	rm machine.console
	: > machine.out
	verdict "0 passed, 4 failed, 0 skipped"
	# Who can't tell splats doesn't let anything pass.
	fake_machine
	local allow
	for allow in 'splat: ^WARNING' ""; do
		printf '%s\n' "$allow" > scripts/splats.allow
		[ -n "$allow" ] || rm scripts/splats.allow
		out=$(scripts/test --no-build --config test 2>&1) && return 1
		same "$(tail -n 1 <<< "$out")" "test: error: scripts/splats failed" "last line"
	done
	[ ! -e build/results/junit.xml ]
}

t_verdict_build_failure() {
	fake_machine
	printf '#!/bin/sh\nexit 1\n' > scripts/build
	out=$(scripts/test --config test 2> /dev/null) && return 1
	same "$(tail -n 1 <<< "$out")" "0 passed, 4 failed, 0 skipped" "last line"
}
