# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # see scripts/harness
#
# Tests of scripts/bench.

t_bench() {
	toy
	mkdir -p build/obj/test/image
	touch build/obj/test/image/bzImage
	echo 1111111111111111 > build/obj/test/.ndm-tree
	printf '#!/bin/sh\nexit 0\n' > scripts/build
	cat > scripts/boot <<- 'END'
	#!/bin/bash
	. "$(dirname "$0")/lib.sh"
	[ ! -e sleeper ] || { echo half; ./sleeper & wait; }
	printf '# noise\nbench\ta\tflushes\t0\t32\t<=31\tmissed\nbench\ttime\ttime, x\t1\t1.96\t-\t-\n'
	END
	fails "nothing was measured yet" scripts/bench --print
	scripts/bench cpus2 > out
	# No column for what was not measured.
	same "$(sed -n 2p out | xargs)" "off on"
	same "$(sed -n 3p out | xargs)" "flushes 0 32 <=31 missed: cpus2"
	same "$(sed -n 4p out | xargs)" "time, x 1 1.96"
	echo 2222222222222222 > build/obj/test/.ndm-tree
	scripts/bench numa > out 2> err
	same "$(sed -n 2p out | xargs)" "off on off on"
	grep -q "measured with different kernels: cpus2 111111111111, numa 222222222222" err
	# Half a measurement is none.
	printf '#!/bin/bash\necho $$ > %q\nexec sleep 600\n' "$toy/sleeping" > sleeper
	chmod 755 sleeper
	ends_all "a measurement" scripts/bench cpus8
	[ ! -e build/bench/cpus8.txt ]
	scripts/bench --print > out 2> err
	same "$(sed -n 2p out | xargs)" "off on off on"
	# Another architecture has machines, and a table, of its own.
	rm sleeper
	mkdir -p build/obj/arm64/test/image
	touch build/obj/arm64/test/image/Image
	fails "machine numa is not one of --arch arm64" scripts/bench --arch arm64 numa
	scripts/bench --arch arm64 > out 2> err
	same "$(sed -n 1p out | xargs)" "pages 2M blocks target"
	same "$(sed -n 3p out | xargs)" "flushes 0 32 0 32 <=31 missed: pages blocks"
}
