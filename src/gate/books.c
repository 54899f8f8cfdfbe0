/* books.c - see books.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/books.h"
