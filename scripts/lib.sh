# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # the verbs use them
#
# Shared by the verbs in scripts/: the names of things, errors, progress,
# packages, the kernel build lock.  Sourced, never run.

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

VERB=${0##*/}
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

say()  { printf '%s: %s\n' "$VERB" "$*" >&2; }
die()  { printf '%s: error: %s\n' "$VERB" "$*" >&2; exit 1; }
warn() { printf '%s: warning: %s\n' "$VERB" "$*" >&2; }

# The help of a verb is the comment block below its SPDX line.
usage() { awk 'NR > 2 && !/^#/ { exit } NR > 2 { sub(/^# ?/, ""); print }' "$0"; }
bad_usage() { die "$* (try: scripts/$VERB --help)"; }
need_arg() { if [ $# -lt 2 ] || [ -z "$2" ]; then bad_usage "$1 needs a value"; fi; }
need_number() {
	case $2 in '' | *[!0-9]*) bad_usage "$1 needs a whole number, not \"$2\"" ;; esac
}

# at_exit CMD: runs however the verb ends; whatever "shown" started ends too.
at_exit() { AT_EXIT+=("$1"); }
lib_exit() {
	local rc=$? cmd
	[ -z "$SHOWN" ] || kill -TERM -- "-$SHOWN" 2> /dev/null || :
	for cmd in ${AT_EXIT[@]+"${AT_EXIT[@]}"}; do eval "$cmd"; done
	exit "$rc"
}
# A subshell that uses "shown" calls this again.
set_traps() {
	AT_EXIT=() SHOWN=""
	trap lib_exit EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}
set_traps

have() { command -v "$1" > /dev/null 2>&1; }
jobs_wanted() { echo $(($(nproc) + 1)); }
sha_of() { sha256sum "$@" | sha256sum | cut -c1-40; }

# shown WHAT LOG CMD...: run CMD with its output in LOG, say every 20 seconds
# that it still runs, and show what matters of LOG when it fails.
shown() {
	local what=$1 log=$2 start=$SECONDS pid tick=0 rc=0
	shift 2
	mkdir -p "${log%/*}"
	say "$what ..."
	# In a process group of its own, to be ended as a whole.
	set -m
	"$@" > "$log" 2>&1 < /dev/null &
	pid=$!
	set +m
	SHOWN=$pid
	while kill -0 "$pid" 2> /dev/null; do
		sleep 0.2
		tick=$((tick + 1))
		[ $((tick % 100)) -ne 0 ] ||
			say "$what ... $((SECONDS - start)) s, $(wc -l < "$log") lines: $(tail -n 1 "$log" | cut -c1-60)"
	done
	wait "$pid" || rc=$?
	SHOWN=""
	if [ "$rc" -ne 0 ]; then
		grep -nE '(error|Error|FAILED|undefined reference|fatal):? ' "$log" | grep -v 'make\[' | head -n 20 | grep . >&2 ||
			tail -n 20 "$log" >&2
		die "$what failed (exit $rc); the whole log is ${log#"$TOP"/}"
	fi
	say "$what: done in $((SECONDS - start)) s"
}

# One kernel build at a time in this directory, whoever starts it.
kernel_lock() {
	mkdir -p "$BUILD"
	exec 9> "$BUILD/.kernel-build.lock"
	if ! flock -n 9; then
		say "waiting for another kernel build (lock: build/.kernel-build.lock)"
		flock 9
	fi
}
kernel_unlock() { exec 9>&-; }

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
	mkdir -p "$BUILD/log"
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

# Debian's backports suites live in a private apt state under build/: the
# machine's own configuration stays as it is, and gives the mirror's address.
apt_private() {
	local dir=$BUILD/apt uri key=/usr/share/keyrings/debian-archive-keyring.gpg
	APT_PRIVATE=(-o "Dir::Etc::SourceList=$dir/etc/sources.list"
		-o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$dir/lists"
		-o "Dir::Cache=$dir/cache" -o Acquire::Languages=none)
	[ -z "$(find "$dir/.updated" -mtime -3 2> /dev/null)" ] || return 0
	[ "$(id -u)" = 0 ] || die "run as root: packages of Debian's backports are needed"
	# shellcheck disable=SC2016 # apt's own variables
	uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
		awk '$2 == "bookworm" { print $1; exit }')
	[ -n "$uri" ] || die "apt has no source for Debian 12 (bookworm) main; add it to the machine's apt sources and run apt-get update"
	[ -e "$key" ] || need debian-archive-keyring
	mkdir -p "$dir/etc" "$dir/lists/partial" "$dir/cache/archives/partial"
	printf "deb [signed-by=$key] $uri %s main\n" bookworm bookworm-backports trixie-backports \
		> "$dir/etc/sources.list"
	shown "reading Debian's backports package lists" "$BUILD/log/apt-private.log" \
		apt-get -q "${APT_PRIVATE[@]}" update
	touch "$dir/.updated"
}

# compiler TREE OBJ: CC, and what makes the same input give the same kernel.  ccache
# is used where it can be.  Its cache lies outside of this directory and sees paths
# relative to it, so that a clone in another folder finds what this one compiled.
compiler() {
	CC=gcc
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
	CC="ccache gcc"
	export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$TOP
	case $BUILD in "$TOP"/*) ;; *) CCACHE_BASEDIR=$BUILD ;; esac
}

# user_make ARG...: make for programs, after compiler().  ccache would make the paths
# in lists of dependencies relative, which Kbuild can cope with, but others can't: they
# would not see that a header has changed.
user_make() { CCACHE_BASEDIR="" make CC="$CC" -j"$(jobs_wanted)" "$@"; }

# QEMU: bookworm's own 7.2 is too old, its backport is what this was tested with.
need_qemu() {
	local major
	if have qemu-system-x86_64; then
		major=$(qemu-system-x86_64 --version | sed -n 's/.*version \([0-9]*\).*/\1/p;q')
		[ "${major:-0}" -lt 9 ] || return 0
	fi
	apt_private
	shown "installing qemu-system-x86" "$BUILD/log/apt-qemu.log" \
		env DEBIAN_FRONTEND=noninteractive apt-get -q "${APT_WAIT[@]}" -y --no-install-recommends \
		"${APT_PRIVATE[@]}" install -t bookworm-backports qemu-system-x86
}

# --- the kernel tree ------------------------------------------------------

# git as every user has it: no configuration but the one given here.
pure_git() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null \
	GIT_AUTHOR_NAME=$ROLE_NAME GIT_AUTHOR_EMAIL=$ROLE_MAIL \
	GIT_COMMITTER_NAME=$ROLE_NAME GIT_COMMITTER_EMAIL=$ROLE_MAIL \
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
	tmp=$(mktemp -d "$BUILD/.wt.XXXXXX")
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
	[ -e "$LINUX/.git" ] || "$TOP/scripts/fetch"
	"$TOP/scripts/apply" --auto
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
	local repo=$1 range=$2..$3 out=$4 p subject group last=""
	mkdir -p "$out/patches"
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
			subject=$(sed -n 's/^Subject: \[PATCH\] //p;/^Subject:/q' "$p")
			case $subject in
			*selftests*:*) group=selftests ;;
			Documentation* | docs:* | *:\ Document\ *) group=Documentation ;;
			KVM:*) group=KVM ;;
			*) group=${subject%%:*}; group=${group%%/*} ;;
			esac
			if [ "$group" != "$last" ]; then
				printf '\n# %s\n' "$group"
				last=$group
			fi
			echo "${p##*/}"
		done
	} > "$out/series"
}

