// ambiguous.test.mjs - proves: a message that two readers could read differently is answered with 400 and the connection closed, and not one
// byte of it reaches an engine; what is legal but unusual (chunks, pipelining, Expect, HTTP/1.0, HEAD) works.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { CALL, Client, ask, assertError, chat, contents, events, faultTest, head, memory, until, withRaw } from './aid.mjs';
import { completion } from './raw.mjs';

const { valet, raw } = await withRaw([{}], { config: { workers: 1, ceilings: { max_body: '1MiB' }, timeouts: { heartbeat: 'off' } } });
const calm = () => { raw.behave = (c, request) => c.answer(completion(JSON.parse(request.body).user)); raw.forget(); };
const proven = (name, body) => faultTest(valet, name, body, { calm });
const said = (answer) => JSON.parse(answer.text).choices[0].message.content;

async function onConnection(run) {
  const client = await Client.connect(valet.port);
  try {
    return await run(client);
  } finally {
    client.close();
  }
}

// ---- the smuggling set ----

const body = chat({ user: 'smuggled' });
const hidden = `POST ${CALL} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
const post = (fields, rest = '') => `POST ${CALL} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n${fields}\r\n${rest}`;
const sized = (size) => post('transfer-encoding: chunked\r\n', `${size}\r\n${body}\r\n0\r\n\r\n`);
const hex = body.length.toString(16);

const ambiguous = {
  'CL.TE': post(`content-length: ${chunked.length + hidden.length}\r\ntransfer-encoding: chunked\r\n`, chunked + hidden),
  'TE.CL': post(`transfer-encoding: chunked\r\ncontent-length: 4\r\n`, chunked + hidden),
  'TE.TE, the second unknown': post('transfer-encoding: chunked\r\ntransfer-encoding: x\r\n', chunked),
  'TE.TE, twice chunked': post('transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n', chunked),
  'TE: chunked, identity': post('transfer-encoding: chunked, identity\r\n', chunked),
  'TE: identity, chunked': post('transfer-encoding: identity, chunked\r\n', chunked),
  'TE: gzip, chunked': post('transfer-encoding: gzip, chunked\r\n', chunked),
  'TE: xchunked': post('transfer-encoding: xchunked\r\n', chunked),
  'TE: "chunked"': post('transfer-encoding: "chunked"\r\n', chunked),
  'TE: chunked;q=1': post('transfer-encoding: chunked;q=1\r\n', chunked),
  'TE empty': post('transfer-encoding:\r\n', chunked),
  'TE with a space before the colon': post('transfer-encoding : chunked\r\n', chunked),
  'TE with a tab before the colon': post('transfer-encoding\t: chunked\r\n', chunked),
  'TE with a control character in the value': post('transfer-encoding: \x0bchunked\r\n', chunked),
  'TE in a folded line': post('transfer-encoding:\r\n chunked\r\n', chunked),
  'TE behind a bare CR': post(`x: y\rtransfer-encoding: chunked\r\ncontent-length: ${body.length}\r\n`, body),
  'TE in HTTP/1.0': post('transfer-encoding: chunked\r\n', chunked).replace('HTTP/1.1', 'HTTP/1.0'),
  'CL twice, the same': post(`content-length: ${body.length}\r\ncontent-length: ${body.length}\r\n`, body),
  'CL twice, different': post(`content-length: ${body.length}\r\ncontent-length: 0\r\n`, body),
  'CL as a list': post(`content-length: ${body.length}, ${body.length}\r\n`, body),
  'CL empty (0.CL)': post('content-length:\r\n', body),
  'CL with a plus': post(`content-length: +${body.length}\r\n`, body),
  'CL with a minus': post('content-length: -1\r\n', body),
  'CL in hexadecimal': post(`content-length: 0x${hex}\r\n`, body),
  'CL with an underscore': post('content-length: 1_0\r\n', body),
  'CL with a fraction': post(`content-length: ${body.length}.0\r\n`, body),
  'CL with a space inside': post('content-length: 1 0\r\n', body),
  'CL beyond 2^63': post('content-length: 99999999999999999999\r\n', body),
  'CL of 2^64 + the length': post(`content-length: ${(2n ** 64n + BigInt(body.length))}\r\n`, body),
  'CL with a space before the colon': post(`content-length : ${body.length}\r\n`, body),
  'bare LF in the head': post(`content-length: ${body.length}\r\n`, body).replaceAll('\r\n', '\n'),
  'bare LF behind one field': post(`x: y\ncontent-length: ${body.length}\r\n`, body),
  'bare LF at the end of the head': post(`content-length: ${body.length}\r\n`, body).replace('\r\n\r\n', '\r\n\n'),
  'a NUL in a value': post(`x: a\0b\r\ncontent-length: ${body.length}\r\n`, body),
  'a NUL in a name': post(`x\0y: b\r\ncontent-length: ${body.length}\r\n`, body),
  'a space in a name': post(`x y: b\r\ncontent-length: ${body.length}\r\n`, body),
  'a line without a colon': post(`hello\r\ncontent-length: ${body.length}\r\n`, body),
  'a line without a name': post(`: x\r\ncontent-length: ${body.length}\r\n`, body),
  'a first line that is folded': post(`content-length: ${body.length}\r\n`, body).replace('host:', ' host:'),
  'no Host': post(`content-length: ${body.length}\r\n`, body).replace('host: 127.0.0.1\r\n', ''),
  'two Hosts': post(`host: 127.0.0.1\r\ncontent-length: ${body.length}\r\n`, body),
  'HTTP/1.2': post(`content-length: ${body.length}\r\n`, body).replace('HTTP/1.1', 'HTTP/1.2'),
  'HTTP/2.0': post(`content-length: ${body.length}\r\n`, body).replace('HTTP/1.1', 'HTTP/2.0'),
  'HTTP/0.9': `POST ${CALL}\r\n\r\n`,
  'two spaces before the version': post(`content-length: ${body.length}\r\n`, body).replace(' HTTP/1.1', '  HTTP/1.1'),
  'a tab before the version': post(`content-length: ${body.length}\r\n`, body).replace(' HTTP/1.1', '\tHTTP/1.1'),
  'lower-case http': post(`content-length: ${body.length}\r\n`, body).replace('HTTP/1.1', 'http/1.1'),
  'the preface of HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'TLS on a plain port': '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03',
  'a chunk size with 0x': sized(`0x${hex}`),
  'a chunk size with a plus': sized(`+${hex}`),
  'a chunk size with an underscore': sized(`${hex[0]}_${hex.slice(1)}`),
  'a chunk size with a minus': sized('-1'),
  'a chunk size with a space before it': sized(` ${hex}`),
  'a chunk size with a space behind it': sized(`${hex} `),
  'no chunk size': sized(''),
  'a chunk size of more than 64 bits': sized(`1${'0'.repeat(15)}${hex}`),
  'a chunk extension': sized(`${hex};x=y`),
  'a chunk extension with a bare LF': sized(`${hex};\n`),
  'a chunk size that ends in a bare LF': post('transfer-encoding: chunked\r\n', `${hex}\n${body}\r\n0\r\n\r\n`),
  'a chunk that is longer than its size': post('transfer-encoding: chunked\r\n', `${(body.length - 1).toString(16)}\r\n${body}\r\n0\r\n\r\n`),
  'a chunk that is not followed by CR LF': post('transfer-encoding: chunked\r\n', `${hex}\r\n${body}0\r\n\r\n`),
  'a chunk that is followed by a bare LF': post('transfer-encoding: chunked\r\n', `${hex}\r\n${body}\n0\r\n\r\n`),
  'a trailer with a bare LF': post('transfer-encoding: chunked\r\n', `${hex}\r\n${body}\r\n0\r\nx: y\n\r\n`),
  'a last chunk with a bare LF': post('transfer-encoding: chunked\r\n', `${hex}\r\n${body}\r\n0\n\n`),
};

proven(`32: ${Object.keys(ambiguous).length} ambiguous messages, whole and byte by byte: 400, closed, 0 bytes upstream`, async () => {
  for (const bytewise of [false, true]) {
    for (const [name, message] of Object.entries(ambiguous)) {
      raw.forget();
      await onConnection(async (client) => {
        const bytes = Buffer.from(message, 'latin1');
        if (bytewise) for (let i = 0; i < bytes.length && i < 400 && !client.over; i++) await client.send(bytes.subarray(i, i + 1));
        if (bytewise && bytes.length > 400) client.send(bytes.subarray(400));
        if (!bytewise) client.send(bytes);
        client.send(hidden);
        const answer = await client.answer();
        assert.equal(answer.status, 400, `${name}: ${answer.line}`);
        assertError(answer, 400, 'invalid_http');
        await client.ended();
        assert.equal(client.bytes.length, 0, `${name}: nothing else is answered: ${client.text}`);
        assert.equal(raw.bytes.length, 0, `${name}: upstream got ${raw.bytes}`);
      });
    }
  }
});

proven('32: what clients put into headers does not become part of what an engine reads', async () => {
  const evil = 'x-evil: 1\r\ncookie: secret=1\r\nauthorization: Bearer of-the-client\r\nx-api-key: of-the-client\r\ncontent_length: 5\r\n' +
    'x-forwarded-for: 1.2.3.4\r\nconnection: close, content-length\r\nkeep-alive: 1\r\nupgrade: h2c\r\nte: trailers\r\nproxy-authorization: x\r\nforwarded: for=x\r\nprefer: x\r\n';
  assert.equal((await ask(valet, { body: chat({ user: 'u' }), fields: evil })).status, 200);
  const names = raw.calls[0].head.split('\r\n').slice(1, -2).map((line) => line.slice(0, line.indexOf(':')));
  assert.deepEqual(names.sort(), ['accept', 'content-length', 'content-type', 'host', 'x-request-id']);
  assert.ok(raw.calls[0].head.startsWith('POST /v1/chat/completions HTTP/1.1\r\n'));
});

// ---- legal, if unusual ----

proven('31: pipelined requests are answered in order; what follows a body is the next request and never part of it', async () => {
  raw.behave = (c, request) => setTimeout(() => c.answer(completion(JSON.parse(request.body).user)), 20 - 4 * raw.calls.length);
  await onConnection(async (client) => {
    const bodies = [0, 1, 2, 3, 4].map((i) => chat({ user: `number ${i}` }));
    client.send(bodies.map((b) => head(CALL, b.length) + b).join('') + 'GET /health HTTP/1.1\r\nhost: x.localhost\r\n\r\n');
    for (let i = 0; i < 5; i++) assert.equal(said(await client.answer()), `number ${i}`);
    assert.equal((await client.answer()).text, '{"status":"ok"}');
    for (const [i, call] of raw.calls.entries()) assert.equal(call.body.toString(), bodies[i]);
  });
});

proven('31: a thousand pipelined requests while an answer is slow: held back, then answered', async () => {
  let first = true;
  raw.behave = (c, request) => { setTimeout(() => c.answer(completion(JSON.parse(request.body).user)), first ? 300 : 0); first = false; };
  await onConnection(async (client) => {
    const before = memory(valet.program.pid);
    const b = chat({ user: 'u'.repeat(5000) });
    for (let i = 0; i < 1000; i++) client.send(head(CALL, b.length) + b);
    for (let i = 0; i < 1000; i++) assert.equal((await client.answer()).status, 200);
    assert.ok(memory(valet.program.pid) - before < 2 << 20, 'what waits, waits at the client');
  });
});

proven('chunked request bodies of any cut reach the engine whole, with a length', async () => {
  const text = chat({ user: 'chunked äöü '.repeat(3000) }), bytes = Buffer.from(text);
  for (const size of [1, 7, 1000, 16384, bytes.length]) {
    const cut = size === 1 ? bytes.subarray(0, 0) : bytes;
    const payload = size === 1 ? Buffer.from(chat({ user: 'byte by byte' })) : cut;
    const parts = [];
    for (let at = 0; at < payload.length; at += size) {
      const piece = payload.subarray(at, at + size);
      parts.push(Buffer.from(`${piece.length.toString(at % 2 ? 16 : 16).toUpperCase()}\r\n`), piece, Buffer.from('\r\n'));
    }
    await onConnection(async (client) => {
      client.send(post('transfer-encoding: Chunked\r\n'));
      client.send(Buffer.concat([...parts, Buffer.from('0\r\ntrailer: ignored\r\n\r\n')]));
      assert.equal((await client.answer()).status, 200);
      assert.ok(raw.calls.at(-1).body.equals(payload), `pieces of ${size}`);
      assert.equal(raw.calls.at(-1).length, payload.length);
      client.send(head(CALL, 0).replace(`content-length: 0`, `content-length: ${body.length}`) + body);
      assert.equal(said(await client.answer()), 'smuggled', 'the connection goes on');
    });
  }
});

proven('Expect: 100-continue is answered, then the request is; also where the body comes at once or not at all', async () => {
  await onConnection(async (client) => {
    client.send(head(CALL, body.length, 'expect: 100-continue\r\n'));
    assert.equal((await client.answer()).status, 100);
    client.send(body);
    assert.equal(said(await client.answer()), 'smuggled');
    client.send(head(CALL, body.length, 'expect: 100-continue\r\n') + body);
    let answer = await client.answer();
    if (answer.status === 100) answer = await client.answer();
    assert.equal(said(answer), 'smuggled');
    client.send(head(CALL, 5 << 20, 'expect: 100-continue\r\n'));
    assertError(await client.answer(), 413, 'request_too_large');
    await client.ended();
  });
});

proven('HTTP/1.0: an answer with a length, a stream that ends with the connection, and keep-alive on request', async () => {
  const old = (more, fields = '') => { const b = chat(more); return `POST ${CALL} HTTP/1.0\r\n${fields}content-length: ${b.length}\r\n\r\n${b}`; };
  await onConnection(async (client) => {
    client.send(old({ user: 'one' }));
    assert.equal(said(await client.answer()), 'one');
    await client.ended();
  });
  await onConnection(async (client) => {
    client.send(old({ user: 'one' }, 'connection: keep-alive\r\n') + old({ user: 'two' }));
    const first = await client.answer();
    assert.equal(first.headers.connection, 'keep-alive');
    assert.equal(said(await client.answer()), 'two');
    await client.ended();
  });
  raw.behave = (c) => c.stream('a', 'b');
  await onConnection(async (client) => {
    client.send(old({ stream: true }, 'connection: keep-alive\r\n'));
    const answer = await client.answer();
    assert.equal(answer.headers['transfer-encoding'], undefined);
    assert.ok(contents(answer) === 'ab' && events(answer).at(-1) === '[DONE]', answer.text);
    assert.equal(client.over, 'end');
  });
  raw.behave = (c) => { c.send('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n').then(() => c.end()); };
  await onConnection(async (client) => {
    client.send(old({ stream: true }));
    await client.ended();
    assert.equal(client.over, 'reset', 'a broken stream does not end in order where only the connection\'s end says so');
  });
});

proven('HEAD is GET without a body, and the connection goes on', async () => {
  for (const path of ['/health', '/ready', '/v1/models', '/v1/models/m', '/v1/none']) {
    await onConnection(async (client) => {
      client.send(`HEAD ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\nGET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`);
      const bare = await client.answer({ headOnly: true }), full = await client.answer();
      assert.equal(bare.status, full.status);
      assert.equal(bare.headers['content-length'], path === '/v1/none' ? bare.headers['content-length'] : String(full.body.length));
    });
  }
});

proven('empty lines before a request are skipped; bytes behind "connection: close" are not read', async () => {
  await onConnection(async (client) => {
    client.send('\r\n\r\n' + head(CALL, body.length) + body);
    assert.equal(said(await client.answer()), 'smuggled');
  });
  raw.forget();
  await onConnection(async (client) => {
    client.send(head(CALL, body.length, 'connection: close\r\n') + body + hidden);
    assert.equal(said(await client.answer()), 'smuggled');
    await client.ended();
    assert.equal(client.bytes.length, 0);
    assert.equal(raw.calls.length, 1);
  });
});

// ---- too much ----

proven('33: too large a head, too many fields, too long a URL, too large a body: refused before it is stored', async () => {
  const cases = [
    [431, post(`x: ${'y'.repeat(40000)}\r\ncontent-length: ${body.length}\r\n`, body)],
    [431, post(`${'x: y\r\n'.repeat(200)}content-length: ${body.length}\r\n`, body)],
    [431, post(`${'x'.repeat(70000)}: y\r\n`)],
    [414, `GET /${'x'.repeat(10000)} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`],
    [413, head(CALL, (1 << 20) + 1)],
    [413, head(CALL, 2 ** 62)],
    [413, post('transfer-encoding: chunked\r\n', `${(2 << 20).toString(16)}\r\n${'x'.repeat(1200000)}`)],
  ];
  for (const [status, message] of cases) {
    await onConnection(async (client) => {
      client.send(message);
      const answer = await client.answer();
      assertError(answer, status);
      assert.equal(answer.headers.connection, 'close');
      await client.ended();
    });
  }
  assert.equal(raw.bytes.length, 0);
});

proven('33: endless heads and bodies on 100 connections add little memory', async () => {
  const before = memory(valet.program.pid), clients = [];
  for (let i = 0; i < 100; i++) clients.push(await Client.connect(valet.port));
  for (const [i, client] of clients.entries()) client.send(i % 2 ? head(CALL, 2 ** 40) + 'x'.repeat(200000) : `GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ${'y'.repeat(200000)}`);
  for (const client of clients) await until('refused', () => client.text.startsWith('HTTP/1.1 4') || client.over);
  const grown = memory(valet.program.pid) - before;
  for (const client of clients) client.close();
  assert.ok(grown < 8 << 20, `${grown >> 10} KiB`);
});

proven('33: memory for a body follows what has come of it, not what was announced', async () => {
  const big = await Promise.all(Array.from({ length: 50 }, () => Client.connect(valet.port)));
  const before = memory(valet.program.pid);
  for (const client of big) client.send(head(CALL, 1 << 20) + '{');
  await until('they are there', async () => await valet.metric('valet_connections') >= 50);
  const grown = memory(valet.program.pid) - before;
  for (const client of big) client.close();
  assert.ok(grown < 50 * 100 * 1024, `${grown >> 10} KiB for 50 MiB announced`);
});
