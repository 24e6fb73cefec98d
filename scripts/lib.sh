# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # the verbs use them
#
# Shared by the verbs in scripts/: the names of things, errors, progress, what ends
# with a verb, locks, packages, trees.  Sourced, never run.

TOP=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
BUILD=${NDM_BUILD:-$TOP/build}		# everything made here, ignored by git
LINUX=${NDM_LINUX:-$BUILD/linux}	# the kernel tree: tag "base", branch "series"
OBJ=${NDM_OBJ:-$BUILD/obj}		# object directories, one per config
PATCHES=$TOP/patches
SERIES=$TOP/series

BASE_VERSION=7.3.4
BASE_DEB=linux-source-7.3
BASE_DEB_VERSION=7.3.4-1~bpo13+1
BASE_DEB_SHA256=703e369ddd4cce971452f5a593ee55df3a5c10c83caf0fa0df039633ed181ee3
BASE_URL=https://cdn.kernel.org/pub/linux/kernel/v7.x

# Of the files near this work, those that Debian's source changes: a patch to one
# could not apply to both.
DEBIAN_CHANGED="arch/x86/Kconfig include/linux/security.h mm/list_lru.c mm/memory.c mm/memtest.c"

# The role that the exported patches carry; the person who sends adds a sign-off.
ROLE_NAME="Guest memory direct map maintainers"
ROLE_MAIL="maintainers@users.noreply.h-seed-45d3214b.example"

# What is built, and what for: use_arch changes that.
ARCH_NAME=x86 CROSS="" KERNEL=bzImage QEMU=qemu-system-x86_64

