# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2065,SC2154,SC2164,SC2266 # see scripts/harness
#
# Tests of what holds for all verbs, and of scripts/lib.sh.

# A tree that NDM_LINUX names is used as it is.
t_tree_of_the_user() {
	toy_series
	local v before
	cp series good
	sed -i '$d' series
	cp -r build/linux mine
	before=$(cd mine && find . -type f -exec sha256sum {} + | sort)
	export NDM_LINUX=$toy/mine
	for v in fetch "fetch --git upstream" apply "apply --auto" "apply --force" refresh; do
		# shellcheck disable=SC2086 # words
		fails "NDM_LINUX names a tree of yours, which is used as it is; unset it" scripts/$v
	done
	same "$(cd mine && find . -type f -exec sha256sum {} + | sort)" "$before" "the tree"
	same "$(grep -c 'patch$' series)" 1 "the series"
	# What only reads, may.
	cp good series
	scripts/apply --verify
	NDM_LINUX=$toy/none fails "NDM_LINUX names a tree of yours" scripts/fetch --tree upstream
	[ ! -e none ]
}

t_signals_end_all() {
	fake_machine
	cp -r scripts good
	printf '#!/bin/bash\necho $$ > %q\nexec sleep 600\n' "$toy/sleeping" > sleeper
	chmod 755 sleeper
	# A build, with a make of it that has children.
	cat > scripts/build <<- 'END'
	#!/bin/bash
	. "$(dirname "$0")/lib.sh"
	make_it() { make -f - all <<< $'all:\n\t./sleeper'; }
	shown "building" "$BUILD/log/x.log" make_it
	END
	ends_all "a build" scripts/build
	ends_all "a build of scripts/test" scripts/test --config test
	ends_all "a build of scripts/run" scripts/run
	printf '#!/bin/sh\nexit 0\n' > scripts/build
	printf '#!/bin/bash\n. "$(dirname "$0")/lib.sh"\n"$TOP/sleeper" &\nwait\n' > scripts/boot
	ends_all "a boot of scripts/test" scripts/test --config test
	mkdir -p build/obj/debug/image
	touch build/obj/debug/image/bzImage
	ends_all "a boot of scripts/soak" scripts/soak --no-build
	printf '#!/bin/bash\n[ "$1" = --list ] && echo one || exec ./sleeper\n' > scripts/harness
	ends_all "a test of the scripts" scripts/test --suite harness
	printf '#!/bin/bash\nexec "$(dirname "$0")/../sleeper"\n' > scripts/fetch
	ends_all "a fetch of scripts/apply" scripts/apply
	ends_all "a fetch of scripts/configs" scripts/configs bare
	cp good/* scripts/ 2> /dev/null || :
	fake codespell < <(sed 1d sleeper)
	pure_git init -q
	ends_all "a gate" scripts/check spelling
}

# What a verb wants to keep is not removed before it could be.
t_at_exit_last_first() {
	toy
	cat > scripts/verb <<- 'END'
	#!/bin/bash
	. "$(dirname "$0")/lib.sh"
	scratch
	echo kept > "$work/console"
	at_exit 'cat "$work/console"'
	at_exit 'echo last'
	END
	same "$(bash scripts/verb | xargs)" "last kept"
}

t_names_of_directories() {
	toy_series
	local v
	mkdir "$toy/a b"
	cp -r scripts series patches "a b/"
	# Nothing is to be downloaded.
	fake curl <<< 'exit 1'
	fake apt-get <<< 'exit 1'
	for v in fetch apply build "check spdx" "test --list" refresh "boot -- true" run mutate soak bochs models configs "send fixes" host harness; do
		# shellcheck disable=SC2086 # two words
		fails "a space, a colon or the like in its name: $toy/a b" "a b/scripts/"$v
	done
	for v in "a:b" "a,b" "o'clock"; do NDM_BUILD=$toy/$v fails "or the like in its name: $toy/$v" scripts/build; done
	NDM_BUILD=$toy/ä+b-c_d scripts/test --list > out
	"a b/scripts/build" --help | grep '^  NDM_BUILD=DIR' > /dev/null
	# By whatever name it is called.
	ln -s ../scripts/test bin/ndm-test
	same "$(bin/ndm-test --list | wc -l)" "$(scripts/test --list | wc -l)" "a symbolic link"
	(cd scripts && bash apply --auto)
}

t_disk() {
	toy_series
	rm -rf build/linux
	# Nowhere to write.
	for v in apply build fetch "test --no-build" bochs models configs soak mutate "check spdx"; do
		# shellcheck disable=SC2086 # words
		NDM_BUILD=/proc/ndm fails "cannot write in /proc/ndm" scripts/$v
	done
	NDM_BUILD=/proc/ndm scripts/test --list > /dev/null
	# No room, in the middle.
	fake git <<- 'END'
	case " $* " in *" fetch "*) echo "fatal: write error: No space left on device" >&2; exit 128 ;; esac
	PATH=${PATH#*:} exec git "$@"
	END
	fails "the disk is full" scripts/fetch --git upstream
	rm bin/git
	same "$(ls -A build)" "$(printf '.kernel-build.lock\nlog\ntmp')" "what is left"
	scripts/fetch --git upstream
	scripts/apply
	fake df <<< 'echo Size Avail; echo 4096 12'
	fake make <<< 'echo "cc1: fatal error: a.s: No space left on device" >&2; exit 1'
	fails "the disk is full" scripts/build
	fake qemu-system-x86_64 <<< 'echo "QEMU emulator version 10.0.2"'
	fake cp <<- 'END'
	case $* in *"/initrd" | *.patch.new) echo "cp: No space left on device" >&2; exit 1 ;; esac
	exec /bin/cp "$@"
	END
	mkdir -p build/obj/test/image/lib/modules build/obj/user/kselftest/kvm build/obj/user/kselftest/mm
	touch build/obj/test/image/bzImage
	fails "the disk is full" scripts/boot -- true
	# What refresh could not write it writes later, whoever comes.
	sed -i 's/^8$/eight/' build/linux/mm/a.c
	toy_commit "mm: Name another number"
	fails "the disk is full" scripts/refresh
	rm bin/cp
	scripts/apply --auto
	scripts/apply --verify
	# No room from the start.
	fake mkdir <<< 'exit 1'
	fails "the disk is full" scripts/apply
}

t_own_tree() {
	toy_series
	# shellcheck disable=SC2034 # own_tree borrows from it
	local LINUX=$toy/build/linux
	sed -i 's/^9$/nine/' build/linux/mm/a.c
	toy_commit "mm: Name another number"
	own_tree "$toy/own" "$(git -C build/linux rev-parse series)"
	grep -qx nine own/mm/a.c
	# What it borrowed from is gone.
	rm -rf build/linux
	scripts/fetch --git upstream
	scripts/apply
	own_tree "$toy/own" "$(git -C build/linux rev-parse series)"
	grep -qx seven own/mm/a.c
	grep -qx 9 own/mm/a.c
}

t_bad_input() {
	local v out
	cd "$TOP"
	for v in fetch apply refresh build boot run test bench splats mutate check send harness soak bochs models configs host ../.ci/run; do
		[ -x "scripts/$v" ] || { echo "scripts/$v is missing"; return 1; }
		out=$("scripts/$v" --help)
		grep -qE '^Usage: (scripts/|.ci/run)' <<< "$out" || { echo "scripts/$v --help is no help"; return 1; }
		fails "(try: $(realpath --relative-to=. "scripts/$v") --help)" "scripts/$v" --no-such-option
	done
	fails "no such configuration" scripts/boot --config none -- true
	fails "a command is needed" scripts/boot
	fails "needs a whole number" scripts/boot --cpus two -- true
	fails "needs a size" scripts/boot --mem much -- true
	fails "cannot read" scripts/boot --put /none -- true
	fails "no such processor" scripts/boot --cpu arm -- true
	for v in build boot run test; do
		fails "no such architecture" "scripts/$v" --arch sparc
	done
	fails "go with --arch x86 only" scripts/boot --arch arm64 --cpu intel -- true
	fails "goes with test and debug only" scripts/build --arch arm64 host
	fails "no such architecture" scripts/mutate --arch sparc
	fails "QEMU's" scripts/boot --cpu intel --numa -- true
	fails "2G at most" scripts/boot --cpu intel --mem 4G -- true
	fails "a command is needed" scripts/run --
	fails "cannot read the configuration" scripts/build host --config /none
	fails "no test matches" scripts/test no-such-test
	fails "cannot read" scripts/splats /none
	fails "no such gate" scripts/check none
	fails "no such gate" scripts/check --list none
	fails "--list goes alone" scripts/check --list spdx
	fails "--list goes alone" scripts/check --again --list
	fails "no such mutation" scripts/mutate none
	fails "needs a whole number" scripts/soak long
	fails "needs a whole number" scripts/soak 08
	fails "needs at least 1" scripts/soak 0
	fails "needs at least 1" scripts/boot --timeout 0 -- true
	# Before anything is built.
	fails "needs a size" scripts/soak --mem much
	fails "no such suite" scripts/test --suite none
	fails "needs at least 1" scripts/bench --rounds 0
	fails "31 at most" scripts/bench --rounds 32
	fails "cannot write in /proc/ndm" scripts/bench --results /proc/ndm --print
	for v in test debug race coverage vmm host; do
		[ -r "kernel-config/$v" ] || { echo "kernel-config/$v is missing"; return 1; }
	done
}
