// sim.test.mjs - proves: valet-sim answers probes as each engine does, is exact and repeatable, and misbehaves as it is told to,
// so that the tests that lean on it lean on something. It needs nothing but the program.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import zlib from 'node:zlib';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const program = path.resolve(root, process.env.VALET_BUILD || 'build', 'valet-sim');
const sims = [];

// ---- starting, asking -----------------------------------------------------------------------------------------------------

function start(...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['--port', '0', ...args].map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
    const sim = { child, ended: new Promise((done) => child.on('exit', (code, signal) => done(code ?? signal))) };
    sims.push(sim);
    child.on('error', reject);
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (more) => {
      text += more;
      const ready = /listening on 127\.0\.0\.1:(\d+)\n/.exec(text);
      if (!ready) return;
      sim.port = Number(ready[1]);
      sim.url = `http://127.0.0.1:${sim.port}`;
      resolve(sim);
    });
    sim.ended.then((code) => reject(new Error(`valet-sim ended with ${code}`)));
  });
}

after(async () => {
  for (const sim of sims) {
    sim.child.kill('SIGTERM');
    assert.equal(await sim.ended, 0, 'SIGTERM ends it with 0');
  }
});

const user = (content) => [{ role: 'user', content }];
const ask = { model: 'm', messages: user('Hello there') };
const get = async (sim, where) => fetch(sim.url + where);
const getJson = async (sim, where) => (await get(sim, where)).json();
const post = (sim, where, body, headers = {}, options = {}) => fetch(sim.url + where, { method: 'POST',
  headers: { 'content-type': 'application/json', ...headers }, body: typeof body === 'string' ? body : JSON.stringify(body), ...options });
const chat = (sim, body = {}, headers = {}, options = {}) => post(sim, '/v1/chat/completions', { ...ask, ...body }, headers, options);
const stats = (sim) => getJson(sim, '/sim/stats');

function events(text) {
  return text.split('\n\n').filter(Boolean).map((event) => event.replace(/^data: /, ''));
}
const textOf = (text) => events(text).filter((e) => e !== '[DONE]').map((e) => JSON.parse(e).choices[0]?.delta?.content ?? '').join('');

async function until(what, check) {
  for (let i = 0; i < 1000; i++) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`waited in vain: ${what}`);
}

function request(fault, { stream = false, close = false, knobs = {} } = {}) {
  const body = JSON.stringify({ ...ask, stream, stream_options: stream ? { include_usage: true } : undefined });
  const lines = Object.entries({ ...(fault ? { 'x-sim-fault': fault } : {}), ...knobs }).map(([k, v]) => `${k}: ${v}\r\n`).join('');
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: sim\r\n${close ? 'Connection: close\r\n' : ''}${lines}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

// Sends on a socket of its own. Resolves with all bytes and how it ended: 'end', 'reset', or 'open' after `quietMs` without a byte.
function raw(sim, bytes, quietMs = 300) {
  return new Promise((resolve, reject) => {
    const parts = [];
    let how;
    const socket = net.connect(sim.port, '127.0.0.1', () => socket.write(bytes));
    const quiet = setTimeout(() => finish('open'), quietMs);
    const finish = (end) => { how ??= end; socket.destroy(); };
    socket.on('data', (data) => { parts.push(data); quiet.refresh(); });
    socket.on('end', () => finish('end'));
    socket.on('error', (error) => (error.code === 'ECONNRESET' ? finish('reset') : reject(error)));
    socket.on('close', () => { clearTimeout(quiet); resolve({ how, bytes: Buffer.concat(parts), text: Buffer.concat(parts).toString('latin1') }); });
  });
}
const fault = (sim, name, options) => raw(sim, request(name, options), options?.quietMs);

function split(text) {
  const at = text.indexOf('\r\n\r\n');
  return { head: text.slice(0, at), body: text.slice(at + 4) };
}

// ---- the program ----------------------------------------------------------------------------------------------------------

function run(...args) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const s of [child.stdout, child.stderr]) s.setEncoding('utf8').on('data', (more) => { text += more; });
    child.on('close', (code) => resolve({ code, text }));
  });
}

test('the command line', async () => {
  assert.match((await run('--version')).text, /^valet-sim \d/);
  const help = await run('--help');
  assert.equal(help.code, 0);
  assert.match(help.text, /--tokens-per-second/);
  assert.match(help.text, /1xx-flood/);
  for (const wrong of [[], ['--port'], ['--port', 'x'], ['--port', '0', '--nope'], ['--port', '0', '--dialect', 'x'], ['--port', '0', '--fault', 'nope']]) {
    assert.equal((await run(...wrong)).code, 2, wrong.join(' '));
  }
});

// ---- dialects -------------------------------------------------------------------------------------------------------------

