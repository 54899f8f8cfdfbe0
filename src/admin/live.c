/* live.c - the live view of the admin listener: what all workers are doing, and stopping a request. Control thread; workers answer by messages.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "admin/live.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

/* One question to all workers. The client may leave before the last one has answered. */
struct live {
	struct control *control;
	struct http_conn *conn; /* NULL: gone */
	unsigned left;          /* workers that have not answered */
	struct buf rows;
	bool stop, found;
	char id[32];
};

#define JSON_FIELDS "content-type: application/json\r\ncache-control: no-store\r\n"

static void put_stopped(const struct live *l, struct buf *out)
{
	char text[80];
	snprintf(text, sizeof(text), "there is no request %s under way", l->id);
	if (l->found)
		log_info("the operator has stopped %s", l->id);
	if (l->found)
		buf_addf(out, "{\"stopped\":true,\"id\":\"%s\"}", l->id);
	else
		api_put_error(out, 404, STR("not_found"), STR_NONE, str_from(text));
}

static void put_list(const struct live *l, struct buf *out)
{
	struct queue_look look;
	queue_look(l->control->capacity.queue, clock_mono_us() / 1000, &look);
	buf_addf(out, "{\"queue\":{\"waiting\":%u,\"waiting_batch\":%u,\"oldest_ms\":%lld},\"data\":[", look.waiting, look.waiting_batch,
		 (long long)(look.waiting ? look.oldest_ms : 0));
	buf_adds(out, buf_str(&l->rows));
	BUF_ADD(out, "]}");
}

static void answer(struct live *l)
{
	struct buf body;
	buf_init(&body, (size_t)256 << 20);
	(l->stop ? put_stopped : put_list)(l, &body);
	if (l->conn) {
		l->conn->user = NULL;
		http_respond(l->conn, l->stop && !l->found ? 404 : 200, STR(JSON_FIELDS), buf_str(&body));
	}
	buf_release(&body);
	buf_release(&l->rows);
	free(l);
}

/* What a worker has said, on its way to the control thread. */
struct live_note {
	struct message message;
	struct live *live;
	char *rows;
	size_t len;
	bool found;
};

static void receive(struct message *m)
{
	struct live_note *n = CONTAINER_OF(m, struct live_note, message);
	struct live *l = n->live;
	if (n->len && l->rows.len)
		buf_addc(&l->rows, ',');
	buf_add(&l->rows, n->rows, n->len);
	l->found |= n->found;
	free(n->rows);
	free(n);
	if (--l->left == 0)
		answer(l);
}

static void post(struct live *l, struct str rows, bool found)
{
	struct live_note *n = mem_zero(sizeof(*n));
	n->message.receive = receive;
	n->live = l;
	n->rows = mem_str(rows);
	n->len = rows.len;
	n->found = found;
	mailbox_post(&l->control->loop, &n->message);
}

static void on_rows(void *user, struct str rows)
{
	post(user, rows, false);
}

static void on_stopped(void *user, bool found)
{
	post(user, STR_NONE, found);
}

static struct live *begin(struct control *c, struct http_conn *conn)
{
	struct live *l = mem_zero(sizeof(*l));
	l->control = c;
	l->conn = conn;
	l->left = c->worker_count;
	buf_init(&l->rows, (size_t)256 << 20);
	conn->user = l;
	return l;
}

void live_list(struct control *c, struct http_conn *conn)
{
	struct live *l = begin(c, conn);
	for (unsigned i = 0; i < c->worker_count; i++)
		worker_list(c->workers[i], on_rows, l);
}

bool live_stop(struct control *c, struct http_conn *conn, struct str id)
{
	for (size_t i = 0; i < id.len; i++)
		if (!((id.ptr[i] >= 'a' && id.ptr[i] <= 'z') || (id.ptr[i] >= '0' && id.ptr[i] <= '9') || id.ptr[i] == '_'))
			return false;
	if (id.len == 0 || id.len >= sizeof(((struct live *)0)->id))
		return false;
	struct live *l = begin(c, conn);
	l->stop = true;
	snprintf(l->id, sizeof(l->id), "%.*s", STR_ARG(id));
	for (unsigned i = 0; i < c->worker_count; i++)
		worker_stop_request(c->workers[i], l->id, on_stopped, l);
	return true;
}

void live_gone(struct http_conn *conn)
{
	struct live *l = conn->user;
	if (l)
		l->conn = NULL;
}
