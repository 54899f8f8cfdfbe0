/* governed.c - whose limits hold for a request, and what it is told when they say no. Any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "gate/governed.h"

#include "base/civil.h"

#define RETRY_MAX_MS 60000

bool governed_find(struct governed *g, const struct catalog *c, const struct catalog_model *m, const struct key *k, struct str asked)
{
	const struct key_rules *rules = k ? k->rules : NULL;
	*g = (struct governed){.key = k, .model = m};
	if (k)
		g->scopes[g->count++] = k->scope;
	for (uint32_t i = 0; rules && i < rules->model_rule_count; i++) {
		if (!str_glob(rules->model_rules[i].pattern, m->name) && !str_glob(rules->model_rules[i].pattern, asked))
			continue;
		if (g->count == CLAIM_SCOPES - 2)
			return false;
		g->scopes[g->count++] = rules->model_rules[i].scope;
		g->rules++;
	}
	if (m->scope)
		g->scopes[g->count++] = m->scope;
	if (c->gateway)
		g->scopes[g->count++] = c->gateway;
	return true;
}

static void whose(const struct governed *g, uint32_t scope, struct buf *out)
{
	uint32_t own = g->key ? 1 : 0;
	if (scope < own)
		buf_addf(out, "of the key '%.*s'", STR_ARG(g->key->name));
	else if (scope < own + g->rules)
		buf_addf(out, "of the key '%.*s' for this model", STR_ARG(g->key->name));
	else if (g->model->scope && scope == own + g->rules)
		buf_addf(out, "of the model '%.*s'", STR_ARG(g->model->name));
	else
		BUF_ADD(out, "of the gateway");
}

static enum error over_rate(const struct governed *g, const struct claim_answer *a, struct buf *why, int64_t *retry_ms)
{
	const char *what = a->by == LIMIT_TOKENS ? "tokens a minute" : a->by == LIMIT_REQUESTS ? "requests a minute" : "requests at a time";
	*retry_ms = a->wait_us / 1000 > 0 ? a->wait_us / 1000 : 1000;
	*retry_ms = *retry_ms < RETRY_MAX_MS ? *retry_ms : RETRY_MAX_MS;
	buf_addf(why, "rate limit reached: %lld %s ", (long long)a->limit, what);
	whose(g, a->scope, why);
	return ERROR_RATE_LIMIT_EXCEEDED;
}

static enum error held_by_others(const struct governed *g, const struct claim_answer *a, struct buf *why, int64_t *retry_ms)
{
	*retry_ms = 1000;
	BUF_ADD(why, "requests that are under way hold what is left of the budget ");
	budget_print(why, &a->budget);
	buf_addc(why, ' ');
	whose(g, a->scope, why);
	return ERROR_RATE_LIMIT_EXCEEDED;
}

static enum error spent(const struct governed *g, const struct claim_answer *a, struct buf *why)
{
	BUF_ADD(why, "the budget ");
	budget_print(why, &a->budget);
	buf_addc(why, ' ');
	whose(g, a->scope, why);
	BUF_ADD(why, " does not suffice: ");
	budget_print_amount(why, a->budget.unit, a->left > 0 ? a->left : 0, true);
	BUF_ADD(why, " left");
	if (a->budget.unit == UNIT_TOKENS)
		BUF_ADD(why, " (tokens)");
	if (a->resets_s != INT64_MAX) {
		BUF_ADD(why, "; it begins anew at ");
		civil_print_minute(why, a->resets_s);
	}
	return ERROR_INSUFFICIENT_QUOTA;
}

static enum error without_price(const struct governed *g, const struct claim_answer *a, struct buf *why)
{
	BUF_ADD(why, "a budget in money ");
	whose(g, a->scope, why);
	buf_addf(why, " covers this request, and the model '%.*s' has no price: the operator can give it one in the settings (prices)",
		 STR_ARG(g->model->name));
	return ERROR_MODEL_WITHOUT_PRICE;
}

enum error governed_refusal(const struct governed *g, const struct claim_answer *a, struct buf *why, int64_t *retry_ms)
{
	if (a->verdict == CLAIM_SPENT)
		return spent(g, a, why);
	if (a->verdict == CLAIM_UNPRICED)
		return without_price(g, a, why);
	if (a->verdict == CLAIM_LATER && a->by == LIMIT_LEASE) {
		*retry_ms = 1000;
		BUF_ADD(why, "what is used cannot be written down now; budgets are closed until it can");
		return ERROR_LEDGER_UNAVAILABLE;
	}
	if (a->verdict == CLAIM_LATER && a->by == LIMIT_BUDGET)
		return held_by_others(g, a, why, retry_ms);
	return over_rate(g, a, why, retry_ms);
}