test('vLLM', async () => {
  const sim = await start('--dialect', 'vllm', '--models', 'm=ctx4096,n');
  assert.equal((await get(sim, '/health')).status, 200);
  assert.equal(typeof (await getJson(sim, '/version')).version, 'string');
  assert.equal(typeof (await getJson(sim, '/load')).server_load, 'number');
  const { data } = await getJson(sim, '/v1/models');
  assert.deepEqual([data[0].id, data[0].owned_by, data[0].max_model_len, data[0].root, data[0].parent], ['m', 'vllm', 4096, 'm', null]);
  const metrics = await (await get(sim, '/metrics')).text();
  for (const name of ['num_requests_running', 'num_requests_waiting', 'kv_cache_usage_perc', 'prefix_cache_hits_total']) {
    assert.match(metrics, new RegExp(`^vllm:${name}\\{.*model_name="m".*\\} 0$`, 'm'));
  }
  const unknown = await chat(sim, { model: 'x' });
  assert.equal(unknown.status, 404);
  assert.deepEqual((await unknown.json()).error, { message: 'The model `x` does not exist.', type: 'NotFoundError', param: null, code: 404 });
  const long = await chat(sim, { messages: user('x'.repeat(20000)) });
  assert.equal(long.status, 400);
  assert.match((await long.json()).error.message, /maximum context length is 4096 tokens/);
  assert.equal((await chat(sim, { max_tokens: 4096 })).status, 400);
});

test('llama.cpp', async () => {
  const sim = await start('--dialect', 'llamacpp', '--models', 'm=ctx4096', '--slots', 2);
  const health = await get(sim, '/health');
  assert.equal(health.headers.get('server'), 'llama.cpp');
  assert.deepEqual(await health.json(), { status: 'ok' });
  const props = await getJson(sim, '/props');
  assert.deepEqual([props.total_slots, props.default_generation_settings.n_ctx, typeof props.build_info], [2, 4096, 'string']);
  const slots = await getJson(sim, '/slots');
  assert.deepEqual(slots.map((s) => [s.id, s.n_ctx, s.is_processing]), [[0, 4096, false], [1, 4096, false]]);
  assert.match(await (await get(sim, '/metrics')).text(), /^llamacpp:requests_processing 0$/m);
  const [model] = (await getJson(sim, '/v1/models')).data;
  assert.deepEqual([model.owned_by, model.meta.n_ctx_train], ['llamacpp', 4096]);
  const answer = await (await chat(sim, { model: 'any name' })).json();
  assert.equal(answer.model, 'any name');
  assert.equal(answer.timings.predicted_n, answer.usage.completion_tokens);
  const long = await (await chat(sim, { messages: user('x'.repeat(20000)) })).json();
  assert.deepEqual([long.error.code, long.error.type, long.error.n_prompt_tokens, long.error.n_ctx], [400, 'exceed_context_size_error', 5000, 4096]);
});

test('Ollama', async () => {
  const sim = await start('--dialect', 'ollama', '--models', 'm=ctx4096,org/n:7b');
  assert.equal(await (await get(sim, '/')).text(), 'Ollama is running');
  assert.equal(typeof (await getJson(sim, '/api/version')).version, 'string');
  const { models } = await getJson(sim, '/api/tags');
  assert.deepEqual(models.map((m) => [m.name, m.model]), [['m:latest', 'm:latest'], ['org/n:7b', 'org/n:7b']]);
  assert.match(models[0].digest, /^[0-9a-f]{64}$/);
  assert.ok(models[0].details.family && models[0].modified_at && models[0].size);
  assert.deepEqual(await getJson(sim, '/api/ps'), { models: [] });
  const shown = await (await post(sim, '/api/show', { model: 'm' })).json();
  assert.equal(shown.model_info[`${shown.model_info['general.architecture']}.context_length`], 4096);
  assert.deepEqual(shown.capabilities, ['completion', 'tools']);
  const lines = (await (await post(sim, '/api/chat', { ...ask, options: { num_predict: 3 } })).text()).trim().split('\n').map((l) => JSON.parse(l));
  assert.equal(lines.length, 4);
  assert.ok(lines.slice(0, 3).every((l) => l.done === false && l.message.role === 'assistant'));
  assert.deepEqual([lines[3].done, lines[3].done_reason, lines[3].eval_count], [true, 'length', 3]);
  const whole = await (await post(sim, '/api/chat', { ...ask, options: { num_predict: 3 }, stream: false })).json();
  assert.equal(whole.message.content, lines.map((l) => l.message.content).join(''));
  const cut = await (await post(sim, '/api/chat', { ...ask, messages: user('x'.repeat(20000)), stream: false, options: { num_ctx: 2048 } })).json();
  assert.equal(cut.prompt_eval_count, 2048, 'a prompt that is too long is cut in silence');
  assert.equal((await (await post(sim, '/api/chat', { model: 'm' })).json()).done_reason, 'load');
  assert.equal((await (await post(sim, '/api/generate', { model: 'm', prompt: 'x', stream: false })).json()).done, true);
  assert.equal((await getJson(sim, '/api/ps')).models[0].name, 'm:latest');
  assert.equal((await (await post(sim, '/api/embed', { model: 'm', input: ['a', 'b'] })).json()).embeddings.length, 2);
  const unknown = await post(sim, '/api/chat', { ...ask, model: 'x' });
  assert.deepEqual([unknown.status, await unknown.json()], [404, { error: "model 'x' not found" }]);
});

