# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154 # see scripts/harness
#
# Tests of scripts/bochs.

t_bochs() {
	toy
	local cache=$toy/cache/ndm-bochs
	export XDG_CACHE_HOME=$toy/cache
	mkdir -p build/apt-trixie "$cache/.new.left/source"
	touch build/apt-trixie/.updated
	printf '#!/bin/bash\necho $$ > %q\nexec sleep 600\n' "$toy/sleeping" > sleeper
	chmod 755 sleeper
	fake dpkg-query <<< 'echo installed'
	fake apt-get <<< 'exec "$SLEEPER"'
	SLEEPER=$toy/sleeper ends_all "the making of Bochs" scripts/bochs
	same "$(ls -A "$cache")" .lock "what is left, by that or by one that was killed"
	SLEEPER=/bin/true fails "fetching the source of Bochs failed" scripts/bochs
	grep -q "the package lists of trixie have no bochs_" build/log/bochs-fetch.log
	same "$(ls -A "$cache")" .lock "what is left by a failure"
	# Whoever waits for another one can be ended.
	(flock 9; echo "$BASHPID" > held; exec sleep 600) 9>> "$cache/.lock" &
	until_true 10 test -s held
	scripts/bochs 2> out &
	until_true 10 said "waiting for another" out
	kill $!
	until_true 3 gone $!
	kill "$(cat held)"
	# A cache that can't be written is none.
	touch file
	XDG_CACHE_HOME=$toy/file SLEEPER=/bin/true fails "fetching the source of Bochs failed" scripts/bochs
	[ -e build/bochs/.lock ]
}
