/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A block's life in the pool: its pages are handed out, come back, are given back to
 * the page allocator, and are got from there again, by tasks that drop the pool's
 * lock meanwhile (R3, R12).
 *
 * Models, in mm/no_direct_map_pool.c: ndm_block_get(), ndm_block_use(),
 * ndm_block_set_free(), ndm_block_unused(), ndm_block_give_back(), ndm_pool_get(),
 * ndm_pool_add() with single pages, ndm_pool_free() and ndm_pool_shrink().
 *
 * One block of two pages.  A task of the shrinker, two that allocate and free.  A
 * removal or restoration of the direct map may fail.
 *
 * Fault: FAULT_UNCOUNTED	who shrinks doesn't count itself in
 * Fault: FAULT_LOOKUP		a block is found without the lock
 * Fault: FAULT_INSERT		a new block can be found before who made it is counted in
 * Fault: FAULT_CLEAR_LATE	pages are given back before they are marked as restored
 * Fault: FAULT_EMPTY		a block goes although pages of it are in use
 */
#define N	2
#define BUDDY	0	/* the page allocator's */
#define POOL	1	/* free, in the pool */
#define USED	2	/* handed out */
#define TASK	3	/* a task's, which works on it */

byte where[N] = BUDDY;
bool mapped[N] = true;

/* Blocks come and go: a new one each time.  Nobody may touch what is gone. */
#define BLOCKS	8
byte current;			/* in the xarray, 0: none */
byte next_block = 1;
bool dead[BLOCKS];
byte nr_used[BLOCKS], nr_free[BLOCKS];
bool removed[N];		/* the current block's bitmap */
bool is_free[N];
bool lock;

#define LOCK	atomic { !lock -> lock = true }
#define UNLOCK	lock = false
#define ALIVE(b) assert(b != 0 && !dead[b])
#define WHOLE(b) (nr_free[b] == N && nr_used[b] == 0)

inline set_free(b, p) { ALIVE(b); assert(!is_free[p]); is_free[p] = true; nr_free[b]++; nr_used[b]--; where[p] = POOL }
inline unset_free(b, p, w) { ALIVE(b); assert(is_free[p]); is_free[p] = false; nr_free[b]--; nr_used[b]++; where[p] = w }

/* The caller counts in nr_used, and has the lock. */
inline give_back(b)
{
	do
	:: is_free[0] || is_free[1] ->
		atomic {
			ALIVE(b);
			q = (is_free[0] -> 0 : 1);
			unset_free(b, q, TASK)
		}
		UNLOCK;
		if
		:: mapped[q] = true; ok = true
		:: ok = false
		fi;
		LOCK;
		if
		:: !ok -> set_free(b, q); break
		:: else
		fi;
#ifdef FAULT_CLEAR_LATE
		where[q] = BUDDY;
		UNLOCK; LOCK;
		atomic { ALIVE(b); removed[q] = false; nr_used[b]-- }
		UNLOCK;
#else
		atomic { ALIVE(b); removed[q] = false; nr_used[b]-- }
		UNLOCK;
		atomic { assert(mapped[q]); where[q] = BUDDY }
#endif
		LOCK
	:: else -> break
	od;
	atomic {
		ALIVE(b);
		nr_used[b]--;
#ifdef FAULT_EMPTY
		if
		:: nr_free[b] == 0 -> dead[b] = true; current = 0
#else
		if
		:: nr_used[b] == 0 && !removed[0] && !removed[1] ->
			dead[b] = true;
			current = 0
#endif
		:: else
		fi
	}
	UNLOCK
}

inline block_get(b)
{
	do
	:: atomic {
		/* xa_insert() */
		if
		:: current == 0 ->
			b = next_block;
			next_block++;
			current = b;
#ifdef FAULT_INSERT
			made = true;
#else
			nr_used[b] = 1;
#endif
			break
		:: else
		fi
	   }
#ifdef FAULT_LOOKUP
	   b = current;
	   LOCK;
#else
	   LOCK;
	   b = current;
#endif
	   if
	   :: b != 0 -> ALIVE(b); nr_used[b]++; UNLOCK; break
	   :: else -> UNLOCK
	   fi
	od;
#ifdef FAULT_INSERT
	if
	:: made -> LOCK; ALIVE(b); nr_used[b]++; UNLOCK
	:: else
	fi
#endif
}

proctype user()
{
	byte n, p, q, b;
	bool ok, have, made;

	do
	:: n < 2 ->
		n++;
		have = false;
		made = false;
		/* ndm_pool_get() */
		LOCK;
		b = current;
		if
		:: b != 0 && nr_free[b] ->
			atomic { p = (is_free[0] -> 0 : 1); unset_free(b, p, USED) }
			have = true
		:: else
		fi;
		UNLOCK;

		/* ndm_pool_add() */
		if
		:: !have ->
			atomic {
				if
				:: where[0] == BUDDY -> p = 0; where[0] = TASK; ok = true
				:: where[1] == BUDDY -> p = 1; where[1] = TASK; ok = true
				:: else -> ok = false
				fi
			}
			if
			:: ok ->
				assert(mapped[p]);
				assert(current == 0 || !removed[p]);
				block_get(b);
				if
				:: mapped[p] = false; ok = true
				:: ok = false
				fi;
				LOCK;
				if
				:: ok ->
					atomic {
						ALIVE(b);
						removed[p] = true;
						nr_used[b]++;
						where[p] = USED;
						nr_used[b]--
					}
					have = true;
					UNLOCK
				:: else ->
					where[p] = BUDDY;
					give_back(b)
				fi
			:: else
			fi
		:: else
		fi;

		/* ndm_pool_free() */
		if
		:: have ->
			assert(where[p] == USED && !mapped[p]);
			LOCK;
			b = current;
			ALIVE(b);
			assert(removed[p]);
			set_free(b, p);
			if
			:: nr_used[b] == 0 && !WHOLE(b) ->
				nr_used[b]++;
				give_back(b)
			:: else -> UNLOCK
			fi
		:: else
		fi
	:: else -> break
	od
}

proctype shrinker()
{
	byte n, q, b;
	bool ok;

	do
	:: n < 2 ->
		n++;
		LOCK;
		b = current;
		if
		:: b != 0 && nr_free[b] ->
#ifndef FAULT_UNCOUNTED
			nr_used[b]++;
			UNLOCK; LOCK;
			give_back(b)
#else
			UNLOCK; LOCK;
			if :: dead[b] == false -> nr_used[b]++; give_back(b) :: else -> assert(false) fi
#endif
		:: else -> UNLOCK
		fi
	:: else -> break
	od
}

init {
	atomic { run user(); run user(); run shrinker() }
	timeout;
	/* Nothing is lost: out of the direct map is what the pool has. */
	assert(where[0] != TASK && where[1] != TASK && where[0] != USED && where[1] != USED);
	assert((where[0] == BUDDY) == mapped[0] && (where[1] == BUDDY) == mapped[1]);
	assert(current != 0 || (where[0] == BUDDY && where[1] == BUDDY));
	assert(current == 0 || nr_used[current] == 0)
}
