# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # see scripts/harness
#
# Tests of scripts/send.

mail_header() { sed -n "/^\$/q; s/^$1: //p" "$2"; }

t_send_refuses() {
	toy_parts
	local me="Some One <some.one@mail.example>"
	fails "which part? the series has: fixes kvm" scripts/send --dry-run
	fails "no such part: mm" scripts/send mm --dry-run
	fails "one part at a time" scripts/send fixes kvm
	fails "your own sign-off is needed" scripts/send fixes
	fails "your own sign-off is needed" scripts/send fixes --signoff maintainers
	fails "your own sign-off is needed" scripts/send fixes --signoff "$ROLE_NAME <$ROLE_MAIL>"
	mkdir mails
	touch mails/mine
	fails "holds something else than mails" scripts/send fixes --signoff "$me" --out mails
	fails "has no commit v7.3.4" scripts/send fixes --signoff "$me" --tree build/linux
	fails "--base is a commit of --tree" scripts/send fixes --dry-run --base nosuchref
	fails 'patches/cover/fixes has no "Changes in v3:"' scripts/send fixes --dry-run --version 3
	# Nothing is to be installed for what is refused.
	fake dpkg-query <<< 'exit 1'
	fake apt-get <<< 'echo "installs $*" >> installed'
	fails "--dry-run and --really exclude each other" scripts/send fixes --signoff "$me" --dry-run --really
	[ ! -e installed ]
	rm bin/dpkg-query bin/apt-get
	mv patches/cover/kvm .
	fails "has no cover letter" scripts/send kvm --signoff "$me"
}

t_send() {
	toy_parts
	need git-email libmailtools-perl b4 > /dev/null
	local me="Some One <some.one@mail.example>" m
	# Who gets what, and nothing else.
	scripts/send kvm --dry-run > out
	grep -qx '    To: Ann Abc <ann@abc.example>' out
	grep -qx '    Cc: Rev Iewer <rev@abc.example>' out
	[ ! -e build/send ]
	for m in 1 2; do scripts/send kvm --signoff "$me" --tree upstream --out mails; done
	same "$(wc -l < ran)" 1 "get_maintainer.pl, of one patch, remembered"
	same "$(find mails -type f -printf '%f\n' | sort | xargs)" "0000-cover-letter.patch 0001-KVM-guest_memfd-Add-a-number-with-an-awkwardly-long-.patch kvm.mbox" "files"
	m=$(echo mails/0001-*)
	# In one line each, from the person, signed last.
	same "$(mail_header Subject mails/0000-*)" "[PATCH v2 0/1] kvm: This & that, in a subject that is so long that git would wrap it somewhere"
	same "$(mail_header Subject "$m")" "[PATCH v2 1/1] KVM: guest_memfd: Add a number with an awkwardly long subject that has to be cut somewhere"
	same "$(mail_header From "$m")" "$me"
	same "$(mail_header To "$m")" "Ann Abc <ann@abc.example>, Bob Bcd <bob@bcd.example>"
	same "$(mail_header Cc "$m")" "Rev Iewer <rev@abc.example>, linux-kernel@vger.example"
	same "$(mail_header In-Reply-To "$m")" "$(mail_header Message-Id mails/0000-*)" "thread"
	same "$(sed '/^---$/,$d' "$m" | tail -n 1)" "Signed-off-by: $me" "the last line"
	no grep -qF -e "$ROLE_MAIL" -e "$ROLE_NAME" mails/*
	grep -qx 'Some One (1):' mails/0000-*
	grep -qx 'Text of kvm\.' mails/0000-*
	grep -qx 'This is part 2 of 2: fixes, kvm\.' mails/0000-*
	grep -q '^Needs part fixes: "fixes: This & that' mails/0000-*
	grep -qx "base-commit: $(git -C upstream rev-parse 'v7.3.4^{commit}')" mails/0000-*
	same "$(grep -c '^prerequisite-patch-id: ' mails/0000-*)" 1 "what it needs"
	no grep -q '^Signed-off-by' patches/*.patch
	# The tools that get them take them.
	export HOME=$toy
	git config --global user.name "Some One"
	git config --global user.email some.one@mail.example
	git send-email --dry-run --quiet --to-cmd=: --no-thread --suppress-cc=body --suppress-cc=self --confirm=never mails/*.patch > sent 2>&1
	git send-email --dry-run --to-cmd=: --no-thread --suppress-cc=body --suppress-cc=self --confirm=never "$m" > sent 2>&1
	grep -q '^RCPT TO:<ann@abc.example>' sent
	grep -q '^RCPT TO:<linux-kernel@vger.example>' sent
	scripts/send fixes --signoff "$me" --out first
	git init -q b4
	(mkdir b4/out b4/out2 && cd b4 && git fetch -q ../upstream v7.3.4 && git checkout -q FETCH_HEAD &&
		b4 -n --offline-mode am -m ../first/fixes.mbox -o out > ../b4.log 2>&1 || { cat ../b4.log; exit 1; }
		git am -q out/*.mb*)
	b4 -n --offline-mode am -m mails/kvm.mbox -o b4/out2 > b4.log 2>&1 || { cat b4.log; return 1; }
	(cd b4 && git am -q out2/*.mb*)
	same "$(git -C b4 rev-parse 'HEAD^{tree}')" "$(git -C build/linux rev-parse 'series^{tree}')" "tree"
	# b4 makes mails of a branch, as README says.
	git config --global sendemail.smtpserver mail.example
	# shellcheck disable=SC2016 # for the editor
	fake editor <<< 'printf "%s\n\n" "A subject" "A text" "To: Ann Abc <ann@abc.example>" > "$1"'
	git config --global core.editor editor
	(cd b4 && git checkout -q -B b4/kvm && for m in "prep --enroll HEAD^" "prep --edit-cover" "send --no-sign --output-dir ../own"; do
		# shellcheck disable=SC2086 # words
		b4 -n --offline-mode $m
	done) > b4.log 2>&1 || { cat b4.log; return 1; }
	same "$(sed -n 's/^\(Subject\|To\): //p' own/* | xargs)" "[PATCH] KVM: guest_memfd: Add a number with an awkwardly long Ann Abc <ann@abc.example>" "mail of b4"
	# What doesn't get to its end leaves the mails as they were.
	sha256sum mails/* > sums
	fake cp <<< 'exit 1'
	no scripts/send kvm --signoff "$me" --out mails 2> /dev/null
	rm bin/cp
	sha256sum --quiet -c sums
	same "$(find . -maxdepth 1 -name '.mails.*')" "" "leftovers"
	# Without build/linux being about the same, too.
	sed -i 's/^Because/Be cause/' patches/0001*
	scripts/send fixes --signoff "$me" --out first
	grep -q '^Be cause' first/0001-*
	# Of patches that go to trees of their own, what changes the same files is needed.
	scripts/apply
	echo 'new' > build/linux/mm/d.c
	toy_commit "mm: Add something that has nothing to do with it"
	pure_git -C build/linux branch part/mm
	sed 's/^Needs: .*/Needs: fixes/' patches/cover/kvm > patches/cover/mm
	scripts/refresh
	scripts/send mm --signoff "$me" --out second
	same "$(grep -c '^prerequisite-patch-id: ' second/0000-*)" 1 "all of a part"
	sed -i 's/^Destination: .*/Destination: each patch by itself to its tree/' patches/cover/fixes
	scripts/send mm --signoff "$me" --out second
	no grep '^prerequisite-patch-id: ' second/0000-*
	scripts/send kvm --signoff "$me" --out second
	same "$(grep -c '^prerequisite-patch-id: ' second/0000-*)" 1 "the same file"
}