test('LM Studio and SGLang, as far as a prober looks', async () => {
  const lmstudio = await start('--dialect', 'lmstudio', '--models', 'm=ctx4096');
  const [model] = (await getJson(lmstudio, '/api/v1/models')).models;
  assert.deepEqual([model.key, model.type, model.loaded_instances[0].config.context_length], ['m', 'llm', 4096]);
  const nowhere = await get(lmstudio, '/nowhere');
  assert.deepEqual([nowhere.status, await nowhere.json()], [200, { error: 'Unexpected endpoint or method. (GET /nowhere)' }]);
  const sglang = await start('--dialect', 'sglang', '--models', 'm=ctx4096');
  assert.equal((await getJson(sglang, '/get_server_info')).scheduler_info.max_req_input_len, 4096);
  assert.equal((await getJson(sglang, '/v1/models')).data[0].owned_by, 'sglang');
  assert.deepEqual(await (await chat(sglang, { model: 'x' })).json(),
    { object: 'error', message: 'The model `x` does not exist.', type: 'NotFoundError', param: null, code: 404 });
});

// ---- clouds ---------------------------------------------------------------------------------------------------------------

const tool = (parameters = { type: 'object', properties: { city: { type: 'string' } } }) => [{ type: 'function', function: { name: 'f', parameters } }];
const chunksOf = (text) => events(text).filter((e) => !e.startsWith(':') && e !== '[DONE]').map((e) => JSON.parse(e));
const refusal = async (sim, body) => {
  const r = await chat(sim, body);
  return [r.status, await r.json()];
};

test('Mistral', async () => {
  const sim = await start('--dialect', 'mistral', '--models', 'm=ctx64', '--tokens', 30, '--api-key', 'k');
  const auth = { authorization: 'Bearer k' };
  const asked = async (body) => {
    const r = await chat(sim, body, auth);
    return [r.status, await r.json()];
  };
  assert.deepEqual(await refusal(sim), [401, { detail: 'Unauthorized' }]);
  const [status, unknown] = await asked({ max_completion_tokens: 5 });
  assert.deepEqual([status, unknown.object, unknown.message.detail[0].type, unknown.message.detail[0].loc], [422, 'error', 'extra_forbidden', ['body', 'max_completion_tokens']]);
  const hello = { role: 'user', content: 'Hello there' };
  const calls = (id) => [hello, { role: 'assistant', content: '', tool_calls: [{ id, type: 'function', function: { name: 'f', arguments: '{}' } }] }, { role: 'tool', tool_call_id: id, content: '1' }];
  for (const [body, expected] of [[{ seed: 1 }, 422], [{ tools: [] }, 422], [{ stream_options: {} }, 422], [{ messages: [{ ...hello, name: null }] }, 422],
    [{ messages: [{ role: 'assistant', content: 'x', reasoning_content: 'r' }, hello] }, 422], [{ messages: [{ role: 'developer', content: 'x' }, hello] }, 422],
    [{ messages: [{ role: 'assistant', content: null }, hello] }, 422], [{ messages: calls('call_1') }, 400], [{ messages: calls('Abc123456') }, 200],
    [{ messages: [...calls('Abc123456'), hello] }, 400], [{ messages: [hello, { role: 'assistant', content: 'x' }] }, 400],
    [{ messages: [hello, { role: 'assistant', content: 'x', prefix: true }] }, 200], [{ random_seed: 1, max_tokens: 3 }, 200]]) {
    assert.equal((await asked(body))[0], expected, JSON.stringify(body));
  }
  const chunks = chunksOf(await (await chat(sim, { stream: true }, auth)).text());
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
  assert.ok(chunks.at(-1).usage.total_tokens > 0 && chunks.slice(0, -1).every((c) => !c.usage), 'usage unasked, with the finish reason');
  const long = await asked({ messages: user('x'.repeat(200)) });
  assert.equal(long[1].choices[0].finish_reason, 'model_length');
  const [, called] = await asked({ tools: tool(), tool_choice: 'required' });
  assert.match(called.choices[0].message.tool_calls[0].id, /^[a-zA-Z0-9]{9}$/);
  const limited = await chat(sim, {}, { ...auth, 'x-sim-fault': 'status=429' });
  assert.deepEqual([(await limited.json()).code], ['1300']);
  const broken = chunksOf(await (await chat(sim, { stream: true }, { ...auth, 'x-sim-fault': 'error-in-stream=2' })).text());
  assert.equal(broken.at(-1).choices[0].finish_reason, 'error');
});

