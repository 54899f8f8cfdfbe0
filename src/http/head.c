/* head.c - see head.h. llhttp's callbacks only note offsets; what llhttp tolerates and we do not is checked afterwards.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/head.h"

#include "base/mem.h"

#include <assert.h>
#include <llhttp.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define POOL_MAX 256

/* llhttp's state and what our callbacks keep besides the head while it is being read. */
struct parsing {
	llhttp_t llhttp;
	struct http_slab *slab;
	uint32_t hosts;
	bool in_value;
	bool named; /* a name was seen and its value is not complete */
	bool closes; /* Connection: close */
	bool too_many, url_too_long;
};

struct pool {
	struct http_slab *free;
	unsigned count;
};

/* ---- slabs ---- */

struct http_slab *http_slab_take(struct loop *loop)
{
	struct pool *pool = loop->slabs;
	struct http_slab *slab;
	if (pool && pool->free) {
		slab = pool->free;
		pool->free = slab->next;
		pool->count--;
	} else {
		slab = mem_alloc(sizeof(*slab));
		slab->parser = mem_alloc(sizeof(struct parsing));
		slab->bytes = slab->own + HTTP_SLAB_ROOM;
		slab->cap = HTTP_SLAB_BYTES;
	}
	slab->len = slab->fed = 0;
	return slab;
}

static bool is_large(const struct http_slab *slab)
{
	return slab->bytes != slab->own + HTTP_SLAB_ROOM;
}

static void slab_free(struct http_slab *slab)
{
	if (is_large(slab))
		free(slab->bytes - HTTP_SLAB_ROOM);
	free(slab->parser);
	free(slab);
}

void http_slab_give(struct loop *loop, struct http_slab *slab)
{
	struct pool *pool = loop->slabs;
	if (!slab)
		return;
	if (!pool)
		pool = loop->slabs = mem_zero(sizeof(*pool));
	if (pool->count >= POOL_MAX || is_large(slab)) {
		slab_free(slab);
		return;
	}
	slab->next = pool->free;
	pool->free = slab;
	pool->count++;
}

void http_slabs_release(struct loop *loop)
{
	struct pool *pool = loop->slabs;
	if (!pool)
		return;
	while (pool->free) {
		struct http_slab *slab = pool->free;
		pool->free = slab->next;
		slab_free(slab);
	}
	free(pool);
	loop->slabs = NULL;
}

static void enlarge(struct http_slab *slab)
{
	char *larger = mem_alloc(HTTP_SLAB_ROOM + HTTP_SLAB_LARGE + HTTP_SLAB_ROOM);
	memcpy(larger + HTTP_SLAB_ROOM, slab->bytes, slab->len);
	slab->bytes = larger + HTTP_SLAB_ROOM;
	slab->head.base = slab->bytes;
	slab->cap = HTTP_SLAB_LARGE;
}

bool http_slab_room(struct http_slab *slab)
{
	if (slab->len < slab->cap)
		return true;
	if (is_large(slab))
		return false;
	enlarge(slab);
	return true;
}

void http_slab_spare(struct http_slab *slab, size_t used)
{
	if (slab->cap - used < HTTP_SLAB_SPARE && !is_large(slab))
		enlarge(slab);
}

void http_slab_restart(struct http_slab *slab, size_t at)
{
	slab->len -= at;
	memmove(slab->bytes, slab->bytes + at, slab->len);
	slab->fed = 0;
}

/* ---- llhttp's callbacks ---- */

static int on_url(llhttp_t *l, const char *at, size_t len)
{
	struct parsing *p = CONTAINER_OF(l, struct parsing, llhttp);
	struct http_head *h = &p->slab->head;
	if (h->url_len == 0)
		h->url_at = (uint32_t)(at - p->slab->bytes);
	h->url_len += (uint32_t)len;
	if (h->url_len > HTTP_MAX_URL) {
		p->url_too_long = true;
		return HPE_USER;
	}
	return 0;
}

