# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # see scripts/harness
#
# Tests of scripts/apply.

t_apply_keeps_work() {
	toy_series
	local head
	scripts/apply
	sed -i 's/^12$/twelve/' build/linux/mm/b.c
	fails "not committed" bash -c 'git -C build/linux reset -q --soft HEAD~1; scripts/apply'
	git -C build/linux reset -q --hard refs/ndm/applied 2> /dev/null ||
		git -C build/linux reset -q --hard ORIG_HEAD
	scripts/apply
	sed -i 's/^12$/twelve/' build/linux/mm/b.c
	toy_commit "mm: Mine"
	head=$(git -C build/linux rev-parse HEAD)
	fails "commits on branch series that are not in patches/" scripts/apply
	scripts/apply --auto
	same "$(git -C build/linux rev-parse HEAD)" "$head" "--auto"
	scripts/apply --force
	same "$(git -C build/linux for-each-ref --format='%(objectname)' refs/backup)" "$head" "backup"
	grep -qx 12 build/linux/mm/b.c
	# what a former apply made may be replaced without asking
	sed -i '$d' series
	scripts/apply
	same "$(git -C build/linux rev-list --count base..series)" 1 "commits"
}

# A file that git does not know, where the series adds one.
t_apply_untracked() {
	toy_series
	local mode stamp=build/linux/.git/ndm-applied
	rm -rf build/linux
	scripts/fetch --git upstream
	for mode in "" --auto; do
		echo mine > build/linux/mm/c.c
		# shellcheck disable=SC2086 # none, or one
		fails "the series adds mm/c.c, where build/linux has an untracked file of yours" scripts/apply $mode
		grep -qx mine build/linux/mm/c.c
		[ ! -e "$stamp.applying" ]
	done
	# One that is ignored is one, too.
	echo c.c > build/linux/.git/info/exclude
	fails "the series adds mm/c.c" scripts/apply
	scripts/apply --force
	same "$(git -C build/linux show "$(git -C build/linux for-each-ref --format='%(refname)' refs/backup):mm/c.c")" mine "backup"
	grep -qx new build/linux/mm/c.c
	# With edits, both are kept.
	git -C build/linux reset -q --hard base
	echo mine > build/linux/mm/c.c
	echo edited >> build/linux/mm/b.c
	scripts/apply --force
	git -C build/linux for-each-ref --format='%(refname)' refs/backup | tail -n 1 > backup
	same "$(git -C build/linux show "$(cat backup):mm/c.c")" mine "backup"
	git -C build/linux show "$(cat backup):mm/b.c" | grep -qx edited
	# Whatever git refuses for leaves nothing to repair.
	sed -i '$d' series
	touch build/linux/.git/index.lock
	fails "git refused to check out the series" scripts/apply
	[ -e build/linux/.git/index.lock ] && [ ! -e "$stamp.applying" ]
	rm build/linux/.git/index.lock
	scripts/apply
	# After an interruption it is no leftover.
	basename patches/0002* >> series
	interrupted_apply
	echo mine > build/linux/mm/c.c
	fails "the series adds mm/c.c" scripts/apply
	grep -qx mine build/linux/mm/c.c
}

# What a kill in the middle of a checkout leaves: some files written, HEAD and the index
# as before.
interrupted_apply() {
	fake git <<- END
	case " \$* " in
	*" checkout "*" -B series "*)
		PATH=\${PATH#*:}
		cd "$toy/build/linux"
		git show refs/ndm/applied:mm/c.c > mm/c.c
		git show refs/ndm/applied:mm/a.c | head -n 20 > mm/a.c
		touch .git/index.lock
		kill -KILL \$PPID
		exit 1 ;;
	esac
	PATH=\${PATH#*:} exec git "\$@"
	END
	(scripts/apply 2>&1 || :) | tail -n 1
	rm bin/git
	[ -e build/linux/mm/c.c ]
}

t_apply_interrupted() {
	toy_series
	local want
	want=$(git -C build/linux rev-parse 'series^{tree}')
	# A fresh tree: no branch, no stamp.
	rm -rf build/linux
	scripts/fetch --git upstream
	interrupted_apply
	scripts/apply --auto
	same "$(git -C build/linux rev-parse 'HEAD^{tree}')" "$want" "tree"
	same "$(git -C build/linux status --porcelain)" "" "status"
	scripts/apply
	# One that has a series, by the way that build and the like take.
	sed -i '$d' series
	scripts/apply
	[ ! -e build/linux/mm/c.c ]
	git -C "$toy" init -q
	(cd build/linux && ls patches 2> /dev/null) || :
	echo 0002-KVM-guest_memfd-Add-a-number-with-an-awkwardly-long-subj.patch >> series
	sed -i "s/^0002.*/$(basename patches/0002*)/" series
	interrupted_apply
	echo mine >> build/linux/mm/b.c
	scripts/apply --auto
	same "$(git -C build/linux rev-parse 'series^{tree}')" "$want" "tree"
	same "$(git -C build/linux status --porcelain)" "" "status"
	# What somebody did after the interruption is not lost.
	git -C build/linux show "$(git -C build/linux for-each-ref --format='%(objectname)' refs/backup | tail -n 1):mm/b.c" | grep -qx mine
	scripts/refresh
	scripts/apply --verify
}

t_apply_waits() {
	toy_series
	sed -i '$d' series
	# As a build has it.
	(flock 9; echo "$BASHPID" > held; exec sleep 600) 9>> build/.kernel-build.lock &
	until_true 10 test -s held
	scripts/apply --auto 2> out &
	until_true 10 said "waiting for" out
	same "$(git -C build/linux rev-list --count base..series)" 2 "commits while it waits"
	kill "$(cat held)"
	wait $!
	same "$(git -C build/linux rev-list --count base..series)" 1 "commits"
	# Two at a time.
	scripts/apply --force 2> one &
	scripts/apply --force 2> two
	wait $!
	no grep -h "index.lock" one two
	# Whoever waits can be ended.
	(flock 9; echo "$BASHPID" > held; exec sleep 600) 9>> build/.kernel-build.lock &
	until_true 10 test -s held
	scripts/apply 2> out &
	until_true 10 said "waiting for" out
	kill $!
	until_true 3 gone $!
	kill "$(cat held)"
}

t_apply_verify() {
	toy_series
	scripts/apply --verify
	cp -r patches good
	sed -i 's/^Because\.$/Because:/' patches/0001*
	scripts/apply --verify				# a legal change of the text
	sed -i 's/^+seven$/+sieben/' patches/0001*		# blob ids no longer match
	fails "does not give patches/" scripts/apply --verify
	cp good/* patches/
	sed -i 's/^ 5$/ five/' patches/0001*			# context does not match
	fails "git am refused" scripts/apply --verify
	cp good/* patches/
	echo junk > patches/9999-junk.patch
	fails "does not give patches/" scripts/apply --verify
	rm patches/9999-junk.patch
	echo 0003-none.patch >> series
	fails "which is not in patches/" scripts/apply --verify
}