# same_series OUT: is what export_series wrote what the project holds?
same_series() {
	local p list
	cmp -s "$1/series" "$SERIES" || return 1
	list=$(cd "$PATCHES" 2> /dev/null && find . -type f | sort || :)
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
}

# check_preimages REPO COMMIT: every file that the series touches must be, bit by
# bit, the one that its patches were made against.
check_preimages() {
	local list tmp
	list=$(series_files) || exit 1
	[ -n "$list" ] || return 0
	tmp=$(mktemp "$BUILD/.preimages.XXXXXX")
	# shellcheck disable=SC2086
	awk '/^diff --git a\// { file = $0; sub(/^diff --git a\/.* b\//, "", file); next }
		/^index [0-9a-f]+\.\.[0-9a-f]+/ && file != "" && !(file in seen) {
			seen[file] = 1; split($2, id, /\.\./); print id[1], file
		}' $list > "$tmp"
	if ! awk '{ print "'"$2"':" $2 }' "$tmp" |
		git -C "$1" cat-file --batch-check='%(objectname)' |
		awk 'NR == FNR { want[NR] = $1; file[NR] = $2; next }
			{ id = ($2 == "missing") ? "0000000000000000000000000000000000000000" : $1 }
			id !~ "^" want[FNR] { print file[FNR] (id ~ /^0+$/ ? " (missing)" : want[FNR] ~ /^0+$/ ? " (must not exist)" : ""); bad = 1 }
			END { exit bad }' "$tmp" - > "$tmp.bad"; then
		sed 's/^/  /' "$tmp.bad" | head -n 6 >&2
		[ "$(wc -l < "$tmp.bad")" -le 6 ] || echo "  ... $(wc -l < "$tmp.bad") in all" >&2
		rm -f "$tmp" "$tmp.bad"
		die "the files above differ from those that the patches were made against: not Linux v$BASE_VERSION, or changed"
	fi
	rm -f "$tmp" "$tmp.bad"
}

applied_stamp() { echo "$(git -C "$LINUX" rev-parse --absolute-git-dir)/ndm-applied"; }

# own_tree DIR COMMIT: a complete tree of build/linux's COMMIT at DIR, for work
# that must not disturb build/linux; kept from run to run.
own_tree() {
	local dir=$1 commit=$2
	# It borrows objects by an absolute path: of no use once either has moved.
	if [ ! -e "$dir/.complete" ] ||
	   ! pure_git -C "$dir" fetch -q --no-tags "$LINUX" "$commit" 2> /dev/null; then
		rm -rf "$dir"
		mkdir -p "${dir%/*}"
		say "making the tree ${dir#"$TOP"/}"
		pure_git clone -q --shared --no-checkout "$LINUX" "$dir"
		pure_git -C "$dir" checkout -q --detach "$commit"
		echo /.complete >> "$dir/.git/info/exclude"
		touch "$dir/.complete"
	fi
	rm -f "$dir/.git/index.lock"
	pure_git -C "$dir" reset -q --hard
	pure_git -C "$dir" clean -qfd
	pure_git -C "$dir" checkout -q --detach "$commit"
}
