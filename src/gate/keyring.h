/* keyring.h - all keys, as an immutable counted snapshot that the catalog carries; found by id, compared in constant time.
 *
 * The control thread builds one whenever a key changes. A request reads its key through the catalog that it holds. Live state (what was used, what is
 * held) hangs on scopes of the books, by serial number, and is not touched by a rebuild. 100,000 keys: below 300 bytes each, all included.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_GATE_KEYRING_H
#define VALET_GATE_KEYRING_H

#include "gate/key_conf.h"
#include "gate/token.h"

/* Limits of a key's use of some models. */
struct key_model_rule {
	struct str pattern;
	struct scope *scope;
};

/* What only some keys have. */
struct key_rules {
	struct str_list models;         /* globs; none: all */
	struct key_model_rule *model_rules;
	uint32_t model_rule_count;
	int64_t max_output;             /* 0: the model's */
	struct str_map tags;
	uint8_t old_hash[DIGEST_SIZE];
	int64_t old_until_s;            /* 0: no old secret */
};

struct key {
	char id[TOKEN_ID];
	bool revoked, local_only;
	uint8_t class;                  /* enum key_class */
	uint16_t weight;                /* 1 to 1000: its share where requests wait */
	uint32_t serial;                /* > 0 */
	uint32_t max_wait_ms;
	int64_t expires_s;              /* 0: never */
	uint8_t hash[DIGEST_SIZE];
	struct str name;
	struct scope *scope;            /* its own; never NULL */
	const struct key_rules *rules;  /* NULL: nothing special */
};

/* NULL, where no key is needed, counts like a usual key with the number 0. */
static inline uint32_t key_serial(const struct key *k)
{
	return k ? k->serial : 0;
}

static inline uint32_t key_weight(const struct key *k)
{
	return k ? k->weight : 100;
}

struct keyring;

/* What a keyring is made of. */
struct keyring_entry {
	char id[TOKEN_ID];
	uint8_t hash[DIGEST_SIZE], old_hash[DIGEST_SIZE];
	int64_t old_until_s;
	uint32_t serial;
	bool revoked;
	const struct key_conf *conf;
};
struct keyring_source {
	const struct keyring_entry *entries;
	size_t count;
	const struct limits *probation;  /* further limits of keys on probation; NULL: none */
};
/* One reference. Sets the limits of the scopes of each key in the books. A scope that is new there is told to `fresh` (may be NULL), which may load it.
 * Control thread. */
struct keyring *keyring_build(struct books *books, const struct keyring_source *from, const struct hmac_key *pepper,
			      void (*fresh)(void *user, struct scope *s, uint32_t key, struct str pattern), void *user);
struct keyring *keyring_ref(struct keyring *k);
void keyring_unref(struct keyring *k); /* any thread; NULL is allowed */
size_t keyring_count(const struct keyring *k); /* NULL: 0 */

enum key_verdict { KEY_FINE, KEY_MALFORMED, KEY_UNKNOWN, KEY_REVOKED, KEY_EXPIRED };
/* Whose token that is. Without an allocation, a lock or a look at the disk; an unknown id costs as much as a wrong secret. `*out` is set for KEY_FINE,
 * KEY_REVOKED and KEY_EXPIRED; it lives as long as the keyring. */
enum key_verdict keyring_find(const struct keyring *k, struct str token, int64_t now_s, const struct key **out);
/* By serial; NULL: none. For showing. */
const struct key *keyring_by_serial(const struct keyring *k, uint32_t serial);
/* Whether the key may use that model; aliases are names too. */
bool key_allows(const struct key *k, struct str model);

#endif
