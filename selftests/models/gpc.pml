/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A gfn_to_pfn_cache of guest_memfd memory: what it says is valid is the page that
 * the guest has, when it leaves the file, and when its gfn's attributes change (R6).
 *
 * Models: gpc_remap(), gfn_to_pfn_cache_invalidate_gmem() and
 * gfn_to_pfn_cache_invalidate_gfns() in virt/kvm/pfncache.c, of
 * virt/kvm/guest_memfd.c kvm_gmem_punch_hole() and kvm_gmem_get_locked_gfn(), and
 * kvm_vm_set_mem_attributes().
 *
 * One cache, refreshed twice and used twice; one hole; one change of attributes from
 * private to shared.  A page's alias has a reference to it.  The lock of the folio is
 * the invalidate lock's: who refreshes has it shared, and the folio's.
 *
 * Fault: FAULT_UNLOCKED	the folio is unlocked before the cache is valid
 * Fault: FAULT_NO_RETRY	a change of attributes in the meantime isn't noticed
 * Fault: FAULT_NO_SEQ		the attributes' change doesn't count
 * Fault: FAULT_ORDER		the count changes before the attributes do
 * Fault: FAULT_KEEP		a hole only makes the cache invalid, and keeps the alias
 */
#define NONE	0
#define SHARED	9	/* the page at the userspace address */

byte page = 1;			/* in the file, NONE: a hole */
byte next_page = 2;
byte refs[4];			/* of aliases */
bool attr_private = true;
byte seq;
bool changed;			/* the ioctl is over */
bool gone[4];			/* the page has left, and the hole is done */

bool gpc_lock, inv_lock;	/* the latter's readers are as good as writers here */
bool valid;
byte pfn;			/* NONE: no mapping */

#define LOCK(l)		atomic { !l -> l = true }
#define UNLOCK(l)	l = false
#define IN_FILE(p)	(p != NONE && p != SHARED)

inline put(p) { if :: IN_FILE(p) -> refs[p]-- :: else fi }

proctype refresher()
{
	byte n, old, new, seen;
	bool locked;

	do
	:: n < 2 ->
		n++;
		LOCK(gpc_lock);
		if
		:: valid -> UNLOCK(gpc_lock); goto next
		:: else
		fi;
		/* gpc_take_mapping() */
		old = pfn; pfn = NONE; valid = false;
again:
		seen = seq;
		UNLOCK(gpc_lock);
		if
		:: locked -> UNLOCK(inv_lock); locked = false
		:: else
		fi;
		/* gpc_get_page() */
		if
		:: attr_private ->
			LOCK(inv_lock);
			locked = true;
			if
			:: page == NONE -> page = next_page; next_page++
			:: else
			fi;
			new = page
		:: else ->
			new = SHARED
		fi;
		if
		:: new != old ->
			put(old);
			if :: IN_FILE(new) -> refs[new]++ :: else fi;
			old = new
		:: else
		fi;
#ifdef FAULT_UNLOCKED
		if
		:: locked -> UNLOCK(inv_lock); locked = false
		:: else
		fi;
#endif
		LOCK(gpc_lock);
#ifndef FAULT_NO_RETRY
		if
		:: seq != seen -> goto again
		:: else
		fi;
#endif
		valid = true; pfn = old; old = NONE;
		UNLOCK(gpc_lock);
		if
		:: locked -> UNLOCK(inv_lock); locked = false
		:: else
		fi;
next:		skip
	:: else -> break
	od
}

/* KVM uses what the cache has. */
proctype user()
{
	byte n;

	do
	:: n < 2 ->
		n++;
		LOCK(gpc_lock);
		if
		:: valid ->
			assert(pfn != NONE);
			/* Who has called the ioctl has its word. */
			assert(!(IN_FILE(pfn) && gone[pfn]));
			assert(!(changed && pfn != SHARED))
		:: else
		fi;
		UNLOCK(gpc_lock)
	:: else -> break
	od
}

proctype hole()
{
	byte taken, was;

	LOCK(inv_lock);
	was = page;
	if
	:: was != NONE ->
		LOCK(gpc_lock);
		if
		:: pfn == was ->
			valid = false;
#ifndef FAULT_KEEP
			taken = pfn; pfn = NONE
#endif
		:: else
		fi;
		UNLOCK(gpc_lock);
		put(taken);
		page = NONE;
		/* A refresh may have a mapping out, and gives it up by itself. */
		gone[was] = true
	:: else
	fi;
	UNLOCK(inv_lock)
}

proctype attributes()
{
#ifdef FAULT_ORDER
	seq++;
	attr_private = false;
#else
	attr_private = false;
#ifndef FAULT_NO_SEQ
	seq++;
#endif
#endif
	LOCK(gpc_lock);
	valid = false;
	UNLOCK(gpc_lock);
	changed = true
}

init {
	atomic { run refresher(); run user(); run hole(); run attributes() }
	/* When all is over, nothing holds a page that left but what is being refreshed. */
	timeout ->
	assert(pfn != NONE || (refs[1] == 0 && refs[2] == 0 && refs[3] == 0));
	assert(!(gone[1] && refs[1]))
}
