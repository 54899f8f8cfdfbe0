/* discover_place.h - what discover.c and discover_place.c share: a place that is looked at, and the
 * engine found there.
 *
 * Private to src/admin/discover*.c. A place belongs to its discovery; all on the loop's thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef VALET_ADMIN_DISCOVER_PLACE_H
#define VALET_ADMIN_DISCOVER_PLACE_H

#include "admin/discover.h"
#include "admin/probe.h"

struct discovery {
	struct loop *loop;
	struct tls_client *tls;
	struct list targets; /* of struct place: configured, in their order */
	struct list places;  /* of struct place: to be discovered at */
	uint16_t *own_ports;
	size_t own_port_count;
	int64_t interval_ms, grace_ms, timeout_ms;
	struct timer round;
	struct timer notify;
	struct timer patience; /* the first round counts as over when it fires */
	uint32_t jitter;       /* state of the generator */
	bool dirty;            /* `changed` is due */
	bool first_round_done;
	void (*changed)(void *user);
	void (*ready)(void *user);
	void (*looked)(void *user, const struct engine *e);
	void *user;
};

struct place {
	struct list link;
	struct discovery *discovery;
	struct engine engine; /* seen by others only while `listed` */
	char *url_text;       /* as written */
	struct url url;
	char *name;   /* a target's, or the one given to what was found; NULL: none yet */
	char *fields; /* a target's secret lines */
	size_t fields_len;
	enum engine_kind told;  /* as configured; ENGINE_NONE: find out */
	enum engine_kind found; /* by the last probes; ENGINE_NONE: not known */
	struct probe probes[2]; /* one holds the current models, the other one looks */
	unsigned current;
	uint32_t lacking;        /* see struct probe */
	uint32_t skip_rounds;    /* before the next look */
	uint32_t dull_looks;     /* in a row, that found nothing of interest */
	uint32_t failures;       /* in a row */
	enum probe_outcome seen; /* the last outcome, for the log */
	int64_t down_ms;         /* loop time of going down */
	bool target;             /* configured */
	bool local;              /* the host is this machine */
	bool listed;
	bool busy;     /* a probe is under way */
	bool looked;   /* at least once to the end */
	bool shadowed; /* a target is at the same address: not looked at */
	bool broken;   /* the URL of a target cannot be read: not looked at */
	bool chained;  /* a target that is a Valet: what it lists says nothing of its own kind */
	bool stale;    /* mark of discovery_set_…() */
	char version[72];
	char error[160];
};

/* The place's URL must be readable, except for a target's. `name`: a target's; empty for others. */
struct place *place_new(struct discovery *d, struct str url, struct str name);
/* Stops looking and forgets what was found. */
void place_free(struct place *p);
/* Begins to look, unless it is busy, shadowed or has rounds to skip. */
void place_look(struct place *p);
/* A dead engine whose grace time is over goes. */
void place_expire(struct place *p);
/* Gives up looking and unlists. */
void place_clear(struct place *p);
/* A discovered engine whose name is wanted by a target gets another one. */
void place_rename(struct place *p);

/* Implemented by discover.c. */
void discovery_note_change(struct discovery *d); /* `changed` will be called soon */
void discovery_note_look(struct discovery *d);   /* a place has been looked at for the first time */
bool discovery_name_taken(const struct discovery *d, struct str name, const struct place *except);
/* True if an engine listed elsewhere on this machine has the same port, and so is most likely the
 * same one. */
bool discovery_has_twin(const struct discovery *d, const struct place *p);

#endif
