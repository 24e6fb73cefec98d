# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154,SC2266 # see scripts/harness
#
# Tests of scripts/host, and of its suite of scripts/test.

t_host() {
	fake_machine
	cp scripts/host real
	no grep -q '^host ' <(scripts/test --list)
	same "$(scripts/test --list --suite host)" "host - - - selftests" "the suite"
	printf '#!/bin/sh\necho "build $*" >> calls\n[ ! -e broken ]\n' > scripts/build
	printf '#!/bin/sh\necho host >> calls\necho "ok 1 a"\nexit "$(cat rc)"\n' > scripts/host
	echo 0 > rc
	same "$(scripts/test --suite host 2> err | tail -n 1)" "1 passed, 0 failed, 0 skipped"
	same "$(xargs < calls)" "build test build host host" "what was done"
	echo 3 > rc
	same "$(scripts/test --suite host --no-build 2> err | tail -n 1)" "0 passed, 1 failed, 0 skipped"
	# What is there from before is not what was to be tested.
	rm calls
	touch broken
	echo 0 > rc
	same "$(scripts/test --suite host 2> err | tail -n 1)" "0 passed, 1 failed, 0 skipped"
	same "$(xargs < calls)" "build test" "what was done"
	# The real one, up to what takes long.
	cp real scripts/host
	fails "no package of the host kernel yet" scripts/host
	mkdir -p build/host build/obj/user/kselftest/kvm
	touch build/host/linux-image-7.deb
	fails "selftests are not built yet" scripts/host
	fails "cannot read the package none.deb" scripts/host --deb none.deb
	touch build/obj/user/kselftest/kvm/guest_memfd_test
	printf '#!/bin/bash\necho $$ > %q\nmkdir "$4"\nexec sleep 600\n' "$toy/sleeping" > sleeper
	chmod 755 sleeper
	fake dpkg-query <<< 'echo installed'
	fake qemu-system-x86_64 <<< 'echo "QEMU emulator version 10.0.2"'
	fake debootstrap <<< 'exec "$SLEEPER" "$@"'
	SLEEPER=$toy/sleeper ends_all "the installation of Debian" scripts/host
	[ ! -e build/host/root ]
	[ ! -e build/host/root.stamp ]
	# ... is begun anew.
	SLEEPER=false fails "installing Debian 12 in build/host/root failed" scripts/host
	[ ! -e build/host/root.new ]
	# What is still mounted there is not removed.
	if unshare -m true; then
		mkdir -p victim build/host/root.new/proc
		touch victim/file
		SLEEPER=false unshare -m bash -c 'mount --bind victim build/host/root.new/proc; scripts/host' || :
		[ -e victim/file ]
		[ ! -e build/host/root.new ]
	else
		echo "# not tried: what is still mounted, as unshare -m is not allowed"
	fi
	(flock 9; echo "$BASHPID" > held; exec sleep 600) 9>> build/host/.lock &
	until_true 10 test -s held
	fails "another scripts/host is running" scripts/host
	kill "$(cat held)"
}
