/* multipart.h - multipart/form-data: finds one part's value in a body that is whole in memory. Sans-I/O, no allocation, no copy.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_HTTP_MULTIPART_H
#define VALET_HTTP_MULTIPART_H

#include "base/str.h"

/* The boundary of a Content-Type ("multipart/form-data; boundary=…", quoted or not); ptr NULL where there is none. */
struct str multipart_boundary(struct str content_type);

enum multipart_result { MULTIPART_FOUND, MULTIPART_ABSENT, MULTIPART_TWICE, MULTIPART_BAD };
/* Finds the part named `name`; *value views its bytes. The whole body is walked, so that BAD and TWICE are certain. */
enum multipart_result multipart_find(struct str body, struct str boundary, struct str name, struct str *value);

#endif