VERB=${0##*/}
SELF=scripts/$VERB		# as its help has it
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

say()  { printf '%s: %s\n' "$VERB" "$*" >&2; }
die()  { DIED=1; printf '%s: error: %s\n' "$VERB" "$*" >&2; exit 1; }
warn() { printf '%s: warning: %s\n' "$VERB" "$*" >&2; }

# The help of a verb is the comment block below its SPDX line, and what all have.
usage() {
	awk 'NR > 2 && !/^#/ { exit } NR > 2 { sub(/^# ?/, ""); print }' "$0"
	printf '%s\n' "" "Environment:" \
		"  NDM_BUILD=DIR    what is made goes there (default build/)" \
		"  NDM_LINUX=DIR    a kernel tree of yours, used as it is: neither fetched nor patched," \
		"                   nor exported (default build/linux)" \
		"  NDM_OBJ=DIR      objects, a directory per configuration (default build/obj)" \
		"  CCACHE_DIR=DIR   ccache's cache (default ~/.cache/ndm-ccache)"
}
bad_usage() { die "$* (try: $SELF --help)"; }
need_arg() { if [ $# -lt 2 ] || [ -z "$2" ]; then bad_usage "$1 needs a value"; fi; }
# A number as the shell reads it in calculations, too: 08 would be octal, and wrong.
need_number() {
	case $2 in '' | *[!0-9]* | 0?*) bad_usage "$1 needs a whole number, not \"$2\"" ;; esac
}
need_positive() {
	need_number "$@"
	[ "$2" != 0 ] || bad_usage "$1 needs at least 1"
}
# Of memory.
need_size() {
	[[ $2 =~ ^[1-9][0-9]*[GM]$ ]] || bad_usage "$1 needs a size like 4G or 512M, not \"$2\""
}

# at_exit CMD: runs however the verb ends, before those that were there already.  What
# "shown" or "grouped" started ends before, all of it.
at_exit() { AT_EXIT+=("$1"); }
lib_exit() {
	local rc=$? i
	trap '' INT TERM HUP
	if [ -n "$GROUP" ] && kill -TERM -- "-$GROUP" 2> /dev/null; then
		for i in $(seq 300); do
			kill -0 -- "-$GROUP" 2> /dev/null || break
			sleep 0.1
		done
		[ "$i" -lt 300 ] || kill -KILL -- "-$GROUP" 2> /dev/null || :
	fi
	# Whatever it was that failed, this may be why.
	case $rc in
	0 | 130 | 143) ;;
	*) [ "$BASHPID" != "$$" ] || [ -n "${DIED:-}" ] || ! no_space "$BUILD" ||
		say "error: the disk is full (free some space in $BUILD, or have NDM_BUILD=DIR name another place)" ;;
	esac
	# The last one first: it may need what an earlier one removes.
	for ((i = ${#AT_EXIT[@]} - 1; i >= 0; i--)); do eval "${AT_EXIT[i]}"; done
	exit "$rc"
}
# A subshell that uses "shown" or "grouped" calls this again.
set_traps() {
	AT_EXIT=() GROUP=""
	trap lib_exit EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}
set_traps

# Kbuild takes neither spaces nor colons, QEMU no commas, and shells, make and sed have their
# own idea of some others.
case $TOP$BUILD$LINUX$OBJ in
*[[:space:]:,\;\&\|\<\>\(\)\{\}\[\]\*\?\#\$%\!\"\'\`\\]*)
	case " $* " in
	*" -h "* | *" --help "*) ;;
	*) die "a kernel can't be built in a directory with a space, a colon or the like in its name: $(printf '%s\n' "$TOP" "$BUILD" "$LINUX" "$OBJ" | grep -m 1 '[^A-Za-z0-9_./+=@~-]')" ;;
	esac ;;
esac

# each_cached NAME VERSION content|name CMD: for each file of standard input the output of
# CMD, which is for sh, $1 being the file.  Several run at a time, and only for what was not
# seen before: VERSION and the file's content, or its name, are all that it depends on.
# CMD may look at what it has said on standard error, in "$2.err".
each_cached() {
	local name=$1 version=$2 by=$3 cmd=$4 f out
	mkdir -p "$BUILD/cache"
	while read -r f; do
		out=$BUILD/cache/$name-$({ echo "$version"; if [ "$by" = content ]; then cat "$f"; else echo "$f"; fi; } | sha256sum | cut -c1-40)
		echo "$out"
		[ -e "$out" ] || printf '%s\n' "$f" "$out" >&3
	done 3> "$work/todo" > "$work/outputs"
	# shellcheck disable=SC2016 # for sh
	xargs -a "$work/todo" -r -d '\n' -n 2 -P "$(nproc)" sh -c '
		('"$cmd"') > "$2.new.$$" 2> "$2.err" && mv "$2.new.$$" "$2" && rm -f "$2.err" ||
		{ cat "$2.err" >&2; rm -f "$2.new.$$" "$2.err"; exit 1; }' sh || die "$name failed"
	xargs -a "$work/outputs" -r -d '\n' cat
}

# use_arch x86|arm64: what of arm64 is built goes beside that of x86.
use_arch() {
	ARCH_NAME=$1
	case $1 in
	x86) ;;
	arm64)
		OBJ=$OBJ/arm64 CROSS=aarch64-linux-gnu- KERNEL=Image QEMU=qemu-system-aarch64
		DEPS_BUILD="$DEPS_BUILD $DEPS_ARM64"
		export ARCH=arm64 CROSS_COMPILE=$CROSS ;;
	*) bad_usage "no such architecture \"$1\"" ;;
	esac
}

have() { command -v "$1" > /dev/null 2>&1; }
jobs_wanted() { echo $(($(nproc) + 1)); }

# The directory for what is made, or why there is none.
make_build() {
	mkdir -p "$BUILD/log" "$BUILD/tmp" 2> /dev/null && [ -w "$BUILD/tmp" ] || {
		no_space "$BUILD" || die "cannot write in $BUILD: a read-only file system, or not yours; NDM_BUILD=DIR puts elsewhere what is made"
		die "cannot write in $BUILD: the disk is full"
	}
}
# no_space DIR: has its file system, or that of what is nearest, less than 4 MiB left?
no_space() {
	local dir=$1 size free
	while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
	read -r size free <<< "$(df -k --output=size,avail "$dir" 2> /dev/null | tail -n 1)"
	# One like /proc has no size.
	[ "${size:-0}" -gt 0 ] && [ "${free:-4096}" -lt 4096 ]
}