static int on_name(llhttp_t *l, const char *at, size_t len)
{
	struct parsing *p = CONTAINER_OF(l, struct parsing, llhttp);
	struct http_head *h = &p->slab->head;
	if (p->in_value || h->field_count == 0) {
		if (h->field_count == HTTP_MAX_FIELDS) {
			p->too_many = true;
			return HPE_USER;
		}
		struct http_field *f = &h->fields[h->field_count++];
		*f = (struct http_field){.name_at = (uint32_t)(at - p->slab->bytes)};
		p->in_value = false;
	}
	if (memchr(at, ' ', len)) /* llhttp takes spaces in the names of an answer */
		return HPE_USER;
	p->named = true;
	h->fields[h->field_count - 1].name_len += (uint16_t)len;
	return 0;
}

static int on_value(llhttp_t *l, const char *at, size_t len)
{
	struct parsing *p = CONTAINER_OF(l, struct parsing, llhttp);
	if (!p->named) /* ": value" */
		return HPE_USER;
	struct http_field *f = &p->slab->head.fields[p->slab->head.field_count - 1];
	if (!p->in_value || f->value_len == 0)
		f->value_at = (uint32_t)(at - p->slab->bytes);
	p->in_value = true;
	f->value_len += (uint16_t)len;
	return 0;
}

static int on_value_complete(llhttp_t *l)
{
	struct parsing *p = CONTAINER_OF(l, struct parsing, llhttp);
	p->in_value = true;
	p->named = false;
	return 0;
}

static int on_head_complete(llhttp_t *l)
{
	return HPE_PAUSED;
}

static const llhttp_settings_t *settings(void)
{
	static const llhttp_settings_t s = {
		.on_url = on_url,
		.on_header_field = on_name,
		.on_header_value = on_value,
		.on_header_value_complete = on_value_complete,
		.on_headers_complete = on_head_complete,
	};
	return &s;
}

/* ---- our own checks ---- */

static enum http_method method_of(uint8_t m)
{
	switch (m) {
	case HTTP_GET:
		return METHOD_GET;
	case HTTP_HEAD:
		return METHOD_HEAD;
	case HTTP_POST:
		return METHOD_POST;
	case HTTP_PUT:
		return METHOD_PUT;
	case HTTP_DELETE:
		return METHOD_DELETE;
	case HTTP_OPTIONS:
		return METHOD_OPTIONS;
	case HTTP_PATCH:
		return METHOD_PATCH;
	default:
		return METHOD_OTHER;
	}
}

/* What is wrong with the line that ends at `lf`; NULL: nothing. */
static const char *check_line(const char *begin, const char *lf, const char *end)
{
	if (lf == begin || lf[-1] != '\r')
		return "a line that does not end in CR LF";
	if (lf + 1 < end && (lf[1] == ' ' || lf[1] == '\t'))
		return "a folded header line";
	if (memchr(begin, '\r', (size_t)(lf - begin)) != lf - 1)
		return "a CR without LF";
	return memchr(begin, 0, (size_t)(lf - begin)) ? "a NUL byte in the head" : NULL;
}

#ifdef __SSE2__
/* The common case in one look: each LF follows a CR, each CR precedes an LF, no NUL, no space or tab behind an LF. False: look closer. */
static bool lines_are_fine(const char *p, size_t len)
{
	const __m128i lf = _mm_set1_epi8('\n'), cr = _mm_set1_epi8('\r'), space = _mm_set1_epi8(' '), tab = _mm_set1_epi8('\t');
	unsigned after_cr = 0, after_lf = 0, wrong = 0;
	size_t i = 0;
	for (; i + 16 <= len; i += 16) {
		__m128i c = _mm_loadu_si128((const __m128i *)(p + i));
		unsigned lfs = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(c, lf)), crs = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(c, cr));
		unsigned blanks = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(c, space), _mm_cmpeq_epi8(c, tab)));
		wrong |= lfs ^ ((crs << 1 | after_cr) & 0xffff);
		wrong |= blanks & (lfs << 1 | after_lf);
		wrong |= (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(c, _mm_setzero_si128()));
		after_cr = crs >> 15;
		after_lf = lfs >> 15;
	}
	for (; i < len; i++) {
		wrong |= (p[i] == '\n') != (after_cr != 0) || p[i] == 0 || (after_lf && (p[i] == ' ' || p[i] == '\t'));
		after_cr = p[i] == '\r';
		after_lf = p[i] == '\n';
	}
	return wrong == 0 && after_cr == 0;
}
#else
static bool lines_are_fine(const char *p, size_t len)
{
	return false;
}
#endif

