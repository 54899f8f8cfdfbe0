/* alert.h - warnings of budgets and of refused secrets to a webhook: ntfy, Discord, Slack, or plain JSON.
 *
 * One POST at a time; the rest waits in a short queue, and what does not fit there is dropped and counted in the log. What is not taken is tried again three
 * times, with growing delays. Never blocks; nothing of a webhook's URL is logged but its host, since the rest is a secret with many of them.
 *
 * All on the loop's thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_ALERT_H
#define VALET_ADMIN_ALERT_H

#include "gate/books.h"
#include "net/loop.h"
#include "net/tls.h"

enum alert_kind {
	ALERT_AUTO,    /* by the host: discord.com, hooks.slack.com, ntfy.sh and ntfy.*; else JSON */
	ALERT_NTFY,    /* the text as the body, a title as a field */
	ALERT_DISCORD, /* {"content"} */
	ALERT_SLACK,   /* {"text"} */
	ALERT_JSON,    /* {"event":"budget_warning", …} */
	ALERT_KIND_COUNT,
};
extern const char *const alert_kind_names[ALERT_KIND_COUNT + 1];

struct alert;

/* `tls` may be NULL: then https fails with a reason in the log. It must outlive the alert. */
struct alert *alert_new(struct loop *loop, struct tls_client *tls);
/* What waits is dropped. NULL is allowed. */
void alert_free(struct alert *a);
/* Where to from now on; what waits goes there as well. Empty: nowhere. NULL: fine; else static text that says what is wrong with the URL, and
 * nothing has changed. */
const char *alert_set(struct alert *a, struct str url, enum alert_kind kind);
/* NULL: fine; for the check of settings. */
const char *alert_check(struct str url);
/* Tells that a budget has crossed a line. key_name: "-" where it is not a key's. */
void alert_budget(struct alert *a, const struct budget_warning *warning, struct str key_name, int64_t now_s);

/* Tells that a target refuses its secret, or that its account has no credit. */
void alert_denied(struct alert *a, struct str target, struct str host, int64_t now_s);

/* The first delay before something is tried again, which grows fourfold each time; 2 s at the start. */
void alert_set_delay(struct alert *a, int64_t first_ms);
struct alert_counts {
	uint64_t sent, failed, dropped;
	size_t waiting; /* the one under way included */
};
void alert_look(const struct alert *a, struct alert_counts *out);

#endif