test('OpenRouter', async () => {
  const sim = await start('--dialect', 'openrouter', '--models', 'org/m');
  const body = { model: 'org/m', stream: true, chat_template_kwargs: {}, top_k: 5 };
  const text = await (await post(sim, '/api/v1/chat/completions', { ...ask, ...body })).text();
  assert.ok(text.startsWith(': OPENROUTER PROCESSING\n\n') && text.endsWith('data: [DONE]\n\n'));
  const last = chunksOf(text).at(-1);
  assert.deepEqual([last.choices, typeof last.usage.cost, last.usage.is_byok], [[], 'number', false], 'usage and cost, unasked');
  const failed = chunksOf(await (await chat(sim, body, { 'x-sim-fault': 'error-in-stream=2' })).text()).at(-1);
  assert.deepEqual([failed.error.code, failed.choices[0].finish_reason], [502, 'error']);
  const whole = await chat(sim, { model: 'org/m' }, { 'x-sim-fault': 'error-in-stream' });
  assert.deepEqual([whole.status, (await whole.json()).error.code], [200, 502]);
  const flagged = await chat(sim, { model: 'org/m' }, { 'x-sim-fault': 'status=403' });
  assert.ok((await flagged.json()).error.metadata.reasons.length > 0);
  const [model] = (await getJson(sim, '/api/v1/models')).data;
  assert.deepEqual([model.id, typeof model.pricing.prompt], ['org/m', 'string']);
});

test('Groq', async () => {
  const sim = await start('--dialect', 'groq', '--models', 'm');
  for (const [body, expected] of [[{ n: 2 }, 400], [{ logprobs: true }, 400], [{ logit_bias: {} }, 400], [{ tools: [] }, 400], [{ n: 1, seed: 4, user: 'u' }, 200],
    [{ messages: [{ role: 'assistant', content: 'x', reasoning: 'r' }, ...user('x')] }, 400]]) {
    assert.equal((await chat(sim, body)).status, expected, JSON.stringify(body));
  }
  const chunks = chunksOf(await (await post(sim, '/openai/v1/chat/completions', { ...ask, stream: true })).text());
  assert.ok(chunks.at(-1).x_groq.usage.total_tokens > 0 && chunks.every((c) => !c.usage));
  const both = chunksOf(await (await chat(sim, { stream: true, stream_options: { include_usage: true } })).text());
  assert.deepEqual([both.at(-1).choices, both.at(-1).usage.total_tokens], [[], both.at(-2).x_groq.usage.total_tokens]);
});

