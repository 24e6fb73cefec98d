# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154,SC2266 # see scripts/harness
#
# Tests of scripts/check and scripts/configs.

# Compiles what no kernel for tests has: by make that only pretends.
t_configs() {
	toy_series
	mkdir -p build/linux/scripts/kconfig
	printf '#!/bin/sh\ncat "$5" > "$4"\n' > build/linux/scripts/kconfig/merge_config.sh
	chmod 755 build/linux/scripts/kconfig/merge_config.sh
	touch build/linux/mm/Makefile
	toy_commit "kbuild: Merge"
	scripts/refresh
	pure_git init -q .
	printf '#!/bin/bash\necho $$ > %q\nexec sleep 600\n' "$toy/sleeping" > sleeper
	chmod 755 sleeper
	fake make <<- END
	case " \$* " in
	*" allnoconfig "*) o=\${3#O=}; : > "\$o/.config" ;;
	*" mm/ "*) echo "\$(basename "\${3#O=}")" >> "$toy/calls"; [ ! -e "$toy/slow" ] || "$toy/sleeper" ;;
	esac
	END
	fails "no such configuration" scripts/configs none
	scripts/configs bare up-kvm
	same "$(xargs < calls)" "bare up-kvm" "compiled"
	touch slow
	ends_all "a configuration" scripts/configs bare
	ends_all "a gate's configuration" scripts/check configs
	rm slow calls
	scripts/check configs > out
	same "$(wc -l < calls)" "$(scripts/configs --list | wc -l)" "compiled by the gate"
	scripts/check configs > out
	grep -q "nothing has changed" out
	# Which ones there are is told by the script.
	echo "# another" >> scripts/configs
	scripts/check configs > out
	grep -q "gate configs: ok ([0-9]* s)" out
	# One at a time.
	(flock 9; echo "$BASHPID" > held; exec sleep 600) 9>> build/check/.lock &
	until_true 10 test -s held
	fails "another scripts/check" scripts/configs bare
	fails "another scripts/check" scripts/check --again configs
	kill "$(cat held)"
	# An option that gets lost.
	printf '#!/bin/sh\ngrep -v SECRETMEM "$5" > "$4"\n' > build/linux/scripts/kconfig/merge_config.sh
	pure_git -C build/linux commit -qa --amend --no-edit
	fails "secretmem failed" scripts/configs secretmem
	grep -q "SECRETMEM=y was lost, it is n" build/log/configs-secretmem.log
}

# What a patch touches is built, and documented, of that.
t_check_touched() {
	toy
	scripts/fetch --git upstream
	scripts/apply
	mkdir -p build/linux/tools/testing/selftests/mm build/linux/Documentation/{virt/kvm,admin-guide}
	touch build/linux/tools/testing/selftests/mm/a.c
	echo "config TOY" > build/linux/tools/testing/selftests/mm/Kconfig
	toy_commit "selftests/mm: Test it"
	touch build/linux/Documentation/virt/kvm/api.rst build/linux/Documentation/admin-guide/kernel-parameters.txt
	toy_commit "Documentation: Tell of it"
	scripts/refresh
	fake dpkg-query <<< 'echo installed'
	fake make <<< "echo \"\$*\" >> $toy/calls"
	scripts/check builds
	same "$(grep -o 'build/check/obj/selftests-mm/mm/[^ ]*$' calls)" build/check/obj/selftests-mm/mm/a "selftests"
	rm calls
	scripts/check docs
	same "$(grep -o 'SPHINXDIRS=.*' calls | uniq)" "SPHINXDIRS=admin-guide virt htmldocs" "documents"
}

t_check_parts() {
	toy_parts
	printf 'profile | default |\nkvm | test | amd | default | 9 | - | early | true\n\tfrom: fixes\nkvm | test | amd | default | 9 | - | late | true\n\tfrom: kvm\nkvm | test | amd | default | 9 | - | last | true\n' > selftests/machine/required
	same "$(scripts/test --list --cpu amd | awk '{ print $NF }' | xargs)" "early late last"
	same "$(scripts/test --list --cpu amd --part fixes | awk '{ print $NF }' | xargs)" "early"
	same "$(scripts/test --list --cpu amd --part kvm | awk '{ print $NF }' | xargs)" "early late"
	fails "the series has no part mm" scripts/test --list --part mm
	# Each end of a part is built and tested, once.
	pure_git init -q .
	cp scripts/test scripts/test.real
	printf '#!/bin/bash\necho "build $NDM_PART $1 $(ls "$NDM_LINUX/mm" | xargs)" >> %q\n' "$toy/calls" > scripts/build
	printf '#!/bin/bash\necho "test $*" >> %q\n[ ! -e %q ]\n' "$toy/calls" "$toy/broken" > scripts/test
	touch broken
	no scripts/check parts > out
	same "$(grep -c . calls)" 2 "what was done before the failure"
	rm broken calls
	scripts/check parts > out
	same "$(sed 's/ --results.*//' calls | paste -sd :)" "build fixes test a.c b.c:test --no-build --config test --cpu amd --part fixes:build kvm test a.c b.c c.c:test --no-build --config test --cpu amd --part kvm"
	scripts/check parts > out
	same "$(grep -c . calls)" 4 "again"
	# What changed after the first part's end leaves that alone.
	echo x >> build/linux/mm/c.c
	pure_git -C build/linux commit -qa --amend --no-edit
	scripts/check parts > out
	same "$(grep -c . calls)" 6 "the second part"
	grep -q '^build kvm' calls
}