static const char *check_lines(struct str head)
{
	const char *end = head.ptr + head.len, *why = NULL;
	if (lines_are_fine(head.ptr, head.len))
		return NULL;
	for (const char *at = head.ptr, *lf; !why && at < end; at = lf + 1) {
		lf = memchr(at, '\n', (size_t)(end - at));
		if (!lf)
			return "a line that does not end in CR LF";
		why = check_line(at, lf, end);
	}
	return why;
}

static bool all_digits(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
	return s.len > 0;
}

static const char *take_length(struct http_head *h, struct str value)
{
	int64_t n;
	if (h->content_length >= 0)
		return "more than one Content-Length";
	if (!all_digits(value) || !str_to_i64(value, &n))
		return "a Content-Length that is not a number";
	h->content_length = n;
	return NULL;
}

static const char *take_coding(struct http_head *h, struct str value)
{
	if (h->chunked)
		return "more than one Transfer-Encoding";
	if (!str_ieq(value, STR("chunked")))
		return "a Transfer-Encoding other than chunked";
	h->chunked = true;
	return NULL;
}

static void take_connection(struct parsing *p, struct http_head *h, struct str value)
{
	p->closes |= http_has_token(value, STR("close"));
	h->keep_alive = !p->closes && (h->keep_alive || http_has_token(value, STR("keep-alive")));
}

/* Looks at the fields which say how the message is framed. The length of the name tells most of them apart. */
static const char *take_field(struct parsing *p, struct http_head *h, const struct http_field *f)
{
	struct str name = http_field_name(h, f);
	if (name.len == 0 || name.ptr[name.len] != ':')
		return "a header line without a name right before its colon";
	switch (name.len) {
	case 4:
		p->hosts += str_ieq(name, STR("host"));
		return NULL;
	case 6:
		h->expect_continue |= str_ieq(name, STR("expect")) &&
				      str_ieq(http_field_value(h, f), STR("100-continue"));
		return NULL;
	case 10:
		if (str_ieq(name, STR("connection")))
			take_connection(p, h, http_field_value(h, f));
		return NULL;
	case 14:
		return str_ieq(name, STR("content-length")) ? take_length(h, http_field_value(h, f)) : NULL;
	case 17:
		return str_ieq(name, STR("transfer-encoding")) ? take_coding(h, http_field_value(h, f)) : NULL;
	default:
		return NULL;
	}
}

static const char *check_framing(struct parsing *p, struct http_head *h, bool request)
{
	for (uint32_t i = 0; i < h->field_count; i++) {
		const char *why = take_field(p, h, &h->fields[i]);
		if (why)
			return why;
	}
	if (h->chunked && h->content_length >= 0)
		return "both Content-Length and Transfer-Encoding";
	if (h->chunked && h->minor == 0)
		return "Transfer-Encoding in HTTP/1.0";
	if (request && p->hosts > 1)
		return "more than one Host";
	if (request && p->hosts == 0 && h->minor == 1)
		return "no Host";
	return NULL;
}

/* "METHOD SP target SP HTTP/1.x CR": llhttp also takes more spaces, and the names of other protocols. */
static bool plain_request_line(const struct http_head *h)
{
	const char *url = h->base + h->url_at, *version = url + h->url_len;
	return h->url_at >= 2 && url[-1] == ' ' && url[-2] != ' ' && memcmp(version, " HTTP/1.", 8) == 0 &&
	       version[9] == '\r';
}

/* "HTTP/1.x SP 3DIGIT" and SP or CR. */
static bool plain_status_line(const struct http_head *h)
{
	const char *at = h->base;
	while (*at == '\r' || *at == '\n')
		at++;
	return memcmp(at, "HTTP/1.", 7) == 0 && at[8] == ' ' && all_digits(str_of(at + 9, 3)) &&
	       (at[12] == ' ' || at[12] == '\r') && h->status >= 100;
}

