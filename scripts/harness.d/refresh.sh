# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # see scripts/harness
#
# Tests of scripts/refresh, and of the parts that it tells of.

t_refresh_stable() {
	toy_series
	local first time
	first=$(snapshot)
	time=$(stat -c %y series patches/*)
	same "$(series_list_of series)" 2 "patches"
	scripts/refresh
	same "$(snapshot)" "$first" "refresh again"
	same "$(stat -c %y series patches/*)" "$time" "refresh again touches files"
	# someone else's date, name, configuration and tree: the same bytes
	rm -rf build/linux
	scripts/fetch --git upstream
	scripts/apply
	same "$(git -C build/linux log --format='%an <%ae>' base..series | sort -u)" "$ROLE_NAME <$ROLE_MAIL>" "author"
	git -C build/linux config diff.noprefix true
	git -C build/linux config diff.algorithm patience
	git -C build/linux config format.signOff true
	git -C build/linux config format.subjectPrefix RFC
	scripts/refresh
	same "$(snapshot)" "$first" "refresh after apply"
	scripts/apply --verify
	no grep -rq "$toy" patches series
	no grep -q '^Signed-off-by' patches/*
}

series_list_of() { grep -c '\.patch$' "$1"; }

t_refresh_drops_stale() {
	toy_series
	git -C build/linux reset -q --hard HEAD~1
	scripts/refresh
	same "$(series_list_of series)" 1 "patches in series"
	same "$(find patches -type f | wc -l)" 1 "patches"
	git -C build/linux reset -q --hard base
	fails "--force removes all" scripts/refresh
}

t_refresh_refuses() {
	toy_series
	echo x >> build/linux/mm/b.c
	toy_commit "mm: Sign" "Signed-off-by: A B <a@b.c>"
	fails "has a Signed-off-by" scripts/refresh
	git -C build/linux reset -q --hard HEAD~1
	echo x >> build/linux/mm/b.c
	toy_commit "fixup! mm: Name a number"
	fails "waits to be squashed" scripts/refresh
	git -C build/linux reset -q --hard HEAD~1
	pure_git -C build/linux checkout -q -b side base
	echo y >> build/linux/mm/b.c
	toy_commit "mm: Side"
	pure_git -C build/linux checkout -q series
	pure_git -C build/linux merge -q -m merge side
	fails "is a merge" scripts/refresh
}

t_refresh_interrupted() {
	toy_series
	local first
	first=$(snapshot)
	fake mv <<- END
	case \$2 in "$toy"/patches/0002-*) kill -KILL \$PPID; exit 1 ;; esac
	exec /bin/mv "\$@"
	END
	sed -i 's/^7$/sieben/' build/linux/mm/b.c
	pure_git -C build/linux commit -qam x --fixup HEAD~1
	GIT_SEQUENCE_EDITOR=: pure_git -C build/linux rebase -q -i --autosquash base
	(scripts/refresh 2>&1 || :) | tail -n 1
	rm bin/mv
	[ "$(snapshot)" != "$first" ]
	scripts/apply --auto
	scripts/apply --verify
	grep -q '^+sieben' patches/0001*
}

t_parts() {
	toy_series
	local head first
	mkdir patches/cover
	for p in fixes mm; do
		printf 'Subject: %s: A subject\nDestination: tree of %s\nBase: v7.3.4\nNeeds: %s\n\nText of %s.\n' \
			"$p" "$p" "$([ "$p" = mm ] && echo fixes || echo nothing)" "$p" > "patches/cover/$p"
	done
	pure_git -C build/linux branch part/fixes HEAD~1
	pure_git -C build/linux branch part/mm
	scripts/refresh
	first=$(cat series)
	same "$(grep -v SPDX series | sed 1d | cut -c1-18 | paste -sd :)" \
		":# Part: fixes:#   Destination: t:#   Base: v7.3.4:#   Needs: nothing:0001-mm-Name-a-num::# Part: mm:#   Destination: t:#   Base: v7.3.4:#   Needs: fixes:0002-KVM-guest_mem"
	scripts/apply --verify
	# A fresh tree has the branches again.
	rm -rf build/linux
	scripts/fetch --git upstream
	scripts/apply
	same "$(git -C build/linux log -1 --format=%s part/fixes)" "mm: Name a number"
	same "$(git -C build/linux rev-parse part/mm)" "$(git -C build/linux rev-parse series)"
	scripts/refresh
	same "$(cat series)" "$first" "refresh"
	# What is added at the end is in the last part; what goes in front moves the first's end.
	echo x >> build/linux/mm/b.c
	toy_commit "mm: One more"
	echo y >> build/linux/mm/a.c
	pure_git -C build/linux commit -qam "fixup! mm: Name a number"
	GIT_SEQUENCE_EDITOR=: pure_git -C build/linux rebase -q -i --autosquash base
	scripts/refresh
	same "$(grep -c . series)" 13 "lines"
	same "$(sed -n '/Part: mm/,$p' series | grep -c 'patch$')" 2 "patches of the last part"
	same "$(git -C build/linux log -1 --format=%s part/fixes)" "mm: Name a number"
	scripts/apply --verify
	# Cut anew without the branches: found by the subject, and if not, that is said.
	head=$(git -C build/linux rev-parse series)
	git -C build/linux -c rebase.updateRefs=false rebase -q --force-rebase --onto base base
	[ "$(git -C build/linux rev-parse series)" = "$head" ] || :
	git -C build/linux update-ref -d refs/heads/part/fixes
	scripts/refresh
	same "$(git -C build/linux log -1 --format=%s part/fixes)" "mm: Name a number"
	git -C build/linux update-ref -d refs/heads/part/fixes
	GIT_SEQUENCE_EDITOR="sed -i '1s/^pick/reword/'" GIT_EDITOR="sed -i '1s/.*/mm: Rename it/'" \
		pure_git -C build/linux -c rebase.updateRefs=false rebase -q -i base
	git -C build/linux branch -q -D part/fixes 2> /dev/null || :
	fails 'where does part "fixes" end? its last patch was "mm: Name a number"' scripts/refresh
	git -C build/linux branch part/fixes base~0
	git -C build/linux branch -f part/fixes HEAD~2
	scripts/refresh
	scripts/apply --verify
	rm patches/cover/mm
	fails 'has no cover letter: patches/cover/mm' scripts/refresh
}
