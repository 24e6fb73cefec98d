# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154 # see scripts/harness
#
# Tests of scripts/models.

t_models() {
	toy
	mkdir -p selftests/models
	rm selftests/models/*
	printf '/*\n * Fault: WRONG what is wrong\n */\n' > selftests/models/m.pml
	printf '#!/bin/bash\necho $$ > %q\nexec sleep 600\n' "$toy/sleeping" > sleeper
	fake dpkg-query <<< 'echo installed'
	fake spin <<< 'case $1 in -DWRONG) cp "$FOUND" errors ;; *) echo 0 > errors ;; esac'
	fake gcc <<< 'cp "$PAN" pan; chmod 755 pan'
	printf '#!/bin/sh\necho "State-vector 1 byte, errors: $(cat errors)"\necho "        7 states, stored"\n' > works
	echo 1 > one
	echo 0 > none
	export PAN=$toy/works FOUND=$toy/one
	scripts/models 2> out
	grep -q 'm: nothing wrong in 7 states' out
	grep -q 'm: finds WRONG' out
	no env FOUND="$toy/none" scripts/models 2> out
	grep -q 'm: FAILED to find WRONG' out
	PAN=/dev/null fails "m: can't be checked" scripts/models
	echo "/* no fault */" > selftests/models/m.pml
	fails "knows no fault" scripts/models
	PAN=$toy/sleeper ends_all "a model" scripts/models
	same "$(ls -A build/tmp)" "" "what is left"
	# By another name, from elsewhere.
	ln -s ../scripts/models bin/ndm-models
	(cd / && "$toy/bin/ndm-models" --help) | grep '^Usage: scripts/models' > /dev/null
}