static enum http_parse finish(struct parsing *p, bool request, const char **why)
{
	struct http_head *h = &p->slab->head;
	llhttp_t *l = &p->llhttp;
	const char *end = llhttp_get_error_pos(l);
	/* paused on the last LF or after it: find the true end of the empty line */
	h->size = (uint32_t)(end - p->slab->bytes);
	if (h->size < 2 || memcmp(p->slab->bytes + h->size - 2, "\r\n", 2) != 0)
		h->size++;
	h->minor = l->http_minor;
	h->status = (uint16_t)l->status_code;
	h->method = (uint8_t)method_of(l->method);
	h->keep_alive = h->minor == 1;
	if (l->http_major != 1 || l->http_minor > 1) {
		*why = "an HTTP version other than 1.0 and 1.1";
		return HTTP_PARSE_BAD;
	}
	if (h->size > HTTP_MAX_HEAD)
		return HTTP_PARSE_TOO_LARGE;
	*why = check_lines(str_of(h->base, h->size));
	if (!*why && !(request ? plain_request_line(h) : plain_status_line(h)))
		*why = "a malformed first line";
	if (!*why)
		*why = check_framing(p, h, request);
	return *why ? HTTP_PARSE_BAD : HTTP_PARSE_DONE;
}

static void start(struct parsing *p, struct http_slab *slab, bool request)
{
	llhttp_init(&p->llhttp, request ? HTTP_REQUEST : HTTP_RESPONSE, settings());
	p->slab = slab;
	p->hosts = 0;
	p->in_value = p->named = p->closes = p->too_many = p->url_too_long = false;
	slab->head = (struct http_head){.fields = slab->fields, .content_length = -1};
}

enum http_parse http_head_parse(struct http_slab *slab, bool request, const char **why)
{
	struct parsing *p = slab->parser;
	if (slab->fed == 0)
		start(p, slab, request);
	llhttp_errno_t rc = llhttp_execute(&p->llhttp, slab->bytes + slab->fed, slab->len - slab->fed);
	slab->head.base = slab->bytes;
	slab->fed = slab->len;
	if (rc == HPE_PAUSED)
		return finish(p, request, why);
	if (p->url_too_long)
		return HTTP_PARSE_URL_TOO_LONG;
	if (p->too_many || (rc == HPE_OK && slab->len > HTTP_MAX_HEAD))
		return HTTP_PARSE_TOO_LARGE;
	if (rc == HPE_OK)
		return HTTP_PARSE_MORE;
	*why = "not an HTTP message";
	return HTTP_PARSE_BAD;
}

/* ---- reading a head ---- */

struct str http_head_url(const struct http_head *h)
{
	return str_of(h->base + h->url_at, h->url_len);
}

struct str http_field_name(const struct http_head *h, const struct http_field *f)
{
	return str_of(h->base + f->name_at, f->name_len);
}

struct str http_field_value(const struct http_head *h, const struct http_field *f)
{
	return str_trim(str_of(h->base + f->value_at, f->value_len));
}

struct str http_head_get(const struct http_head *h, struct str name)
{
	for (uint32_t i = 0; i < h->field_count; i++)
		if (h->fields[i].name_len == name.len && str_ieq(http_field_name(h, &h->fields[i]), name))
			return http_field_value(h, &h->fields[i]);
	return STR_NONE;
}

bool http_has_token(struct str value, struct str token)
{
	struct str part;
	while (str_split(&value, ',', &part))
		if (str_ieq(str_trim(part), token))
			return true;
	return false;
}

const char *http_method_name(enum http_method m)
{
	static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"};
	return names[m];
}

const char *http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {400, "Bad Request"},
		{401, "Unauthorized"}, {402, "Payment Required"}, {403, "Forbidden"}, {404, "Not Found"},
		{405, "Method Not Allowed"}, {408, "Request Timeout"}, {409, "Conflict"}, {413, "Content Too Large"},
		{414, "URI Too Long"}, {415, "Unsupported Media Type"}, {417, "Expectation Failed"},
		{422, "Unprocessable Content"}, {424, "Failed Dependency"}, {429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {501, "Not Implemented"},
		{502, "Bad Gateway"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"}, {529, "Overloaded"},
	};
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

struct str http_head_credential(const struct http_head *h)
{
	struct str value = http_head_get(h, STR("authorization"));
	if (str_istarts(value, STR("bearer ")))
		return str_trim(str_skip(value, 7));
	return http_head_get(h, STR("x-api-key"));
}
