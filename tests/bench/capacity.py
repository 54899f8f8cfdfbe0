"""capacity.py - ./dev bench --only capacity,queue: is the fair queue fair, are all engines used, does affinity pay?

Loads come from plans (load_open.c) and go through Valet to simulated engines with places, a pace, and prompt caches. What
these numbers measure is scheduling; the machine's speed matters little as long as it is not busy with others.

SPDX-License-Identifier: Apache-2.0
"""
import bisect
import json
import os
import random
import statistics
import subprocess
import urllib.request

BLOCK = 64        # bytes, of the simulated cache
OVERHEAD = 34     # bytes of a message around its text, about
PARTS = ("flood", "shares", "balance", "affinity", "line")


def share(values, part):
    """The value below which that share of them lies."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


class Row:
    """A line of results: what was planned and what became of it, times in seconds."""

    def __init__(self, line):
        group, key, planned, sent, first, end, status = map(int, line.split())
        self.group, self.key, self.status = group, key, status
        self.planned, self.sent, self.first, self.end = (t / 1e6 for t in (planned, sent, first, end))

    @property
    def ttft(self):
        return (self.first or self.end) - self.planned


# ---- the stage: engines and Valet ----


class Stage:
    """Some engines and Valet before them; everything stops at its end."""

    def __init__(self, bench, engines, settings="", keys=()):
        self.bench = bench
        self.sims = [self.start_engine(**engine) for engine in engines]
        self.port, self.admin = bench.free_port(), bench.free_port()
        self.state = bench.path(f"capacity-{self.port}")
        os.mkdir(self.state)
        self.secrets = [self.make_key(i, weight) for i, weight in enumerate(keys)]
        self.start_valet([engine.get("slots", 4) for engine in engines], settings)

    def start_engine(self, slots=4, ttft=0, rate=0, prefill=0, blocks=0):
        port = self.bench.free_port()
        argv = [self.bench.sim, "--port", port, "--models", "m1=ctx100000", "--tokens", 100000, "--slots", slots, "--ttft-ms", ttft,
                "--tokens-per-second", rate, "--prefill-tps", prefill, "--cache-blocks", blocks, "--quiet"]
        child = self.bench.child("valet-sim", [str(word) for word in argv], self.bench.sim_core)
        child.port = port
        child.wait_port(port)
        return child

    def make_key(self, i, weight):
        made = subprocess.run([self.bench.valet, "key", "create", f"key{i}", "--quiet", "--weight", str(weight), "--state", self.state],
                              stdout=subprocess.PIPE, text=True, check=True)
        return made.stdout.strip()

    def start_valet(self, slots, settings):
        config = self.bench.path(f"capacity-{self.port}.yaml")
        with open(config, "w") as file:
            file.write(f"listen: 127.0.0.1:{self.port}\nadmin_listen: 127.0.0.1:{self.admin}\nauth: {'keys' if self.secrets else 'off'}\n"
                       "discovery: off\ndiscovery_interval: 1h\ntimeouts: { drain: 0ms }\nlog: { requests: off }\n" + settings + "targets:\n")
            for i, sim in enumerate(self.sims):
                file.write(f"  - {{ name: engine{i}, kind: openai, url: 'http://127.0.0.1:{sim.port}', max_concurrency: {slots[i]} }}\n")
            file.write("models:\n  - { name: m1, targets: [" + ", ".join(f"engine{i}" for i in range(len(self.sims))) + "] }\n")
        self.valet = self.bench.child("valet", [self.bench.valet, "serve", "-c", config, "--state", self.state, "--workers", "1"], self.bench.proxy_core)
        self.valet.port = self.port
        self.valet.wait_port(self.port)
        headers = [f"authorization: Bearer {self.secrets[0]}"] if self.secrets else []
        self.bench.wait_answer(self.valet, "m1", headers)

    def run(self, plan, seconds):
        """Plays the plan; rows in its order."""
        path, results = self.bench.path("plan"), self.bench.path("results")
        with open(path, "w") as file:
            file.writelines(line + "\n" for line in plan)
        self.before = [self.stats(sim) for sim in self.sims]
        argv = self.bench.load_argv("open", self.port, {"plan": path, "results": results, "key": self.secrets, "model": "m1", "connections": 8000,
                                                        "seconds": seconds})
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=self.bench.on_load_core)
        if done.returncode:
            raise RuntimeError(f"valet-load: {done.stderr}\n{self.valet.complaint()}")
        with open(results) as file:
            return [Row(line) for line in file]

    def stats(self, sim, where="stats"):
        with urllib.request.urlopen(f"http://127.0.0.1:{sim.port}/sim/{where}") as answer:
            return json.load(answer)

    def cached_share(self):
        """Of the tokens of all prompts since run() began."""
        now = [self.stats(sim) for sim in self.sims]
        total = {name: sum(a[name] - b[name] for a, b in zip(now, self.before)) for name in ("cached_tokens", "prompt_tokens")}
        return total["cached_tokens"] / max(1, total["prompt_tokens"])

    def busy_share(self, begin, end):
        """Of all places in that window (seconds of run(), whose clock begins with the first entry): how much was in use."""
        entries = [self.stats(sim, "log")["entries"] for sim in self.sims]
        start = min(e["begun_us"] for list_ in entries for e in list_)
        lo, hi = start + begin * 1e6, start + end * 1e6
        used = sum(max(0, min(e["ended_us"], hi) - max(e["begun_us"], lo)) for list_ in entries for e in list_)
        return used / (hi - lo)

    def reset(self):
        for sim in self.sims:
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{sim.port}/sim/reset", method="POST")).close()

    def stop(self):
        for child in [self.valet, *self.sims]:
            child.stop()


def shot(at, group=0, key="-", tokens=20, stream=1, after="-", think=0, messages=()):
    return f"{at * 1e3:.3f} {group} {key} {tokens} {stream} {after} {think * 1e3:.3f} " + " ".join(messages)


def steady(rate, seconds, rng, begin=0, **options):
    """Arrivals at a constant rate, each somewhere in its own interval."""
    return [(at, shot(at, **options)) for at in (begin + (i + rng.random()) / rate for i in range(int(rate * seconds)))]


def in_order(*lists):
    return [line for _, line in sorted(entry for list_ in lists for entry in list_)]


# ---- one key floods ----


def flood(bench, samples, turn):
    """8 places of 100 ms: 80 requests a second, a share of 40 for each of two keys. One asks for 15, the other for 50 times its share."""
    seconds = 6 if bench.args.quick else 20
    stage = Stage(bench, [{"slots": 8, "ttft": 20, "rate": 250}], "queue: { per_key: 1000, max_wait: 60s }\n", keys=(100, 100))
    rng = random.Random(turn)
    victim = {"group": 1, "key": 1, "messages": ["u:1:300"]}
    alone = stage.run(in_order(steady(15, seconds, rng, **victim)), seconds + 10)
    flooding = steady(2000, seconds + 1, rng, group=0, key=0, messages=["u:2:300"])
    stage.reset()
    flooded = stage.run(in_order(flooding, steady(15, seconds, rng, begin=1, **victim)), seconds + 40)
    own, beside = [r for r in alone if r.group == 1], [r for r in flooded if r.group == 1]
    lost = sum(r.status != 200 for r in own + beside)
    service = statistics.median(r.end - r.sent for r in own)
    p99 = share([r.ttft for r in own], 0.99), share([r.ttft for r in beside], 0.99)
    served = [r for r in flooded if r.status == 200]
    samples.add("flood_factor", "valet", (p99[1] - service) / p99[0])
    samples.add("flood_lost", "valet", lost)
    samples.add("flood_p99", "valet", p99[1] * 1e3)
    busy = stage.busy_share(1.5, seconds) / 8
    samples.add("flood_busy", "valet", 100 * busy)
    bench.say(f"flood    round {turn + 1}  {len(beside)} requests: p99 to the first token {p99[0] * 1e3:.1f} ms alone, {p99[1] * 1e3:.1f} in the flood; "
              f"service {service * 1e3:.1f} ms; {lost} lost; {len(served)} of {len(flooded)} served; places in use {100 * busy:.1f} %")
    stage.stop()


# ---- shares ----


def shares(bench, samples, turn):
    """Two keys that always wait, one with long prompts and short answers, one the other way round."""
    seconds = 6 if bench.args.quick else 15
    for weights, name in (((100, 100), "1_1"), ((100, 300), "1_3")):
        slots = 8
        stage = Stage(bench, [{"slots": slots, "ttft": 10, "rate": 500}], keys=weights)
        rng = random.Random(turn)
        kinds = [{"group": 0, "key": 0, "tokens": 10, "messages": ["u:1:1600"]}, {"group": 1, "key": 1, "tokens": 60, "messages": ["u:2:200"]}]
        plan = in_order(*(steady(150 if k["key"] else 400, seconds, rng, **k) for k in kinds))
        rows = stage.run(plan, seconds + 0.5)
        log = stage.stats(stage.sims[0], "log")["entries"]
        cost = [statistics.median(e["prompt_tokens"] + 2 * e["completion_tokens"] for e in log if e["completion_tokens"] == kind["tokens"]) for kind in kinds]
        begin, worst, served = 1.0, 0.0, [0.0, 0.0]
        done = sorted((r for r in rows if r.status == 200 and begin <= r.end <= seconds), key=lambda r: r.end)
        for r in done:
            served[r.group] += cost[r.group] / (weights[r.group] / 100)
            worst = max(worst, abs(served[0] - served[1]))
        bound = 2 * max(max(cost[i] - 2 * kinds[i]["tokens"] for i in (0, 1)), max(2 * k["tokens"] * slots / (w / 100) for k, w in zip(kinds, weights)))
        samples.add(f"shares_{name}", "valet", worst / bound)
        raw = [served[i] * weights[i] for i in (0, 1)]
        samples.add(f"shares_{name}_ratio", "valet", raw[1] / raw[0])
        busy = stage.busy_share(begin, seconds) / slots
        samples.add("shares_busy", "valet", 100 * busy)
        bench.say(f"shares   round {turn + 1}  weights {weights[0]}:{weights[1]}: tokens 1:{raw[1] / raw[0]:.3f}; largest difference {worst:.0f} of {bound:.0f} allowed; "
                  f"places in use {100 * busy:.1f} %")
        stage.stop()


# ---- more than one engine ----


def balance(bench, samples, turn):
    seconds = 4 if bench.args.quick else 10
    slow, fast = {"slots": 8, "ttft": 30, "rate": 100}, {"slots": 8, "ttft": 10, "rate": 300}
    rates = {}
    for name, engines in (("one", [slow]), ("fast", [fast]), ("two", [slow, slow]), ("uneven", [slow, fast])):
        stage = Stage(bench, engines)
        result = bench.measure("rps", stage.valet, stage.sims, connections=96, seconds=seconds, warmup=1, max_tokens=9)
        rates[name] = result["rate"]
        stage.stop()
    samples.add("balance_two", "valet", rates["two"] / rates["one"])
    samples.add("balance_uneven", "valet", 100 * rates["uneven"] / (rates["one"] + rates["fast"]))
    bench.say(f"balance  round {turn + 1}  " + "  ".join(f"{name} {rate:.1f}/s" for name, rate in rates.items()))


# ---- prompts that share a beginning ----


def talks(rate, seconds, rng, turns=16, think=0.5, system=6000, question=300, reply=300):
    """Conversations: each turn holds all before it. The plan, and for each request its messages."""
    plan, contents = [], []
    seed = 1
    for n in range(int(rate * seconds)):
        at = (n + rng.random()) / rate
        messages = [f"s:{seed}:{system}"]
        seed += 1
        for i in range(turns):
            messages.append(f"u:{seed}:{question}")
            plan.append((at, n, i, list(messages), rng.uniform(0.5, 1.5) * think))
            messages.append(f"a:{seed + 1}:{reply}")
            seed += 2
    lines = []
    for at, n, i, messages, pause in plan:
        lines.append(shot(at, group=n, after=len(lines) - 1 if i else "-", think=pause, messages=messages))
        contents.append(messages)
    return lines, contents


def prompts(rate, seconds, rng, count=192, size=8000):
    """Few long prompts with many questions."""
    entries = []
    for n in range(int(rate * seconds)):
        which = rng.randrange(count)
        entries.append(((n + rng.random()) / rate, which, [f"s:{which + 1}:{size}", f"u:{1000 + n}:200"]))
    entries.sort()
    return [shot(at, group=which, messages=m) for at, which, m in entries], [m for _, _, m in entries]


def strangers(rate, seconds, rng):
    entries = [((n + rng.random()) / rate, 0, [f"s:{2 * n + 1}:1500", f"u:{2 * n + 2}:200"]) for n in range(int(rate * seconds))]
    entries.sort()
    return [shot(at, messages=m) for at, _, m in entries], [m for _, _, m in entries]


def blocks_of(messages):
    """Names of the blocks of a prompt: equal where everything up to their end is equal."""
    ends, names, total, name = [], [], 0, 0
    for message in messages:
        total += int(message.rsplit(":", 1)[1]) + OVERHEAD
        name = hash((name, message))
        ends.append(total)
        names.append(name)
    return [(names[bisect.bisect_left(ends, (k + 1) * BLOCK)], k) for k in range(total // BLOCK)]


def oracle(rows, contents, engines, blocks):
    """Share of cached tokens where each talk or prompt has one engine for itself: caches as the engines have them, requests in the order in which they were sent."""
    caches = [{} for _ in range(engines)]
    hits = total = 0
    for index in sorted(range(len(rows)), key=lambda i: rows[i].sent):
        if not rows[index].sent:
            continue
        cache, names, known = caches[rows[index].group % engines], blocks_of(contents[index]), True
        for name in names:
            known = known and name in cache
            hits += known
            cache.pop(name, None)
            cache[name] = True
            if len(cache) > blocks:
                del cache[next(iter(cache))]
        total += sum(int(m.rsplit(":", 1)[1]) + OVERHEAD for m in contents[index]) / BLOCK
    return hits / total


ENGINES, ENGINE = 4, {"slots": 16, "ttft": 10, "rate": 400, "prefill": 4000, "blocks": 10000}
WAYS = {"round_robin": "routing: { strategy: round_robin, affinity: off }\n", "least_busy": "routing: { strategy: least_busy, affinity: off }\n",
        "affinity": "routing: { strategy: capacity, affinity: on }\n"}
WORKLOADS = {"talks": talks, "prompts": prompts, "strangers": strangers}
# conversations, requests, requests a second: about half of what the engines can do where all that can be cached is
RATES = {"talks": 14, "prompts": 360, "strangers": 88}


def play(bench, workload, way, rate, seconds, seed):
    stage = Stage(bench, [ENGINE] * ENGINES, WAYS[way] + "queue: { max_wait: 10m, total: 100000, per_key: 100000 }\n")
    lines, contents = WORKLOADS[workload](rate, seconds, random.Random(seed))
    rows = stage.run(lines, seconds * 1.25)
    begin, end = seconds * 0.3, seconds * 1.2
    seen = [r for r in rows if r.sent and begin <= r.planned <= seconds]
    # One that has no first token by the end has waited at least so long.
    waits = [r.ttft if r.end else end - r.planned for r in seen]
    result = {"p90": share(waits, 0.9), "p50": share(waits, 0.5), "rate": sum(r.status == 200 and begin <= r.end <= seconds for r in rows) / (seconds - begin),
              "hits": stage.cached_share(), "oracle": oracle(rows, contents, ENGINES, ENGINE["blocks"]), "failed": sum(r.end > 0 and r.status != 200 for r in rows)}
    stage.stop()
    bench.say(f"         {workload:9} {way:11} at {rate:5.1f}/s: p50 {result['p50'] * 1e3:7.1f} ms, p90 {result['p90'] * 1e3:8.1f} ms to the first token, {result['rate']:6.1f} answers/s, "
              f"cached {100 * result['hits']:.1f} % (oracle {100 * result['oracle']:.1f} %), {result['failed']} failed")
    return result


def affinity(bench, samples, turn):
    """Caches hold a quarter of all that is in use, or a little more: where each engine sees everything, it has forgotten most of it when it is asked again."""
    seconds = 15 if bench.args.quick else 30
    for workload in ("talks", "prompts"):
        with_, without = (play(bench, workload, way, RATES[workload], seconds, turn) for way in ("affinity", "round_robin"))
        samples.add(f"{workload}_rate", "valet", with_["rate"] / without["rate"])
        samples.add(f"{workload}_p90", "valet", without["p90"] / with_["p90"])
        samples.add(f"{workload}_gain", "valet", max(with_["rate"] / without["rate"] / 2, without["p90"] / with_["p90"] / 5))
        samples.add(f"{workload}_hits", "valet", 100 * with_["hits"] / with_["oracle"])
    with_, without = (play(bench, "strangers", way, RATES["strangers"], seconds, turn) for way in ("affinity", "least_busy"))
    samples.add("strangers_p90", "valet", with_["p90"] / without["p90"])
    samples.add("strangers_rate", "valet", with_["rate"] / without["rate"])


def line(bench, samples, turn):
    """The same beyond what the engines can do: a line forms, and places are handed out from it."""
    seconds = 10 if bench.args.quick else 25
    for workload in ("prompts",):
        result = {way: play(bench, workload, way, 2.5 * RATES[workload], seconds, turn) for way in ("affinity", "round_robin")}
        samples.add(f"line_{workload}_rate", "valet", result["affinity"]["rate"] / result["round_robin"]["rate"])
        samples.add(f"line_{workload}_hits", "valet", 100 * result["affinity"]["hits"] / result["affinity"]["oracle"])


def scenario_capacity(bench, samples):
    for turn in range(bench.args.rounds if bench.args.rounds < 5 else 3):
        for part in bench.args.parts:
            globals()[part](bench, samples, turn)


def scenario_queue(bench, samples):
    """What a place and a ticket cost, in nanoseconds; 10,000 wait."""
    program = bench.built("valet-bench-queue", needed=True)
    for turn in range(bench.args.rounds):
        done = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True, preexec_fn=bench.on_proxy_core)
        for text in done.stdout.splitlines():
            name, ns = text.split()
            samples.add("queue_" + name, "valet", float(ns) / 1e3)
        bench.say(f"queue    round {turn + 1}  " + "  ".join(done.stdout.split("\n")))


def rows(at_most, at_least, never):
    """For the table: scenario, metric, text, digits, target, check."""
    several = [("1", "1 key"), ("100", "100 keys"), ("10000", "10,000 keys")]
    return (
        *(("queue", f"queue_{what}_{n}", f"{what}, 10,000 wait, {text}, µs", 2, "≤ 5" if what != "position" else "", at_most(f"queue_{what}_{n}", 5) if what != "position" else None)
          for what in ("enter", "grant", "leave", "position") for n, text in several),
        ("queue", "queue_free_place", "a place, nobody waits, µs", 3, "≤ 1", at_most("queue_free_place", 1)),
        ("queue", "queue_free_chosen", "the same, one of 8 chosen, µs", 3, "≤ 1", at_most("queue_free_chosen", 1)),
        ("queue", "queue_prefix", "who has a prompt of 4 KiB, µs", 3, "≤ 1", at_most("queue_prefix", 1)),
        ("queue", "queue_charge", "charging a key, µs", 3, "", None),
        ("capacity", "flood_factor", "flood: (p99 - a service) / alone", 2, "≤ 1.2", at_most("flood_factor", 1.2)),
        ("capacity", "flood_p99", "p99 to the first token, ms", 1, "", None),
        ("capacity", "flood_lost", "the other key's, not answered", 0, "0", never("flood_lost")),
        ("capacity", "flood_busy", "places in use, %", 1, "≥ 95", at_least("flood_busy", 95)),
        ("capacity", "shares_1_1", "weights 1:1, of the VTC bound", 2, "≤ 1", at_most("shares_1_1", 1)),
        ("capacity", "shares_1_3", "weights 1:3, of the VTC bound", 2, "≤ 1", at_most("shares_1_3", 1)),
        ("capacity", "shares_1_3_ratio", "their tokens, to 1", 2, "", None),
        ("capacity", "shares_busy", "places in use, %", 1, "≥ 95", at_least("shares_busy", 95)),
        ("capacity", "balance_two", "two engines to one", 3, "≥ 1.95", at_least("balance_two", 1.95)),
        ("capacity", "balance_uneven", "speeds 1 and 3, % of their sum", 1, "≥ 95", at_least("balance_uneven", 95)),
        *(("capacity", f"{name}_{metric}", f"{name}: {text}", 2, target, at_least(f"{name}_{metric}", limit) if limit else None)
          for name in ("talks", "prompts") for metric, text, target, limit in (
              ("gain", "of what is promised", "≥ 1", 1), ("rate", "rate, to round robin", "(≥ 2 or)", None), ("p90", "p90 first token, to it", "(≥ 5)", None),
              ("hits", "cached, % of an oracle", "≥ 95", 95))),
        ("capacity", "strangers_p90", "nothing shared: p90, to least busy", 2, "≤ 1.05", at_most("strangers_p90", 1.05)),
        ("capacity", "strangers_rate", "the same: rate", 2, "≥ 0.98", at_least("strangers_rate", 0.98)),
        *(("capacity", f"line_{name}_{metric}", f"in a line, {name}: {text}", 2, target, at_least(f"line_{name}_{metric}", limit) if limit else None)
          for name in ("prompts",) for metric, text, target, limit in (("rate", "rate, to round robin", "≥ 2", 2), ("hits", "cached, % of an oracle", "≥ 95", 95))),
    )
