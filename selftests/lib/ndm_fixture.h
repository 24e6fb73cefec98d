/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A fixture whose variants are kinds of files, with the probe.  Whatever a test did, its
 * pages are back in the direct map when its files are gone.
 */
#ifndef NDM_FIXTURE_H
#define NDM_FIXTURE_H

#include "kselftest_harness.h"
#include "ndm.h"

#define NDM_FIXTURE(name)						\
	FIXTURE(name) {							\
		int probe;						\
		uint64_t missing;					\
		uint64_t seed;						\
	};								\
	FIXTURE_VARIANT(name) {						\
		struct ndm_kind kind;					\
	};								\
	FIXTURE_SETUP(name)						\
	{								\
		ndm_pin_here();						\
		self->probe = ndm_probe_open();				\
		self->missing = ndm_missing(self->probe);		\
		self->seed = ndm_seed();				\
	}								\
	FIXTURE_TEARDOWN(name)						\
	{								\
		EXPECT_EQ(ndm_wait_missing(self->probe, self->missing), 0); \
		close(self->probe);					\
	}

#endif
