# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2030,SC2031,SC2154,SC2164 # see scripts/harness
#
# Tests of scripts/build, and of what scripts/boot says where that was not done.

t_config_lost_option() {
	printf '# why\nCONFIG_SMP=y\t\t# a reason\nCONFIG_BOGUS_OPTION=y\t# no such thing\n' > "$toy/frag"
	printf 'CONFIG_SMP=y\nCONFIG_STR="a b"\nCONFIG_NUM=16\n# CONFIG_OFF is not set\n' > "$toy/dotconfig"
	fails "did not survive" "$TOP/scripts/build" --check-config "$toy/frag" "$toy/dotconfig"
	("$TOP/scripts/build" --check-config "$toy/frag" "$toy/dotconfig" 2>&1 || :) |
		grep -qF "$toy/frag:3: CONFIG_BOGUS_OPTION=y was lost: the configuration has n"
	printf 'CONFIG_SMP=y\nCONFIG_STR="a b"  # x\nCONFIG_NUM=16 # y\n# CONFIG_OFF is not set\n# CONFIG_GONE is not set\n' > "$toy/frag"
	"$TOP/scripts/build" --check-config "$toy/frag" "$toy/dotconfig"
	printf 'CONFIG_NUM=1\n' > "$toy/frag2"
	fails "did not survive" "$TOP/scripts/build" --check-config "$toy/frag" "$toy/frag2" "$toy/dotconfig"
	# a later fragment overrides an earlier one
	printf 'CONFIG_NUM=1\n' > "$toy/frag"; printf 'CONFIG_NUM=16\n' > "$toy/frag2"
	"$TOP/scripts/build" --check-config "$toy/frag" "$toy/frag2" "$toy/dotconfig"
	printf 'CONFIG_SMP y\n' > "$toy/frag"
	fails "did not survive" "$TOP/scripts/build" --check-config "$toy/frag" "$toy/dotconfig"
}

t_compiler_cache() {
	need gcc ccache > /dev/null
	unset CCACHE_DIR CCACHE_BASEDIR
	local d stats
	export XDG_CACHE_HOME=$toy/cache
	for d in one two/deeper; do
		(
			TOP=$toy/$d BUILD=$toy/$d/build
			mkdir -p "$BUILD/linux/include" "$BUILD/obj"
			echo '#define NAME __FILE__' > "$BUILD/linux/include/a.h"
			printf '#include <a.h>\nconst char *f(void) { return NAME; }\n' > "$BUILD/linux/a.c"
			compiler "$BUILD/linux" "$BUILD/obj"
			cd "$BUILD/obj"
			$CC "$KCPPFLAGS" -I"$BUILD/linux/include" -c "$BUILD/linux/a.c"
		)
	done
	stats=$(CCACHE_DIR=$toy/cache/ndm-ccache ccache --print-stats)
	same "$(awk '/^(direct|preprocessed)_cache_hit/ { n += $2 } /^cache_miss/ { n += 10 * $2 } END { print n }' <<< "$stats")" 11 "a hit, a miss"
	# whatever the user set wins, and a cache that is of no use is none
	(CCACHE_DIR=$toy/mine; compiler a b; same "$CC $CCACHE_DIR" "ccache gcc $toy/mine")
	touch "$toy/file"
	(CCACHE_DIR=$toy/file/x; compiler a b 2> /dev/null; same "$CC" gcc)
	(unset HOME XDG_CACHE_HOME; BUILD=$toy/b; compiler a b; same "$CC $CCACHE_DIR" "ccache gcc $toy/b/.cache/ndm-ccache")
}

t_boot_refuses_half_a_build() {
	toy
	mkdir -p build/obj/test/image
	touch build/obj/test/image/bzImage build/obj/test/.installing
	fails "was interrupted" scripts/boot -- true
	rm build/obj/test/.installing
	mkdir -p build/obj/user
	touch build/obj/user/.installing
	fails "or of its user space, was interrupted" scripts/boot -- true
	rm -r build/obj/test/image
	fails "no test kernel yet" scripts/boot -- true
	fails "no debug kernel yet" scripts/soak --no-build
	fails "one configuration at a time" scripts/build test debug
}