test('Together and DeepSeek', async () => {
  const together = await start('--dialect', 'together', '--models', 'm');
  assert.equal((await (await chat(together)).json()).choices[0].finish_reason, 'eos');
  assert.deepEqual((await getJson(together, '/v1/models')).map((m) => [m.id, m.type]), [['m', 'chat']]);
  assert.equal((await chat(together, { messages: [{ role: 'developer', content: 'x' }] })).status, 400);
  const deepseek = await start('--dialect', 'deepseek', '--models', 'm', '--cache-blocks', 100);
  const where = '/chat/completions';
  const whole = await (await post(deepseek, where, ask)).text();
  assert.match(whole, /^\n\n\{/);
  const { usage } = JSON.parse(whole);
  assert.equal(usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens, usage.prompt_tokens);
  assert.match(await (await post(deepseek, where, { ...ask, stream: true })).text(), /^: keep-alive\n\n/);
  assert.equal((await (await post(deepseek, where, ask, { 'x-sim-fault': 'status=402' })).json()).error.message, 'Insufficient Balance');
  const broken = chunksOf(await (await post(deepseek, where, { ...ask, stream: true }, { 'x-sim-fault': 'error-in-stream=1' })).text());
  assert.equal(broken.at(-1).choices[0].finish_reason, 'insufficient_system_resource');
  assert.equal((await post(deepseek, where, { ...ask, n: 2 })).status, 400);
  assert.equal((await post(deepseek, where, { ...ask, messages: [{ role: 'assistant', content: 'x', reasoning_content: 'r' }] })).status, 400);
});

test('Gemini', async () => {
  const sim = await start('--dialect', 'gemini', '--models', 'm');
  const where = '/v1beta/openai/chat/completions';
  const [status, [unknown]] = await refusal(sim, { user: 'u' });
  assert.deepEqual([status, unknown.error.code, unknown.error.status], [400, 400, 'INVALID_ARGUMENT']);
  assert.match(unknown.error.message, /Unknown name "user": Cannot find field/);
  for (const parameters of [{ $schema: 'x' }, { type: 'object', additionalProperties: false }, { properties: { a: { const: 1 } } }]) {
    assert.equal((await chat(sim, { tools: tool(parameters) })).status, 400, JSON.stringify(parameters));
  }
  assert.equal((await chat(sim, { tools: tool({ properties: { const: { type: 'string' } } }) })).status, 200, 'a parameter of that name is none of them');
  const chunks = chunksOf(await (await post(sim, where, { ...ask, tools: tool(), tool_choice: 'required', stream: true, stream_options: { include_usage: true } })).text());
  const calls = chunks.flatMap((c) => c.choices[0].delta.tool_calls ?? []);
  assert.deepEqual(calls.map((c) => ['index' in c, c.id, typeof JSON.parse(c.function.arguments).city]), [[false, '', 'string']]);
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
  assert.ok(chunks.every((c) => c.usage.prompt_tokens > 0), 'usage in every chunk');
  const limited = await (await chat(sim, {}, { 'x-sim-fault': 'status=429' })).json();
  assert.equal(limited[0].error.details[0].retryDelay, '37s');
  assert.deepEqual((await getJson(sim, '/v1beta/openai/models')).data.map((m) => m.id), ['models/m']);
  assert.equal((await (await post(sim, '/v1beta/openai/embeddings', { model: 'm', input: 'x' })).json()).object, 'list');
});

// ---- answers --------------------------------------------------------------------------------------------------------------

const sim = await start('--models', 'm,n', '--dialect', 'openai');

test('the same request gives the same bytes, another one others; a stream has the text of the whole', async () => {
  const first = await (await chat(sim)).text();
  assert.equal(await (await chat(sim)).text(), first);
  assert.notEqual(await (await chat(sim, { messages: user('Other') })).text(), first);
  assert.notEqual(await (await chat(sim, {}, { 'x-sim-seed': '5' })).text(), first);
  assert.equal(textOf(await (await chat(sim, { stream: true })).text()), JSON.parse(first).choices[0].message.content);
});

test('tokens: a quarter of the bytes of all text, and one for each word', async () => {
  const messages = [{ role: 'system', content: 'abcd' }, { role: 'user', content: [{ type: 'text', text: 'é\n"' }, { type: 'image_url', image_url: { url: 'data:xxxxxxxx' } }] }];
  const { usage, choices } = await (await chat(sim, { messages, max_tokens: 7 })).json();
  assert.equal(usage.prompt_tokens, 2);
  assert.equal(usage.completion_tokens, 7);
  assert.equal(choices[0].message.content.split(' ').length, 7);
  assert.equal(choices[0].finish_reason, 'length');
  const asked = await (await chat(sim, {}, { 'x-sim-tokens': '100' })).json();
  assert.deepEqual([asked.usage.completion_tokens, asked.choices[0].finish_reason], [100, 'stop']);
});

test('usage in a stream only when it is asked for, and null before', async () => {
  const without = events(await (await chat(sim, { stream: true })).text());
  assert.equal(without.at(-1), '[DONE]');
  assert.ok(without.slice(0, -1).every((e) => !('usage' in JSON.parse(e))));
  const chunks = events(await (await chat(sim, { stream: true, stream_options: { include_usage: true } })).text()).slice(0, -1).map((e) => JSON.parse(e));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
  assert.ok(chunks.slice(0, -1).every((c) => c.usage === null));
});

test('echo of the body and of the head', async () => {
  const body = '{ "model":"m", "messages":[{"role":"user","content":"\\u00e9 x"}], "x":1.0e0 }';
  const answer = await (await post(sim, '/v1/chat/completions', body, { 'x-sim-echo': 'body' })).json();
  assert.equal(answer.choices[0].message.content, body);
  const streamed = await (await post(sim, '/v1/chat/completions', body.replace('{ ', '{"stream":true,'), { 'x-sim-echo': 'body' })).text();
  assert.equal(textOf(streamed), body.replace('{ ', '{"stream":true,'));
  const head = JSON.parse((await (await chat(sim, {}, { 'x-sim-echo': 'headers', 'x-mine': 'yes' })).json()).choices[0].message.content);
  assert.equal(head.method, 'POST');
  assert.ok(head.headers.some(([name, value]) => name.toLowerCase() === 'x-mine' && value === 'yes'));
});

test('tool calls, whole and in fragments', async () => {
  const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { city: { type: 'string' }, n: { type: 'integer' } } } } }];
  const [choice] = (await (await chat(sim, { tools, tool_choice: 'required' })).json()).choices;
  assert.equal(choice.finish_reason, 'tool_calls');
  const args = JSON.parse(choice.message.tool_calls[0].function.arguments);
  assert.deepEqual([typeof args.city, typeof args.n], ['string', 'number']);
  const chunks = events(await (await chat(sim, { tools, stream: true, messages: user('call the tool') })).text()).slice(0, -1).map((e) => JSON.parse(e));
  const calls = chunks.flatMap((c) => c.choices[0].delta.tool_calls ?? []);
  assert.equal(calls[0].function.name, 'f');
  assert.equal(typeof JSON.parse(calls.map((c) => c.function.arguments).join('')).city, 'string');
  assert.equal((await (await chat(sim, { tools })).json()).choices[0].finish_reason, 'stop');
  assert.equal((await (await chat(sim, { tools, tool_choice: 'none' }, { 'x-sim-tool': '1' })).json()).choices[0].finish_reason, 'stop');
});