# scratch: sets "work" to a directory that ends with the verb.  What one left that was
# killed goes an hour later.
scratch() {
	local d pid
	make_build
	find "$BUILD/tmp" -mindepth 1 -maxdepth 1 -mmin +60 | while read -r d; do
		pid=${d##*/}
		pid=${pid#*.}
		kill -0 "${pid%%.*}" 2> /dev/null || rm -rf "$d"
	done
	work=$(mktemp -d "$BUILD/tmp/$VERB.$$.XXXXXX")
	at_exit "rm -rf '$work'"
}

# grouped CMD...: run CMD so that it ends with this verb, whatever ends that.  A shell
# defers its traps while it waits in the foreground, thus this is not for brief things.
grouped() {
	local rc=0
	# In a process group of its own, to be ended as a whole.
	set -m
	(set +m; set_traps; "$@") < /dev/null &
	GROUP=$!
	set +m
	wait "$GROUP" || rc=$?
	GROUP=""
	return $rc
}

# shown WHAT LOG CMD...: run CMD with its output in LOG, say every 20 seconds
# that it still runs, and show what matters of LOG when it fails.
shown() {
	local what=$1 log=$2 start=$SECONDS pid tick=0 rc=0
	shift 2
	make_build
	say "$what ..."
	set -m
	"$@" > "$log" 2>&1 < /dev/null &
	pid=$!
	set +m
	GROUP=$pid
	while kill -0 "$pid" 2> /dev/null; do
		sleep 0.2
		tick=$((tick + 1))
		[ $((tick % 100)) -ne 0 ] ||
			say "$what ... $((SECONDS - start)) s, $(wc -l < "$log") lines: $(tail -n 1 "$log" | cut -c1-60)"
	done
	wait "$pid" || rc=$?
	GROUP=""
	if [ "$rc" -ne 0 ]; then
		! grep -qs 'No space left on device' "$log" && ! no_space "$BUILD" ||
			die "$what failed: the disk is full (free some space in $BUILD, or have NDM_BUILD=DIR name another place)"
		grep -nE '(error|Error|FAILED|undefined reference|fatal):? ' "$log" | grep -v 'make\[' | head -n 20 | grep . >&2 ||
			tail -n 20 "$log" >&2
		die "$what failed (exit $rc); the whole log is ${log#"$TOP"/}"
	fi
	say "$what: done in $((SECONDS - start)) s"
}

# One at a time writes to the kernel tree, or builds and needs it to stay as it is.
# Those whom the holder starts have the lock, too, as long as one of them lives.
tree_lock() {
	local lock=$BUILD/.kernel-build.lock who
	[ "${NDM_TREE_LOCKED:-}" != "$lock" ] || return 0
	make_build
	exec 9<> "$lock"
	if ! flock -n 9; then
		who=$(cat "$lock")
		say "waiting for ${who:-another verb}, which has the kernel tree (lock: ${lock#"$TOP"/})"
		until flock -n 9; do sleep 0.2; done
	fi
	echo "scripts/$VERB (process $$)" > "$lock"
	export NDM_TREE_LOCKED=$lock
}
tree_unlock() { exec 9>&-; unset NDM_TREE_LOCKED; }

# One at a time has the trees in build/check; whom the holder starts is no other.
check_lock() {
	local lock=$BUILD/check/.lock
	[ "${NDM_CHECK_LOCKED:-}" != "$lock" ] || return 0
	make_build
	mkdir -p "$BUILD/check"
	exec 8> "$lock"
	flock -n 8 || die "another scripts/check is at a slow gate, or scripts/configs runs"
	export NDM_CHECK_LOCKED=$lock
}

# console_from FILE LINE N: N lines of a kernel's console from LINE on, without what
# only its disassembly would tell.
console_from() {
	tail -n "+$2" "$1" | tr -d '\r' | sed 's/^\[[^]]*\] *\(\[[^]]*\] \)\?//' |
		grep -Eav '^ *\? |^ *$|^(Code|Hardware name|[EF]S|CS|CR2|R([A-D]X|[SD]I|[BS]P|[0-9]+)|PKRU): ' |
		head -n "$3" || :
}

# --- packages -------------------------------------------------------------

DEPS_FETCH="ca-certificates curl git xz-utils perl"
DEPS_BUILD="gcc make flex bison bc libelf-dev libssl-dev cpio kmod xz-utils zstd
	ccache busybox-static libcap-dev libnuma-dev uuid-dev python3 perl git
	rsync gzip"
DEPS_ARM64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
CROSS_PACKAGES="busybox-static libcap-dev"
DEPS_SERIES="git quilt perl"
DEPS_HOST="build-essential debhelper dwarves dpkg-dev libdw-dev rsync"
DEPS_CHECK="shellcheck codespell quilt git perl python3 python3-ply python3-git"

# A fresh machine may be installing updates by itself.
APT_WAIT=(-o DPkg::Lock::Timeout=300)

# need PACKAGE...: install what is missing, in one go.
need() {
	local p missing=""
	have dpkg-query || die "this needs Debian 12 (dpkg is missing); install by hand: $*"
	for p in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$p" 2> /dev/null | grep -qx installed ||
			missing="$missing $p"
	done
	[ -n "$missing" ] || return 0
	[ "$(id -u)" = 0 ] || die "run as root, or first: apt-get install$missing"
	# Whoever was interrupted in the middle has left that to do.
	[ -z "$(find /var/lib/dpkg/updates -type f -print -quit 2> /dev/null)" ] ||
		shown "finishing an interrupted installation" "$BUILD/log/dpkg.log" \
			env DEBIAN_FRONTEND=noninteractive dpkg --configure -a
	# shellcheck disable=SC2086 # words are wanted
	set -- $missing
	if [ -z "$(find "$BUILD/log/.apt-updated" -mmin -120 2> /dev/null)" ]; then
		shown "updating the package lists" "$BUILD/log/apt-update.log" \
			apt-get -q "${APT_WAIT[@]}" update
		touch "$BUILD/log/.apt-updated"
	fi
	shown "installing $*" "$BUILD/log/apt-install.log" \
		env DEBIAN_FRONTEND=noninteractive apt-get -q "${APT_WAIT[@]}" -y --no-install-recommends install "$@"
}

# apt_lists NAME LINE...: package lists that the machine itself doesn't have, in a private
# apt state under build/: the machine's own configuration stays as it is, and gives the
# mirror's address.  LINE is "deb SUITE" or "deb-src SUITE", with "[arch=NAME]" between
# for another architecture than the machine's.
apt_lists() {
	local dir=$BUILD/$1 uri line options key=/usr/share/keyrings/debian-archive-keyring.gpg
	shift
	APT_PRIVATE=(-o "Dir::Etc::SourceList=$dir/etc/sources.list"
		-o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$dir/lists"
		-o "Dir::Cache=$dir/cache" -o Acquire::Languages=none)
	[ -z "$(find "$dir/.updated" -mtime -3 2> /dev/null)" ] || return 0
	[ "$(id -u)" = 0 ] || die "run as root: packages of other suites of Debian are needed"
	# shellcheck disable=SC2016 # apt's own variables
	uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
		awk '$2 == "bookworm" { print $1; exit }')
	[ -n "$uri" ] || die "apt has no source for Debian 12 (bookworm) main; add it to the machine's apt sources and run apt-get update"
	[ -e "$key" ] || need debian-archive-keyring
	mkdir -p "$dir/etc" "$dir/lists/partial" "$dir/cache/archives/partial"
	for line in "$@"; do
		options="signed-by=$key"
		[[ $line != *\[*\]* ]] || { options=${line#*[}; options="${options%]*} signed-by=$key"; }
		echo "${line%% *} [$options] $uri ${line##* } main"
	done > "$dir/etc/sources.list"
	shown "reading package lists of Debian" "$BUILD/log/apt-private.log" \
		apt-get -q "${APT_PRIVATE[@]}" update
	touch "$dir/.updated"
}
apt_private() { apt_lists apt "deb bookworm" "deb bookworm-backports" "deb trixie-backports"; }

# compiler TREE OBJ: CC, and what makes the same input give the same kernel.  ccache
# is used where it can be.  Its cache lies outside of this directory and sees paths
# relative to it, so that a clone in another folder finds what this one compiled.
compiler() {
	CC=${CROSS}gcc
	export KBUILD_BUILD_TIMESTAMP="2026-01-01" KBUILD_BUILD_USER=ndm KBUILD_BUILD_HOST=ndm
	export LOCALVERSION=
	# __FILE__ and warnings name a file as ever.
	KCPPFLAGS="-fmacro-prefix-map=$(realpath -m --relative-to="$2" "$1")/="
	export KCPPFLAGS
	have ccache || return 0
	if [ -z "${CCACHE_DIR:-}" ]; then
		export CCACHE_DIR=${XDG_CACHE_HOME:-${HOME:-$BUILD}/.cache}/ndm-ccache CCACHE_MAXSIZE=15G
	fi
	if ! mkdir -p "$CCACHE_DIR" 2> /dev/null || [ ! -w "$CCACHE_DIR" ]; then
		say "cannot write $CCACHE_DIR: compiling without ccache"
		return 0
	fi
	CC="ccache ${CROSS}gcc"
	export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$TOP
	case $BUILD in "$TOP"/*) ;; *) CCACHE_BASEDIR=$BUILD ;; esac
}

# user_make ARG...: make for programs, after compiler().  ccache would make the paths
# in lists of dependencies relative, which Kbuild can cope with, but others can't: they
# would not see that a header has changed.
user_make() { CCACHE_BASEDIR="" make CC="$CC" -j"$(jobs_wanted)" "$@"; }

# QEMU: bookworm's own 7.2 is too old, its backport is what this was tested with.
need_qemu() {
	local major package
	if have "$QEMU"; then
		major=$("$QEMU" --version | sed -n 's/.*version \([0-9]*\).*/\1/p;q')
		[ "${major:-0}" -lt 9 ] || return 0
	fi
	apt_private
	case $ARCH_NAME in x86) package=qemu-system-x86 ;; arm64) package=qemu-system-arm ;; esac
	shown "installing $package" "$BUILD/log/apt-qemu.log" \
		env DEBIAN_FRONTEND=noninteractive apt-get -q "${APT_WAIT[@]}" -y --no-install-recommends \
		"${APT_PRIVATE[@]}" install -t bookworm-backports "$package"
}

# need_busybox: BUSYBOX is the file of a static one for the machine.  For another
# architecture than this one's, need_cross has it, and libraries to link with: CROSS_ROOT
# has packages of Debian, which are only unpacked, as they can't run here.
need_busybox() {
	if [ "$ARCH_NAME" = x86 ]; then
		need busybox-static
		BUSYBOX=/usr/bin/busybox
	else
		need_cross
		BUSYBOX=$CROSS_ROOT/usr/bin/busybox
	fi
	[ -e "$BUSYBOX" ] || BUSYBOX=${BUSYBOX/usr\/bin/bin}
}
need_cross() {
	local p deb
	CROSS_ROOT=$BUILD/root-$ARCH_NAME
	[ ! -e "$CROSS_ROOT/.complete" ] || return 0
	apt_lists "apt-$ARCH_NAME" "deb [arch=$ARCH_NAME] bookworm"
	rm -rf "$CROSS_ROOT"
	mkdir -p "$CROSS_ROOT/deb"
	for p in $CROSS_PACKAGES; do
		(cd "$CROSS_ROOT/deb" && apt-get -q "${APT_PRIVATE[@]}" -o "APT::Architectures::=$ARCH_NAME" \
			download "$p:$ARCH_NAME") > "$BUILD/log/cross-packages.log" 2>&1 ||
			die "cannot get $p for $ARCH_NAME: see ${BUILD#"$TOP"/}/log/cross-packages.log"
	done
	for deb in "$CROSS_ROOT"/deb/*.deb; do
		dpkg-deb -x "$deb" "$CROSS_ROOT"
	done
	rm -rf "$CROSS_ROOT/deb"
	touch "$CROSS_ROOT/.complete"
}

# Bochs emulates Intel's VMX: BOCHS is the directory with what it takes.
need_bochs() {
	need genisoimage
	grouped "$TOP/scripts/bochs" > "$work/bochs"
	BOCHS=$(cat "$work/bochs")
}

# --- the kernel tree ------------------------------------------------------

# git as every user has it: no configuration but the one given here.
pure_git() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null \
	GIT_AUTHOR_NAME=$ROLE_NAME GIT_AUTHOR_EMAIL=$ROLE_MAIL \
	GIT_COMMITTER_NAME=$ROLE_NAME GIT_COMMITTER_EMAIL=$ROLE_MAIL \
	GIT_CEILING_DIRECTORIES=$TOP \
		git -c core.autocrlf=false -c core.fileMode=true -c gc.auto=0 \
		-c core.hooksPath=/dev/null -c commit.gpgSign=false -c advice.detachedHead=false \
		-c safe.directory='*' "$@"
}

# The patch files, in the order of the series.
series_list() { [ ! -e "$SERIES" ] || sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$SERIES"; }

series_files() {
	local p
	series_list | while read -r p; do
		[ -f "$PATCHES/$p" ] || die "series names $p, which is not in patches/"
		printf '%s\n' "$PATCHES/$p"
	done
}

series_hash() {
	local list
	list=$(series_files) || exit 1
	# shellcheck disable=SC2086 # no spaces in patch names
	{ series_list; [ -z "$list" ] || cat $list; } | sha256sum | cut -c1-40
}

# The parts of the series, as its file has them: "NAME NUMBER", the latter of its last patch.
series_parts() {
	[ ! -e "$SERIES" ] || awk '/^# Part: / { if (name != "") print name, n; name = $3; next }
		!/^#/ && NF { n++ } END { if (name != "") print name, n }' "$SERIES"
}

# cover_header PART NAME: of patches/cover/PART.
cover_header() { sed -n "/^\$/q; s/^$2: *//p" "$PATCHES/cover/$1"; }

# repo_parts REPO FROM TO: the parts of its commits: "NAME COMMIT", in order.  A part ends
# where its branch part/NAME is; git rebase moves that along (rebase.updateRefs).  One that
# was left behind, or is not there at all, is found by the subject of the part's last patch.
# The last part ends where the series does.
repo_parts() {
	local repo=$1 from=$2 to=$3 name n commit subject
	{
		pure_git -C "$repo" for-each-ref --format='%(refname:lstrip=3)' refs/heads/part
		series_parts | cut -d ' ' -f 1
	} | sort -u | while read -r name; do
		commit=$(pure_git -C "$repo" rev-parse -q --verify "refs/heads/part/$name" || :)
		if [ -z "$commit" ] || ! pure_git -C "$repo" merge-base --is-ancestor "$commit" "$to" ||
		   ! pure_git -C "$repo" merge-base --is-ancestor "$from" "$commit"; then
			n=$(series_parts | awk -v p="$name" '$1 == p { print $2 }')
			subject=$([ -z "$n" ] || mail_subject < "$(series_files | sed -n "${n}p")")
			commit=$(pure_git -C "$repo" log --format='%H %s' "$from..$to" |
				S=$subject awk '{ id = $1; sub(/^[^ ]* /, "") } $0 == ENVIRON["S"] { print id }')
			# A part that has lost all of its patches, the last one's among them.
			[ -n "$commit" ] || [ "$(series_parts | tail -n 1 | cut -d ' ' -f 1)" != "$name" ] ||
				commit=$(pure_git -C "$repo" rev-parse "$to")
			[ "$(wc -w <<< "$commit")" = 1 ] ||
				die "where does part \"$name\" end? its last patch was \"$subject\"; run: git -C build/linux branch -f part/$name COMMIT"
		fi
		echo "$(pure_git -C "$repo" rev-list --count "$from..$commit") $name $commit"
	done | sort -n | { last=""
		while read -r _ name commit; do
			[ -z "$last" ] || echo "$last"
			last="$name $commit"
		done
		[ -z "$last" ] || echo "${last% *} $(pure_git -C "$repo" rev-parse "$to")"
	}
}

# The subject of the mail on standard input, in one line.
mail_subject() {
	awk '/^Subject: / { sub(/^Subject: (\[[^]]*\] )?/, ""); s = $0; next }
		s != "" && /^[ \t]/ { s = s $0; next } s != "" { print s; exit }'
}

# Every path that the series touches.
series_paths() {
	local list
	list=$(series_files) || exit 1
	# shellcheck disable=SC2086
	[ -z "$list" ] || sed -n 's,^diff --git a/.* b/,,p' $list | sort -u
}

tree_version() {
	sed -n -e 's/^VERSION = //p' -e 's/^PATCHLEVEL = /./p' -e 's/^SUBLEVEL = /./p' \
		-e 's/^EXTRAVERSION = *//p' | head -n 4 | tr -d '\n'
}

# The id of what is in the worktree now, uncommitted work included.
worktree_id() {
	local dir=$1 tmp rc=0
	make_build
	tmp=$(mktemp -d "$BUILD/tmp/worktree.$$.XXXXXX")
	mkdir "$tmp/o"
	(
		cp "$(pure_git -C "$dir" rev-parse --absolute-git-dir)/index" "$tmp/index" &&
		common=$(pure_git -C "$dir" rev-parse --path-format=absolute --git-common-dir) || exit
		export GIT_INDEX_FILE=$tmp/index GIT_OBJECT_DIRECTORY=$tmp/o
		export GIT_ALTERNATE_OBJECT_DIRECTORIES=$common/objects
		pure_git -C "$dir" add -A && pure_git -C "$dir" write-tree
	) || rc=1
	rm -rf "$tmp"
	return $rc
}

# A tree to build: the developer's own if there is one, else fetched and patched.
ensure_tree() {
	[ -z "${NDM_LINUX:-}" ] || return 0
	[ -e "$LINUX/.git" ] || grouped "$TOP/scripts/fetch"
	grouped "$TOP/scripts/apply" --auto
}

# --- the series as commits ------------------------------------------------

# from_is "NAME <MAIL>": the mail on standard input as one from NAME.  git wraps the
# header of somebody with a long name.
from_is() {
	FROM="From: $1" awk '
		!done && /^From: / { print ENVIRON["FROM"]; done = wrapped = 1; next }
		wrapped && /^[ \t]/ { next }
		{ wrapped = 0; print }'
}

# export_series REPO FROM TO OUT: OUT/patches/*.patch and OUT/series, the same
# bytes for the same commits wherever and whenever it runs.
export_series() {
	local repo=$1 range=$2..$3 out=$4 p n=0 part end parts
	mkdir -p "$out/patches"
	parts=$(repo_parts "$repo" "$2" "$3" | while read -r part end; do
		echo "$(pure_git -C "$repo" rev-list --count "$2..$end") $part"
	done) || exit 1
	end=0
	pure_git -C "$repo" -c core.abbrev=40 -c core.quotePath=true -c format.signOff=false \
		-c format.useAutoBase=false -c format.pretty= -c i18n.logOutputEncoding=UTF-8 \
		-c diff.suppressBlankEmpty=false -c diff.indentHeuristic=true -c diff.interHunkContext=0 \
		format-patch -q -N -o "$out/patches" --zero-commit --no-signature --full-index \
		--no-renames --no-thread --no-attach --no-cover-letter --no-notes --no-to --no-cc \
		--no-add-header --no-ext-diff --no-textconv --no-color --no-relative \
		--subject-prefix=PATCH --suffix=.patch --filename-max-length=64 \
		--src-prefix=a/ --dst-prefix=b/ -U3 --diff-algorithm=myers --stat=72 "$range"
	{
		echo "# SPDX-License-Identifier: GPL-2.0"
		echo "# In this order: scripts/apply, git am, or quilt push -a --fuzz=0."
		for p in "$out"/patches/*.patch; do
			[ -e "$p" ] || continue
			# The role, not whoever committed, is the author of what leaves here.
			from_is "$ROLE_NAME <$ROLE_MAIL>" < "$p" > "$out/patch"
			mv "$out/patch" "$p"
			n=$((n + 1))
			if [ "$n" -gt "$end" ] && [ -n "$parts" ]; then
				read -r end part <<< "$(awk -v n="$n" '$1 >= n { print; exit }' <<< "$parts")"
				[ -r "$PATCHES/cover/$part" ] || die "part \"$part\" has no cover letter: patches/cover/$part"
				printf '\n# Part: %s\n' "$part"
				for name in Destination Base Needs; do
					echo "#   $name: $(cover_header "$part" $name)"
				done
			elif [ "$n" = 1 ]; then
				echo
			fi
			echo "${p##*/}"
		done
	} > "$out/series"
}

# same_series OUT: is what export_series wrote what the project holds?
same_series() {
	local p list
	cmp -s "$1/series" "$SERIES" || return 1
	list=$(cd "$PATCHES" 2> /dev/null && find . -type f ! -path './cover/*' | sort || :)
	[ "$list" = "$(cd "$1/patches" && find . -type f | sort)" ] || return 1
	for p in $list; do cmp -s "$1/patches/$p" "$PATCHES/$p" || return 1; done
}

# scratch_repo DIR COMMIT: a repository at DIR that borrows build/linux's objects
# and has only those files checked out that the series touches.
scratch_repo() {
	local dir=$1 commit=$2
	rm -rf "$dir"
	mkdir -p "$dir"
	pure_git -C "$dir" init -q -b scratch
	(cd "$LINUX" && cd "$(git rev-parse --git-common-dir)/objects" && pwd) > "$dir/.git/objects/info/alternates"
	{ echo /.gitattributes; series_paths | sed 's,^,/,'; } |
		pure_git -C "$dir" sparse-checkout set --no-cone --stdin
	pure_git -C "$dir" update-ref refs/heads/series "$commit"
	pure_git -C "$dir" checkout -q series
	pure_git -C "$dir" tag base "$commit"
}

# am_series DIR: git am of the series there; the commit ids depend on the base
# and the patches only.
am_series() {
	local list log=$BUILD/log/am.log
	list=$(series_files) || exit 1
	[ -n "$list" ] || return 0
	mkdir -p "${log%/*}"
	# shellcheck disable=SC2086
	if ! pure_git -C "$1" am -q --committer-date-is-author-date --no-gpg-sign $list > "$log" 2>&1; then
		grep -v '^hint:' "$log" | tail -n 8 >&2
		die "git am refused a patch of the series on Linux v$BASE_VERSION"
	fi
	mark_parts "$1"
}
# mark_parts DIR: branches part/NAME in a repository that has what the series' file says.
mark_parts() {
	local name n
	pure_git -C "$1" for-each-ref --format='delete %(refname)' refs/heads/part | pure_git -C "$1" update-ref --stdin
	series_parts | while read -r name n; do
		echo "create refs/heads/part/$name $(pure_git -C "$1" rev-list --reverse base..series | sed -n "${n}p")"
	done | pure_git -C "$1" update-ref --stdin
}

# check_preimages REPO COMMIT, or DIR alone: every file that the series touches must be,
# bit by bit, the one that its patches were made against.
check_preimages() {
	local list want bad no="0000000000000000000000000000000000000000"
	list=$(series_files) || exit 1
	[ -n "$list" ] || return 0
	# shellcheck disable=SC2086
	want=$(awk '/^diff --git a\// { file = $0; sub(/^diff --git a\/.* b\//, "", file); next }
		/^index [0-9a-f]+\.\.[0-9a-f]+/ && file != "" && !(file in seen) {
			seen[file] = 1; split($2, id, /\.\./); print id[1], file
		}' $list)
	bad=$(cut -d ' ' -f 2- <<< "$want" |
		if [ $# -gt 1 ]; then
			sed "s,^,$2:," | pure_git -C "$1" cat-file --batch-check='%(objectname)' |
				sed "s/.* missing\$/$no/"
		else
			while read -r f; do
				[ -f "$1/$f" ] && git hash-object --no-filters "$1/$f" || echo "$no"
			done
		fi | paste -d ' ' - <(cat <<< "$want") |
		awk '$1 !~ "^" $2 { print "  " $3 ($1 ~ /^0+$/ ? " (missing)" : $2 ~ /^0+$/ ? " (must not exist)" : "") }')
	[ -n "$bad" ] || return 0
	head -n 6 <<< "$bad" >&2
	[ "$(wc -l <<< "$bad")" -le 6 ] || echo "  ... $(wc -l <<< "$bad") in all" >&2
	die "the files above differ from those that the patches were made against: not Linux v$BASE_VERSION, or changed"
}

# not_yours: for what writes patches/, commits or branches: a tree that NDM_LINUX names is
# used as it is.
not_yours() {
	[ -z "${NDM_LINUX:-}" ] ||
		die "NDM_LINUX names a tree of yours, which is used as it is; unset it for scripts/$VERB, which works on build/linux"
}

applied_stamp() { echo "$(git -C "$LINUX" rev-parse --absolute-git-dir)/ndm-applied"; }

# own_tree DIR COMMIT: a tree of build/linux's COMMIT at DIR, for work that must not
# disturb build/linux; kept from run to run, whatever a former one left in it.
own_tree() {
	local dir=$1 commit=$2 git
	# Of no use once build/linux is another one.
	if [ ! -f "$dir/.git" ] || ! pure_git -C "$dir" cat-file -e "$commit^{commit}" 2> /dev/null; then
		rm -rf "$dir"
		say "making the tree ${dir#"$TOP"/}"
		pure_git -C "$LINUX" worktree prune
		pure_git -C "$LINUX" worktree add -q -f --detach --no-checkout "$dir" "$commit"
	fi
	git=$(pure_git -C "$dir" rev-parse --absolute-git-dir)
	rm -f "$git/index.lock" "$git/HEAD.lock"
	pure_git -C "$dir" update-ref --no-deref HEAD "$commit"
	pure_git -C "$dir" reset -q --hard
	pure_git -C "$dir" clean -qfd
}