t_check_remembers() {
	toy_series
	git init -q . 2> /dev/null
	cp "$TOP/MAINTAINERS.local" .
	# The kernel's own tools, which tell how often they run.
	mkdir build/linux/scripts
	printf 'open(F, ">>", "%s/ran"); print F "$ARGV[-1]\n"; print "$ARGV[-1]:7: WARNING:TYPE: text\n" if $ARGV[-1] =~ /%s/;\n' "$toy" 0002 > build/linux/scripts/checkpatch.pl
	printf 'open(F, ">>", "%s/ran"); print F "$ARGV[-1]\n"; print "A <a@b.example>\n%s\n";\n' "$toy" "${ROLE_MAIL/@/\\@}" > build/linux/scripts/get_maintainer.pl
	printf 'F:\tmm/a.c\n' > MAINTAINERS.local
	touch build/linux/MAINTAINERS
	printf '*0002* TYPE a reason that is long enough\n' > scripts/checkpatch.allow
	scripts/check checkpatch get_maintainer
	same "$(wc -l < ran)" 5 "first"
	scripts/check checkpatch get_maintainer > out
	same "$(grep -c 'ok (nothing has changed since it was)' out)" 2 "remembered"
	same "$(wc -l < ran)" 5 "again"
	# What has changed, and that only.
	sed -i 's/^Because/Be cause/' patches/0001*
	scripts/check checkpatch > out
	same "$(wc -l < ran)" 6 "one patch"
	# A failure is found again.
	: > scripts/checkpatch.allow
	no scripts/check checkpatch > out
	grep -q '0002.*:7: WARNING:TYPE: text' out
	no scripts/check checkpatch > out
	same "$(wc -l < ran)" 6 "the list of exceptions"
	echo '# another version' >> build/linux/scripts/checkpatch.pl
	no scripts/check checkpatch > out
	same "$(wc -l < ran)" 8 "another version of the tool"
	# Gates that need no kernel don't ask for one.
	rm -rf build
	fake curl <<< 'exit 1'
	fake apt-get <<< 'exit 1'
	for f in bin/* out ran scripts/checkpatch.allow MAINTAINERS.local; do echo '# SPDX-License-Identifier: GPL-2.0' > "$f"; done
	echo build > .gitignore
	sed -i '1i # SPDX-License-Identifier: GPL-2.0' .gitignore
	scripts/check spdx
}

# README's table of rules: what it names must be there.
t_check_models() {
	toy_series
	sed -i 's/^20$/static int f(int x)/' build/linux/mm/a.c
	toy_commit "mm: Have a function" "$(echo R{1..13})"$'\n\nAssisted-by: LLM'
	scripts/refresh
	mkdir -p selftests/models
	rm selftests/models/*
	printf '#!/bin/sh\n[ ! -e bad ]\n' > scripts/models
	printf '/*\n * Models: f() in mm/a.c,\n * and more.\n *\n * g() is not looked for.\n */\n' > selftests/models/m.pml
	scripts/check models
	scripts/check models | grep -q "nothing has changed"
	touch bad
	no scripts/check --again models
	rm bad
	sed -i 's/ f()/ g()/' selftests/models/m.pml
	no scripts/check models > out
	grep -q "m.pml: no patch has g()" out
	echo '/* of nothing */' > selftests/models/m.pml
	no scripts/check models > out
	grep -q "m.pml: names no function" out
}

t_check_rules() {
	toy_series
	sed -i 's/^20$/static int f(int x)/' build/linux/mm/a.c
	toy_commit "mm: Have a function" "It keeps $(echo R{1..13})."
	scripts/refresh
	rm -r selftests/mutations/*
	printf 'profile | default |\nndm | test | amd | default | 9 | - | ndm_one | true\n' > selftests/machine/required
	{
		printf 'The rules\n---------\n\nEach has\n    code   file\n\n'
		for r in R{1..13} roots uAPI; do
			printf '%s A rule.\n    code      mm/a.c:f\n              mm/b.c\n    patch     mm: Have a\n    test      ndm_one\n    mutation  m-%s\n' "$r" "$r"
			printf 'Rule: %s\nConfig: test\nTest: ndm_one\n' "$r" > "selftests/mutations/m-$r.patch"
		done
		printf '\nFigures\n-------\n'
	} > README
	cp README good
	local change text
	scripts/check rules
	while IFS='@' read -r change text; do
		sed "$change" good > README
		no scripts/check rules > out
		grep -qF -- "$text" out || { echo "wants \"$text\", got:"; cat out; return 1; }
	done <<- 'END'
	/^R6/,/^R7/s/:f$/:g/@README, R6: no patch has g() in mm/a.c
	/^R6/,/^R7/s/mm.b.c/mm\/none.c/@README, R6: no patch touches mm/none.c
	/^R6/,/^R7/s/Have a/Have no/@README, R6: no patch, or several, of that name
	/^R6/,/^R7/s/ndm_one/ndm_two/@README, R6: no such test: ndm_two
	/^R6/,/^R7/s/m-R6/m-R7/@README, R6: mutation m-R7.patch is of another rule
	/^R6/,/^R7/s/m-R6/m-none/@README, R6: no such mutation: m-none
	/^R6/,/^R7/s/Have a/Name a/@README, R6: the changelog doesn't name it: mm: Name a
	/^R6/,/^R7/{/patch/d}@README, R6: wants code, patch, test and mutation
	END
}
