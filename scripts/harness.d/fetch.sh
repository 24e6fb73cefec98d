# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154 # see scripts/harness
#
# Tests of scripts/fetch.

t_fetch_refuses() {
	toy_series
	mv build/linux build/mine
	fails "is no git tree" scripts/fetch --git build/none
	fails "is no kernel tree" scripts/fetch --tree build/none
	fails "needs a value" scripts/fetch --tree
	fails "exclude each other" scripts/fetch --tree a --git b
	cp -r upstream other
	sed -i 's/^SUBLEVEL.*/SUBLEVEL = 5/' other/Makefile
	fails "is Linux 7.3.5, and the series is for 7.3.4" scripts/fetch --tree other
	(cd other && git tag -d v7.3.4 && pure_git commit -qam next) > /dev/null
	fails "is Linux 7.3.5, and the series is for 7.3.4" scripts/fetch --git other
	cp -r upstream built
	touch built/.config
	fails "make mrproper" scripts/fetch --tree built
	[ ! -e build/linux ]
	# A file that the series touches was changed: refused, nothing left behind.
	sed -i 's/^1$/one/' upstream/mm/a.c
	fails "differ from those that the patches were made against" scripts/fetch --tree upstream
	git -C upstream checkout -q mm/a.c
	touch upstream/mm/c.c
	fails "differ from those that the patches were made against" scripts/fetch --tree upstream
	rm upstream/mm/c.c
	[ ! -e build/linux ]
	scripts/fetch --tree upstream
	scripts/fetch
	fails "build/linux exists" scripts/fetch --tree upstream
	scripts/apply --verify
}

t_fetch_checks_first() {
	toy_series
	rm -rf build/linux
	fake git <<- 'END'
	case " $* " in *" fetch "*) echo "fetched all of it" >&2; exit 128 ;; esac
	PATH=${PATH#*:} exec git "$@"
	END
	fake rsync <<< 'echo "copied all of it" >&2; exit 1'
	fake curl <<< 'echo "downloaded all of it" >&2; exit 1'
	fake apt-get <<< 'echo "downloaded all of it" >&2; exit 1'
	# What is no kernel, or not the one.
	mkdir other
	(cd other && pure_git init -q && touch a && pure_git add a && pure_git commit -qm a)
	fails "is no kernel tree" scripts/fetch --git other
	(cd upstream && pure_git tag -d v7.3.4 && echo x >> mm/a.c && pure_git commit -qam "Not it") > /dev/null
	fails "differ from those that the patches were made against" scripts/fetch --git upstream
	fails "differ from those that the patches were made against" scripts/fetch --tree upstream
	[ ! -e build/.linux.new ]
	# A series that can't be.
	echo 0003-none.patch >> series
	fails "which is not in patches/" scripts/fetch
	fails "which is not in patches/" scripts/fetch --git upstream
}

t_fetch_debian_revision() {
	need dpkg-dev xz-utils > /dev/null
	toy_series
	local deb=linux-source-7.3
	rm -rf build/linux
	mkdir -p build/apt deb/DEBIAN deb/usr/src
	touch build/apt/.updated
	fake curl <<< 'exit 6'
	# Debian has moved on: Linux 7.3.6, of which only the Makefile differs.
	sed -i 's/^SUBLEVEL.*/SUBLEVEL = 6/' upstream/Makefile
	tar -C upstream --exclude=.git --transform 's,^\.,linux-source-7.3,' -cJf deb/usr/src/"$deb".tar.xz .
	printf 'Package: %s\nVersion: 7.3.6-1\nArchitecture: all\nMaintainer: a <a@b.example>\nDescription: x\n' "$deb" > deb/DEBIAN/control
	fake apt-cache <<< 'printf "linux-source-7.3 | %s | http://mirror\n" 7.4~rc1-1 $VERSIONS'
	fake apt-get <<- END
	case " \$* " in
	*" download $deb=7.3.6-1 "*) dpkg-deb -b "$toy/deb" ./${deb}_7.3.6-1_all.deb ;;
	*) echo "E: Version was not found" >&2; exit 100 ;;
	esac
	END
	VERSIONS="" fails "no $deb 7.3.4-1~bpo13+1 any more, nor another of Linux 7.3" scripts/fetch
	VERSIONS="7.3.6-1" scripts/fetch 2> err
	grep -q "no $deb 7.3.4-1~bpo13+1 any more; trying 7.3.6-1" err
	grep -q "v7.3.6, the files that the series touches are as in 7.3.4" err
	scripts/apply
	scripts/apply --verify
	# ... but not one that changed what the series touches.
	rm -rf build/linux build/dl
	echo x >> upstream/mm/a.c
	tar -C upstream --exclude=.git --transform 's,^\.,linux-source-7.3,' -cJf deb/usr/src/"$deb".tar.xz .
	VERSIONS="7.3.6-1" fails "differ from those that the patches were made against" scripts/fetch
	[ ! -e build/.linux.new ] && [ ! -e build/linux ]
}