test('several choices, probabilities, text completions, embeddings', async () => {
  assert.deepEqual((await (await chat(sim, { n: 3 })).json()).choices.map((c) => c.index), [0, 1, 2]);
  const { choices, usage } = await (await chat(sim, { logprobs: true, top_logprobs: 2, max_tokens: 3 })).json();
  assert.equal(choices[0].logprobs.content.length, usage.completion_tokens);
  assert.equal(choices[0].logprobs.content[0].top_logprobs.length, 2);
  const completion = await (await post(sim, '/v1/completions', { model: 'm', prompt: ['a', 'b'], n: 2 })).json();
  assert.equal(completion.choices.length, 4);
  const floats = await (await post(sim, '/v1/embeddings', { model: 'm', input: ['a', 'b'], dimensions: 8 })).json();
  assert.ok(Math.abs(floats.data[1].embedding.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-5);
  const packed = await (await post(sim, '/v1/embeddings', { model: 'm', input: ['a', 'b'], dimensions: 8, encoding_format: 'base64' })).json();
  assert.deepEqual([...new Float32Array(new Uint8Array(Buffer.from(packed.data[1].embedding, 'base64')).buffer)], floats.data[1].embedding.map(Math.fround));
});

test('responses, messages, rerank, moderation, audio, images', async () => {
  const response = await (await post(sim, '/v1/responses', { model: 'm', input: 'x' })).json();
  const named = (await (await post(sim, '/v1/responses', { model: 'm', input: 'x', stream: true })).text()).split('\n\n').filter(Boolean).map((e) => JSON.parse(e.split('\ndata: ')[1]));
  assert.deepEqual(named.map((e) => e.sequence_number), named.map((_, i) => i));
  assert.equal(named[0].type, 'response.created');
  assert.deepEqual(named.at(-1).response, response);
  const message = await (await post(sim, '/v1/messages', { model: 'm', max_tokens: 50, messages: user('x') })).json();
  const parts = (await (await post(sim, '/v1/messages', { model: 'm', max_tokens: 50, messages: user('x'), stream: true })).text()).split('\n\n').filter(Boolean).map((e) => JSON.parse(e.split('\ndata: ')[1]));
  assert.equal(parts.map((e) => e.delta?.text ?? '').join(''), message.content[0].text);
  assert.deepEqual([parts[0].type, parts.at(-1).type], ['message_start', 'message_stop']);
  const ranked = await (await post(sim, '/v1/rerank', { model: 'm', query: 'q', documents: ['a', 'b', 'c'], top_n: 2 })).json();
  assert.ok(ranked.results.length === 2 && ranked.results[0].relevance_score >= ranked.results[1].relevance_score);
  assert.equal((await (await post(sim, '/v1/moderations', { model: 'm', input: 'flag-me' })).json()).results[0].flagged, true);
  const form = new FormData();
  form.set('model', 'm');
  form.set('file', new Blob([new Uint8Array(1234)]), 'a.wav');
  assert.match((await (await fetch(sim.url + '/v1/audio/transcriptions', { method: 'POST', body: form })).json()).text, /1234 bytes/);
  const speech = await post(sim, '/v1/audio/speech', { model: 'm', input: 'abc', voice: 'x' });
  assert.deepEqual([speech.headers.get('content-type'), (await speech.arrayBuffer()).byteLength], ['audio/mpeg', 300]);
  assert.equal((await (await post(sim, '/v1/images/generations', { model: 'm', prompt: 'x', n: 2 })).json()).data.length, 2);
});

// ---- time, slots, cache ---------------------------------------------------------------------------------------------------

test('time to the first token and the pace behind it', async () => {
  const begun = performance.now();
  const answer = await chat(sim, { stream: true, max_tokens: 5 }, { 'x-sim-ttft-ms': '400', 'x-sim-interval-ms': '20' });
  const head = performance.now() - begun;
  await answer.text();
  const all = performance.now() - begun;
  assert.ok(head < 350, `the head comes at once: ${head} ms`);
  assert.ok(all >= 478 && all < 3000, `400 ms and 4 times 20 ms: ${all} ms`);
});

test('slots, the queue behind them, and a client that leaves', async () => {
  const small = await start('--models', 'm', '--slots', 1, '--dialect', 'vllm');
  const leave = new AbortController();
  const first = await chat(small, { stream: true }, { 'x-sim-interval-ms': '3600000' }, { signal: leave.signal });
  const second = chat(small);
  await until('one runs and one waits', async () => { const s = await stats(small); return s.running === 1 && s.waiting === 1 && s.active === 2; });
  assert.match(await (await get(small, '/metrics')).text(), /^vllm:num_requests_waiting\{.*\} 1$/m);
  leave.abort();
  await first.text().catch(() => {});
  assert.equal((await (await second).json()).object, 'chat.completion');
  const s = await stats(small);
  assert.deepEqual([s.running, s.waiting, s.aborted, s.finished, s.active], [0, 0, 1, 1, 0]);
  assert.ok(s.now_us - s.last_abort_us < 5e6);
  const { entries } = await getJson(small, '/sim/log?since=1');
  assert.deepEqual(entries.map((e) => e.aborted).sort(), [false, true]);
  assert.equal((await post(small, '/sim/reset', {})).status, 200);
  assert.equal((await stats(small)).finished, 0);
});

test('the prompt cache: the same beginning is not computed again', async () => {
  const cached = await start('--models', 'm', '--cache-blocks', 100);
  const prompt = 'word '.repeat(100);
  const used = async (content) => (await (await chat(cached, { messages: user(content) })).json()).usage.prompt_tokens_details.cached_tokens;
  assert.equal(await used(prompt + 'a'), 0);
  assert.equal(await used(prompt + 'b'), Math.floor(500 / 64) * 16);
  assert.equal(await used('other ' + prompt), 0);
});

// ---- faults ---------------------------------------------------------------------------------------------------------------

test('faults before an answer', async () => {
  assert.deepEqual(await fault(sim, 'hang').then((r) => [r.how, r.text]), ['open', '']);
  assert.equal((await fault(sim, 'reset-before')).how, 'reset');
  const limited = await chat(sim, {}, { 'x-sim-fault': 'status=429,7' });
  assert.deepEqual([limited.status, limited.headers.get('retry-after'), (await limited.json()).error.code], [429, '7', 'rate_limit_exceeded']);
  const html = await chat(sim, {}, { 'x-sim-fault': 'html-error' });
  assert.deepEqual([html.status, html.headers.get('content-type')], [502, 'text/html']);
  assert.match((await fault(sim, 'redirect')).text, /^HTTP\/1\.1 307 [^]*\r\nlocation: http/);
  assert.match((await fault(sim, 'switching-101')).text, /^HTTP\/1\.1 101 /);
  const garbage = await fault(sim, 'garbage=100');
  assert.deepEqual([garbage.how, garbage.bytes.length], ['end', 100]);
  const begun = performance.now();
  await (await chat(sim, {}, { 'x-sim-fault': 'slow-head=80' })).text();
  assert.ok(performance.now() - begun >= 79);
});

test('faults inside a stream', async () => {
  const pieces = (text) => (text.match(/"delta":\{"content":"[^"]/g) ?? []).length;
  for (const [name, how] of [['reset-after=3', 'reset'], ['cut-after=3', 'end'], ['stall-after=3', 'open']]) {
    const r = await fault(sim, name, { stream: true });
    assert.deepEqual([r.how, pieces(r.text), r.text.includes('[DONE]'), r.text.endsWith('0\r\n\r\n')], [how, 3, false, false], name);
  }
  const broken = await fault(sim, 'error-in-stream=2', { stream: true, close: true });
  assert.match(broken.text, /data: \{"error":\{"message"/);
  assert.ok(broken.text.endsWith('0\r\n\r\n') && !broken.text.includes('[DONE]'));
  const bad = await fault(sim, 'bad-sse', { stream: true, close: true });
  assert.ok(bad.text.includes('data {no colon') && bad.text.includes('data: [DONE]') && bad.text.endsWith('0\r\n\r\n'));
  const noDone = await fault(sim, 'no-done', { stream: true, close: true });
  assert.ok(!noDone.text.includes('[DONE]') && noDone.text.endsWith('0\r\n\r\n'));
  const hung = await fault(sim, 'hang-after-done', { stream: true });
  assert.ok(hung.how === 'open' && hung.text.includes('[DONE]') && !hung.text.endsWith('0\r\n\r\n'));
  const noUsage = await fault(sim, 'no-usage', { stream: true, close: true });
  assert.ok(!noUsage.text.includes('"prompt_tokens"') && noUsage.text.includes('[DONE]'));
});

test('faults inside an answer that is not streamed', async () => {
  for (const [name, how] of [['reset-after', 'reset'], ['cut-after', 'end'], ['stall-after', 'open']]) {
    const r = await fault(sim, name);
    const { head, body } = split(r.text);
    assert.equal(r.how, how, name);
    assert.ok(Number(/content-length: (\d+)/.exec(head)[1]) > body.length, name);
  }
});

test('an answer that never ends', async () => {
  for (const stream of [true, false]) {
    const seen = await new Promise((resolve, reject) => {
      let bytes = 0;
      const socket = net.connect(sim.port, '127.0.0.1', () => socket.write(request('endless', { stream })));
      socket.on('data', (data) => { bytes += data.length; if (bytes > 3e6) socket.destroy(); }).on('close', () => resolve(bytes)).on('error', reject);
    });
    assert.ok(seen > 3e6);
  }
  await until('the generation has stopped', async () => (await stats(sim)).active <= 0);
});

test('faults of framing', async () => {
  const length = (text) => Number(/content-length: (\d+)/.exec(split(text).head)[1]);
  const good = split((await fault(sim, '', { close: true })).text).body;
  for (const stream of [false, true]) {
    const short = await fault(sim, 'length-short=5', { stream });
    assert.equal(split(short.text).body.length, length(short.text) + 5);
    const long = await fault(sim, 'length-long=5', { stream });
    assert.deepEqual([long.how, split(long.text).body.length], ['end', length(long.text) - 5]);
    assert.equal((await fault(sim, 'length-twice', { stream })).text.match(/content-length/g).length, 2);
    assert.match((await fault(sim, 'length-and-chunked', { stream })).text, /content-length: \d+\r\ntransfer-encoding: chunked/);
    const truncated = await fault(sim, 'truncated-chunk', { stream });
    const size = parseInt(split(truncated.text).body, 16);
    assert.deepEqual([truncated.how, split(truncated.text).body.split('\r\n')[1].length < size], ['end', true]);
    const missing = await fault(sim, 'missing-final-chunk', { stream });
    assert.deepEqual([missing.how, missing.text.endsWith('0\r\n\r\n')], ['end', false]);
  }
  assert.ok(split((await fault(sim, 'giant-header=64', { quietMs: 500 })).text).head.length > 65536);
  assert.ok(split((await fault(sim, 'many-headers=10000', { quietMs: 500 })).text).head.split('\r\n').length > 10000);
  assert.match((await fault(sim, 'obs-fold')).text, /x-folded: one\r\n  two\r\n/);
  const flood = await fault(sim, '1xx-flood=100');
  assert.equal(flood.text.match(/HTTP\/1\.1 103/g).length, 100);
  assert.ok(flood.text.endsWith(good));
  const surplus = split((await fault(sim, 'surplus')).text).body;
  assert.ok(surplus.startsWith(good) && surplus.slice(good.length).startsWith('HTTP/1.1 200 OK'));
});

test('faults of the content', async () => {
  const cut = await chat(sim, {}, { 'x-sim-fault': 'bad-json' });
  await assert.rejects(cut.json());
  assert.equal((await chat(sim, {}, { 'x-sim-fault': 'wrong-type' })).headers.get('content-type'), 'text/plain');
  const usage = async (name) => (await (await chat(sim, {}, { 'x-sim-fault': name })).json()).usage;
  assert.equal(await usage('no-usage'), undefined);
  assert.ok((await usage('usage-negative')).prompt_tokens < 0);
  assert.equal((await usage('usage-huge')).prompt_tokens, 1e18);
  assert.equal(typeof (await usage('usage-string')).prompt_tokens, 'string');
  const bomb = await fault(sim, 'gzip=3', { quietMs: 500 });
  const at = bomb.bytes.indexOf('\r\n\r\n') + 4;
  const unpacked = zlib.gunzipSync(bomb.bytes.subarray(at));
  assert.ok(unpacked.length > 3 << 20 && bomb.bytes.length < 100000);
  assert.equal(JSON.parse(unpacked).object, 'chat.completion');
});

test('a connection that is closed while idle', async () => {
  const r = await fault(sim, 'close-idle=30', { quietMs: 1000 });
  assert.equal(r.how, 'end');
  assert.match(r.text, /chat\.completion/);
});

test('faults of calls that do not generate, and of probes', async () => {
  const begun = performance.now();
  assert.equal((await (await post(sim, '/v1/embeddings', { model: 'm', input: 'x' }, { 'x-sim-fault': 'slow-head=60' })).json()).object, 'list');
  assert.ok(performance.now() - begun >= 59);
  const probe = (name) => raw(sim, `GET /v1/models HTTP/1.1\r\nHost: sim\r\nx-sim-fault: ${name}\r\n\r\n`);
  for (const [name, how] of [['reset-after', 'reset'], ['cut-after', 'end'], ['stall-after', 'open'], ['hang', 'open']]) {
    const r = await probe(name);
    assert.deepEqual([r.how, r.text.endsWith('}]}')], [how, false], name);
  }
  assert.match((await probe('wrong-type')).text, /content-type: text\/plain[^]*"object":"list"/);
  assert.equal((await chat(sim, {}, { 'x-sim-fault': 'typo' })).status, 400);
});

test('rules: rates, counts, probes, at run time', async () => {
  const set = (faults) => post(sim, '/sim/faults', { faults });
  assert.equal((await set(['status=500:0.5'])).status, 200);
  const seen = [];
  for (let i = 0; i < 10; i++) seen.push((await chat(sim)).status);
  assert.equal(seen.filter((s) => s === 500).length, 5, 'exactly every second one');
  await set([{ fault: 'status=503,1', count: 2, on: 'probes' }]);
  assert.deepEqual([(await get(sim, '/v1/models')).status, (await chat(sim)).status, (await get(sim, '/v1/models')).status, (await get(sim, '/v1/models')).status], [503, 200, 503, 200]);
  assert.equal((await set(['nonsense'])).status, 400);
  assert.equal((await (await set([])).json()).faults.length, 0);
});

test('a closed listener, and open again', async () => {
  const gone = await start('--models', 'm');
  assert.equal((await fault(gone, 'refuse=1')).how, 'reset');
  await until('connections are refused', () => raw(gone, '').then(() => false, (error) => error.code === 'ECONNREFUSED'));
  await until('it listens again', () => chat(gone).then((a) => a.ok, () => false));
});
