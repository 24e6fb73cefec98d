/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Windows without the folio lock: a reference and another look are enough for what is
 * written to go to the page that has the file's index, or nowhere (R3, R5).
 *
 * Models: kvm_gmem_get_window() and kvm_gmem_write() in virt/kvm/guest_memfd.c,
 * ndm_window() in mm/no_direct_map_window.c, filemap_get_entry() in mm/filemap.c, and
 * of mm/no_direct_map.c the way of a folio from the page cache into the pool and out
 * again, for another file.
 *
 * The look at folio->mapping could be left out by who knows that the folio has no direct
 * map entry: what is written to a page that has left comes before the hole, and is gone.
 *
 * Two writers, each of which tries once more when the folio was stale; one hole; a
 * page that goes to another file, the owner of which writes nothing.
 *
 * Fault: FAULT_RELOAD	the page cache isn't looked at again, with the reference
 * Fault: FAULT_FREEZE	the page is zeroed while others have references
 * Fault: FAULT_EARLY	the page is zeroed, and then waits for its last reference
 */
#define NONE	0
#define OURS	1
#define OTHER	2

byte entry = OURS;		/* at the index: OURS, or a hole */
byte mapping = OURS;		/* the folio's */
byte refs = 1;			/* the page cache's */
bool data;			/* what the page holds, false: zeroes */
bool hole;			/* the system call is over */

proctype writer()
{
	byte tries;
	bool before;

again:
	tries++;
	before = hole;
	/* filemap_get_entry(): the page may be anybody's by the time of the reference */
	if
	:: entry == OURS -> skip
	:: else -> goto out	/* it would be filled, with another page */
	fi;
	atomic {
		if
		:: refs > 0 -> refs++
		:: else -> goto out
		fi
	}
#ifndef FAULT_RELOAD
	if
	:: entry == OURS -> skip
	:: else -> goto put
	fi;
#endif
	/* ndm_window() */
	if
	:: mapping != NONE -> skip
	:: else -> goto put
	fi;
	/* Once it is in use elsewhere, nothing of ours may get there. */
	assert(mapping != OTHER);
	/* What begins after the hole has nothing to do with the old page. */
	assert(!before);
	data = true;
put:
	atomic { refs-- };
	if
	:: tries < 2 -> goto again
	:: else
	fi;
out:	skip
}

proctype puncher()
{
	entry = NONE;
	mapping = NONE;
	hole = true;
	/* The list owns the page cache's reference now; folio_ref_freeze() */
#ifdef FAULT_FREEZE
	refs = 0;
#endif
#ifdef FAULT_EARLY
	data = false;
#endif
#ifndef FAULT_FREEZE
	atomic { refs == 1 -> refs = 0 };
#endif
#ifndef FAULT_EARLY
	data = false;
#endif
	/* ndm_pool_free(), ndm_pool_alloc(): as it is, and believed to be zero */
	assert(!data);
	atomic { refs = 1; mapping = OTHER };
	/* Whoever has it now sees nothing of others. */
	assert(!data)
}

init {
	atomic { run writer(); run writer(); run puncher() }
	timeout;
	assert(!(mapping == OTHER && data))
}
