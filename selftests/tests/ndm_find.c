// SPDX-License-Identifier: GPL-2.0
/*
 * Usage: ndm_find SEED
 *
 * Print how many pages with the secret of a seed (hex) the direct map shows, for
 * scripts that have started who holds it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ndm.h"

int main(int argc, char **argv)
{
	uint64_t seed;
	char *end;

	if (argc == 2) {
		seed = strtoull(argv[1], &end, 16);
		if (*argv[1] && !*end) {
			printf("%" PRIu64 "\n", ndm_scan(ndm_probe_open(), seed, NULL));
			return 0;
		}
	}
	fprintf(stderr, "Usage: ndm_find SEED\n");
	return NDM_BAD_USAGE;
}
