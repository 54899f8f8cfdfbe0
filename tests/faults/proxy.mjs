// proxy.mjs - a TCP proxy between Valet and an engine that can delay, stall, cut, reset and garble what the engine answers.
//
// A fault is armed for the next connections that carry a call (not for those that look for models): `proxy.arm({ after, what, delay,
// count })` strikes once `after` bytes of answers have passed on the connection. Without a fault it is a wire.
//
// SPDX-License-Identifier: Apache-2.0
import net from 'node:net';

export class Proxy {
  static async start(port, host = '127.0.0.1') {
    const proxy = new Proxy();
    Object.assign(proxy, { target: { port, host }, live: new Set(), faults: [], struck: 0, heard: null });
    proxy.server = net.createServer({ noDelay: true, allowHalfOpen: true }, (client) => proxy.serve(client));
    await new Promise((resolve, reject) => proxy.server.once('error', reject).listen(0, host, resolve));
    proxy.server.unref(); // a file whose Valet has died ends, too
    proxy.port = proxy.server.address().port;
    proxy.url = `http://${host}:${proxy.port}/v1`;
    return proxy;
  }

  get open() { return this.live.size; }

  // what: 'cut' (FIN), 'reset' (RST), 'stall' (no byte more), 'garble' (turns bits of the bytes that follow), 'delay' (`delay` ms before each piece).
  arm(fault) { this.faults.push({ after: 0, count: 1, delay: 0, ...fault }); }
  disarm() { this.faults = []; for (const link of this.live) { link.fault = null; } }

  // The same for the connections that are there now, whatever they carry: TLS hides where a call begins.
  strike(fault) { for (const link of this.live) Object.assign(link, { passed: 0, fault: { delay: 0, ...fault } }); }

  next() {
    const fault = this.faults[0];
    if (fault && --fault.count === 0) this.faults.shift();
    return fault ?? null;
  }

  serve(client) {
    const engine = net.connect({ ...this.target, noDelay: true, allowHalfOpen: true });
    client.unref();
    engine.unref();
    const link = { client, engine, fault: null, asked: false, passed: 0, queue: Promise.resolve() };
    this.live.add(link);
    const over = () => { client.destroy(); engine.destroy(); this.live.delete(link); };
    for (const socket of [client, engine]) socket.on('error', over).on('close', over);
    client.on('data', (data) => {
      this.heard?.push(data); // an array here keeps what Valet sends
      if (data.subarray(0, 5).toString() === 'POST ') { // a call begins; kept connections carry several
        link.passed = 0;
        link.fault = this.next();
      }
      if (!engine.write(data)) client.pause();
    });
    engine.on('drain', () => client.resume());
    client.on('end', () => engine.end());
    engine.on('data', (data) => this.pass(link, data));
    engine.on('end', () => { link.queue = link.queue.then(() => client.end()); });
    client.on('drain', () => engine.resume());
  }

  pass(link, data) {
    const { fault, client } = link;
    if (!fault) {
      this.write(link, data);
    } else if (fault.what === 'delay') {
      link.queue = link.queue.then(() => new Promise((done) => setTimeout(done, fault.delay))).then(() => this.write(link, data));
    } else if (link.passed + data.length <= fault.after) {
      this.write(link, data);
    } else {
      const good = data.subarray(0, Math.max(0, fault.after - link.passed));
      if (fault.what === 'garble') {
        this.write(link, Buffer.concat([good, Buffer.from(data.subarray(good.length).map((byte) => byte ^ 0x5a))]));
      } else if (!fault.done) {
        this.struck++;
        this.write(link, good, () => {
          if (fault.what === 'reset') client.resetAndDestroy();
          if (fault.what === 'cut') client.end();
        });
        link.fault = { ...fault, done: true };
      }
    }
    link.passed += data.length;
  }

  write({ client, engine }, data, then) {
    if (!client.destroyed && !client.write(data, then)) engine.pause();
  }

  stop() {
    for (const { client } of this.live) client.destroy();
    return new Promise((resolve) => this.server.close(resolve));
  }
}
