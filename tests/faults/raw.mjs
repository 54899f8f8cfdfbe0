// raw.mjs - an upstream that is a script: what it does with a connection is a function of the test, and every byte it gets is kept.
//
// `behave(connection, request)` is called for each whole request (Valet sends every body with a Content-Length). `atConnect` may take a
// connection over at once, `atHead` a request before its body is read (return true). Valet's look for models is answered here and
// recorded nowhere, so that `bytes` are those of real calls alone.
//
// SPDX-License-Identifier: Apache-2.0
import net from 'node:net';
import tls from 'node:tls';

const PROBE = /^GET \S+ HTTP\/1\.1\r\n/;
const PROBE_PATHS = new Set(['/v1/models']);

export const chunk = (data) => Buffer.concat([Buffer.from(Buffer.byteLength(data).toString(16) + '\r\n'), Buffer.from(data), Buffer.from('\r\n')]);
export const event = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
export const piece = (content, more = {}) => event({ id: 'c-1', object: 'chat.completion.chunk', created: 1, model: 'm',
  choices: [{ index: 0, delta: { content }, finish_reason: null }], ...more });
export const finish = () => event({ id: 'c-1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
export const usage = (value = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 }) =>
  event({ id: 'c-1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [], usage: value });
export const completion = (content = 'fine', more = {}) => JSON.stringify({ id: 'c-1', object: 'chat.completion', created: 1, model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 }, ...more });
export const STREAM_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';

class Connection {
  constructor(owner, socket) {
    this.owner = owner;
    this.socket = socket;
    this.number = ++owner.connections;
    this.parts = [];
    this.size = 0;
    this.heard = [];     // everything that came on it, unless it is one that only looks for models
    this.requests = 0;
    this.closed = new Promise((resolve) => socket.on('close', resolve));
    socket.on('error', () => {});
  }

  // Bytes as they are. Resolves when the socket has taken them; false: it is closed.
  send(bytes) {
    return new Promise((resolve) => {
      if (this.socket.destroyed || this.socket.writableEnded) resolve(false);
      else this.socket.write(bytes, (error) => resolve(!error));
    });
  }

  answer(body, { status = 200, type = 'application/json', fields = '' } = {}) {
    return this.send(`HTTP/1.1 ${status} X\r\ncontent-type: ${type}\r\n${fields}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  }

  // A stream that is whole: the given events, the end of the answer, [DONE].
  stream(...texts) {
    return this.send(STREAM_HEAD + [...texts.map((text) => piece(text)), finish(), usage(), event('[DONE]')].map((e) => chunk(e).toString()).join('') + '0\r\n\r\n');
  }

  end() { this.socket.end(); }
  reset() { this.socket.resetAndDestroy?.(); }
  destroy() { this.socket.destroy(); }

  feed(data) {
    this.parts.push(data);
    this.size += data.length;
    while (this.current || this.takeHead()) {
      const { current } = this, whole = current.head.length + current.length;
      if (this.size < whole) return;
      const bytes = this.join();
      current.body = Buffer.from(bytes.subarray(current.head.length, whole));
      this.keep(bytes.subarray(whole));
      this.current = null;
      this.owner.behave(this, current);
    }
  }

  join() { return this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts); }
  keep(bytes) { [this.parts, this.size] = [bytes.length ? [bytes] : [], bytes.length]; }

  // True: a call's head is here and its body is wanted.
  takeHead() {
    for (;;) {
      const bytes = this.join(), end = bytes.indexOf('\r\n\r\n');
      if (this.size === 0 || end < 0) return false;
      const head = bytes.subarray(0, end + 4).toString('latin1'), [method, path] = head.split(' ', 2);
      if (this.probe(head)) {
        this.keep(bytes.subarray(end + 4));
        continue;
      }
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      this.current = { method, path, head, length, body: null, at: performance.now(), connection: this };
      this.owner.calls.push(this.current);
      this.requests++;
      return !this.owner.atHead?.(this, this.current);
    }
  }

  probe(head) {
    if (!PROBE.test(head) || !PROBE_PATHS.has(head.split(' ', 2)[1])) return false;
    this.heard = [];
    const list = JSON.stringify({ object: 'list', data: this.owner.models.map((id) => ({ id, object: 'model' })) });
    this.answer(list);
    return true;
  }
}

export class Raw {
  static async start({ models = ['m'], behave = (c) => c.answer(completion()), secure = null, host = '127.0.0.1' } = {}) {
    const raw = new Raw();
    Object.assign(raw, { models, behave, calls: [], connections: 0, live: new Set(), past: [], atConnect: null, atHead: null, secure });
    const serve = (socket) => raw.serve(socket);
    raw.server = secure ? tls.createServer(secure, serve) : net.createServer({ noDelay: true }, serve);
    raw.server.on('tlsClientError', () => {});
    await new Promise((resolve, reject) => raw.server.once('error', reject).listen(0, host, resolve));
    raw.server.unref(); // a file whose Valet has died ends, too
    raw.port = raw.server.address().port;
    raw.url = `${secure ? 'https' : 'http'}://127.0.0.1:${raw.port}/v1`;
    return raw;
  }

  serve(socket) {
    const c = new Connection(this, socket.unref());
    this.live.add(c);
    socket.on('close', () => { this.live.delete(c); if (c.heard.length) this.past.push(...c.heard); });
    if (this.atConnect?.(c)) return;
    socket.on('data', (data) => { c.heard.push(data); c.feed(data); });
    socket.on('end', () => socket.end());
  }

  get open() { return this.live.size; }
  // Every byte of calls so far.
  get bytes() { return Buffer.concat([...this.past, ...[...this.live].flatMap((c) => c.heard)]); }

  forget() {
    this.calls = [];
    this.past = [];
    for (const c of this.live) c.heard = [];
  }

  stop() {
    for (const c of this.live) c.destroy();
    return new Promise((resolve) => this.server.close(resolve));
  }
}
