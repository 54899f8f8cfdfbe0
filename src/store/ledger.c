/* ledger.c - see ledger.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/ledger.h"
