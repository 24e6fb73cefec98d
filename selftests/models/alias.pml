/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Aliases are unmapped without a flush, and counted; who frees their page makes sure
 * that a flush came after the last of them (R6).
 *
 * Models: folio_alias_unmap() and ndm_flush_aliases() in mm/no_direct_map_window.c,
 * the call of the latter in ndm_release(), mm/no_direct_map.c, and of mm/vmalloc.c
 * what vunmap() and vm_unmap_aliases() do about lazily freed areas: that one returns
 * early if nothing has been unmapped since the last purge.
 *
 * Two pages, each with two aliases, each page freed by a task of its own; a third
 * task purges the lazy areas on its own account, as vmalloc does when there are
 * many.  Both counters are incremented with release and read with acquire before what
 * they count is looked for, and who frees has come past folio_ref_freeze(): no
 * reordering has to be modelled but what the faults do.
 *
 * Fault: FAULT_LATE	count after the reference was dropped
 * Fault: FAULT_REREAD	say that what was counted after the flush is flushed, too
 * Fault: FAULT_EARLY	flush before the last reference is gone
 * Fault: FAULT_NOTE_EARLY	vunmap() counts before the area can be found
 * Fault: FAULT_SNAPSHOT_LATE	vm_unmap_aliases() reads after the purge what is purged
 * Fault: FAULT_STEAL	vm_unmap_aliases() doesn't wait for who purges already
 */
#define PAGES	2
#define ALIASES	4
#define PAGE(a)	((a) / 2)

bool pte[ALIASES] = true;
bool tlb[ALIASES];		/* some CPU has a translation */
bool lazy[ALIASES];		/* unmapped, in the list to be purged */
byte refs[PAGES] = 3;		/* each alias', and the page cache's */
bool freed[PAGES];
byte unmapped, flushed;		/* of ndm_flush_aliases() */
byte vmap_unmapped, vmap_flushed;	/* of vm_unmap_aliases() */
bool purge_lock, mutex;

#define LOCK(l)		atomic { !l -> l = true }
#define UNLOCK(l)	l = false

inline purge()
{
	bool mine[ALIASES];
	byte i;

#ifdef FAULT_STEAL
	atomic { purge_lock -> skip }
	unless { atomic { !purge_lock -> purge_lock = true } }
#else
	LOCK(purge_lock);
#endif
	d_step {
		i = 0;
		do
		:: i < ALIASES -> mine[i] = lazy[i]; lazy[i] = false; i++
		:: else -> break
		od
	}
	/* From here on, other tasks find the list empty. */
	d_step {
		i = 0;
		do
		:: i < ALIASES -> if :: mine[i] -> tlb[i] = false; mine[i] = false :: else fi; i++
		:: else -> break
		od
	}
	UNLOCK(purge_lock)
}

inline vm_unmap_aliases()
{
	byte snapshot;

	if
	:: vmap_flushed == vmap_unmapped -> skip
	:: else ->
		snapshot = vmap_unmapped;
		purge();
#ifdef FAULT_SNAPSHOT_LATE
		snapshot = vmap_unmapped;
#endif
		d_step {
			if
			:: snapshot > vmap_flushed -> vmap_flushed = snapshot
			:: else -> skip
			fi
		}
	fi
}

proctype unmapper(byte a)
{
	if
	:: tlb[a] = true	/* it was used */
	:: skip
	fi;
	/* vunmap() */
#ifdef FAULT_NOTE_EARLY
	vmap_unmapped++;
#endif
	atomic { pte[a] = false; lazy[a] = true }
#ifndef FAULT_NOTE_EARLY
	vmap_unmapped++;
#endif
#ifndef FAULT_LATE
	unmapped++;
#endif
	atomic { refs[PAGE(a)]-- }
#ifdef FAULT_LATE
	unmapped++
#endif
}

inline flush_aliases()
{
	byte seen;

	seen = unmapped;
	if
	:: flushed >= seen -> skip
	:: else ->
		LOCK(mutex);
		if
		:: flushed >= seen -> skip
		:: else ->
			seen = unmapped;
			vm_unmap_aliases();
#ifdef FAULT_REREAD
			flushed = unmapped
#else
			flushed = seen
#endif
		fi;
		UNLOCK(mutex)
	fi
}

proctype freer(byte p)
{
#ifdef FAULT_EARLY
	flush_aliases();
	atomic { refs[p] == 1 -> refs[p] = 0 }
#else
	/* folio_ref_freeze(), or later again */
	atomic { refs[p] == 1 -> refs[p] = 0 };
	flush_aliases();
#endif
	/* The page is zeroed and goes to somebody else. */
	d_step {
		assert(!tlb[2 * p] && !tlb[2 * p + 1]);
		assert(!pte[2 * p] && !pte[2 * p + 1]);
		freed[p] = true
	}
}

active proctype other()
{
	purge()
}

init {
	atomic {
		run unmapper(0); run unmapper(1); run unmapper(2); run unmapper(3);
		run freer(0); run freer(1)
	}
}
