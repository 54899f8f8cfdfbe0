#!/usr/bin/env python3
"""run.py - ./dev bench: Valet, nginx and HAProxy side by side before one simulator, in one run

Starts everything on 127.0.0.1, measures in interleaved rounds, prints one table and writes
bench/results/. README.md says what the rows mean. Standard library only.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import atexit
import ctypes
import datetime
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import capacity

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LOAD_SOURCES = [os.path.join(HERE, name) for name in
                ("load.c", "load_conn.c", "load_hist.c", "load_open.c", "load_request.c", "load.h")]
PROXIES = ("valet", "nginx", "haproxy")
LEFTOVERS = "valet-bench-"
OWN = {"capacity", "keys", "queue"}  # scenarios without the other proxies
IDLE_STREAMS = 5000
MANY = 4096
PROMPT_BYTES = 220 * 1024
QUIET_CORES = 0.1  # of CPU for other programs do not count as a disturbance
SIM_MODEL = "m1=ctx1000000"  # its context holds the long prompt
ROUTE_TARGETS, ROUTE_MODELS = 1000, 10000


# Like the others: nothing but the proxying runs, and no time-out ends a stream. One log line a
# request, as always. The models stand in the file, so that none depends on what an engine lists.
VALET_SETTINGS = """\
auth: off
admin_listen: off
forward_headers: ["x-sim-*"]
discovery: off
discovery_interval: 1h
timeouts: { first_byte: 1h, idle: 1h, total: 2h, client_idle: 1h, drain: 0ms }
targets:
"""


class BenchError(Exception):
    """The run cannot go on; the text says why."""


def say(text):
    print(text, flush=True)


# ---- processes ----

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
children = []


def prepare_child(core):
    """In the child: its core, and an end when we end."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.sched_setaffinity(0, {core})


def raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for limit in ((65536, max(65536, hard)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Child:
    """A process group of ours; stop() ends it, and so does the end of this program."""

    def __init__(self, name, argv, core, log, **options):
        self.name, self.log = name, log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                argv, stdin=options.get("stdin", subprocess.DEVNULL),
                stdout=options.get("stdout", output), stderr=output, text=True,
                start_new_session=True, preexec_fn=lambda: prepare_child(core))
        children.append(self)

    def pids(self):
        found = [self.process.pid]
        for pid in found:
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as file:
                    found += [int(word) for word in file.read().split()]
            except OSError:
                pass
        return found

    def complaint(self):
        with open(self.log, errors="replace") as file:
            return file.read()[-2000:]

    def wait_port(self, port, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise BenchError(f"{self.name} does not listen on port {port}:\n{self.complaint()}")

    def stop(self):
        if self not in children:
            return
        children.remove(self)
        for signum, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.process.pid, signum)
            except ProcessLookupError:
                break
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()


def stop_all():
    for child in list(reversed(children)):
        child.stop()


def remove_leftovers():
    """The folders of runs that were killed."""
    for entry in os.scandir(tempfile.gettempdir()):
        if not entry.name.startswith(LEFTOVERS):
            continue
        pid = entry.name[len(LEFTOVERS):].split("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(entry.path, ignore_errors=True)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def cpu_seconds(pids):
    """CPU time of whole processes; the kernel spells a process clock ~pid << 3 | 2."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def resident_kib(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += int(re.search(r"^Rss:\s+(\d+)", file.read(), re.M).group(1))
    return total


def machine_busy_seconds():
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, soft, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


# ---- the three proxies and the simulator ----


class Bench:
    def __init__(self, args):
        self.args = args
        self.proxies = [p for p in PROXIES if p not in args.skip and not set(args.only) <= OWN]
        remove_leftovers()
        self.dir = tempfile.mkdtemp(prefix=f"{LEFTOVERS}{os.getpid()}-")
        atexit.register(shutil.rmtree, self.dir, ignore_errors=True)
        atexit.register(stop_all)
        self.nofile = raise_file_limit()
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise BenchError("the bench needs two cores: one for the proxy, one for the rest")
        self.load_core, self.proxy_core = cores[0], cores[1]
        self.sim_core = cores[2] if len(cores) > 3 else cores[0]
        self.load = args.load or self.built("valet-load") or self.compile_load()
        self.sim = args.sim or self.built("valet-sim", needed=True)
        self.valet = args.valet or self.built("valet", needed="valet" in self.proxies or bool(set(args.only) & OWN))
        self.programs = {name: shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
                         for name in self.proxies if name != "valet"}
        for name, path in self.programs.items():
            if not path:
                raise BenchError(f"no {name} here: apt install nginx-light haproxy, "
                                 f"or --skip {name}")
        self.disturbance = []
        self.errors = []

    def built(self, name, needed=False):
        for folder in ("", "src", "sim", "tests/bench"):
            path = os.path.join(self.args.build, folder, name)
            if not os.path.isfile(path):
                continue
            if name != "valet-load" or os.path.getmtime(path) > max(map(os.path.getmtime,
                                                                        LOAD_SOURCES)):
                return path
        if needed:
            raise BenchError(f"no {name} under {self.args.build}: ./dev build")
        return None

    def compile_load(self):
        path = os.path.join(self.dir, "valet-load")
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o",
                        path, *LOAD_SOURCES[:-1]], check=True)
        return path

    def path(self, name):
        return os.path.join(self.dir, name)

    # for capacity.py
    say, free_port = staticmethod(say), staticmethod(free_port)

    def child(self, name, argv, core):
        return Child(name, argv, core, self.path(f"{name}.log"))

    def on_load_core(self):
        prepare_child(self.load_core)

    def on_proxy_core(self):
        prepare_child(self.proxy_core)

    def render(self, template, output, words):
        with open(os.path.join(HERE, template)) as file:
            text = file.read()
        body = text.split("SPDX-License-Identifier: Apache-2.0\n", 1)[1]
        for word, value in words.items():
            body = body.replace(f"@{word}@", str(value))
        with open(self.path(output), "w") as file:
            file.write(body)
        return self.path(output)

    def start_sim(self, tokens_per_second=0, tokens=16, models=1):
        port = free_port()
        names = ",".join(f"m{i}" for i in range(models)) if models > 1 else SIM_MODEL
        argv = [self.sim, "--port", str(port), "--dialect", "openai", "--models", names,
                "--tokens", str(tokens), "--tokens-per-second", str(tokens_per_second), "--quiet"]
        child = Child("valet-sim", argv, self.sim_core, self.path("sim.log"))
        child.port = port
        child.wait_port(port)
        return child

    def start(self, name, sim, streams=False, keepalive=512, targets=1, models=1, governed=False):
        port = free_port()
        words = {"PORT": port, "SIM_PORT": sim.port, "DIR": self.dir, "NOFILE": self.nofile,
                 "USER": "user root;" if os.getuid() == 0 else "", "KEEPALIVE": keepalive,
                 "BUFFERING": "off" if streams else "on",
                 "NO_DELAY": "option http-no-delay" if streams else "",
                 "ACCESS_LOG": "off" if self.args.no_access_log else
                 f"{self.dir}/nginx-access.log bench buffer=64k flush=1s"}
        if name == "nginx":
            config = self.render("nginx.conf.in", "nginx.conf", words)
            argv = [self.programs[name], "-e", self.path("nginx-error.log"), "-c", config]
        elif name == "haproxy":
            config = self.render("haproxy.cfg.in", "haproxy.cfg", words)
            argv = [self.programs[name], "-db", "-f", config]
        else:
            argv = self.valet_command(port, sim.port, targets, models,
                                      self.args.baseline if name == "baseline" else self.valet,
                                      governed)
        headers = [self.make_key(argv)] if governed else []
        child = Child(name, argv, self.proxy_core, self.path(f"{name}.log"))
        child.port = port
        child.headers = headers
        child.wait_port(port)
        self.wait_answer(child, "m1" if models == 1 else f"m{models - 1}", headers)
        return child

    def make_key(self, argv):
        """A key with every kind of limit, none of which is ever reached; the header that carries it."""
        made = subprocess.run([self.valet, "key", "create", "bench", "--quiet", "--rpm", "1000000000",
                               "--tpm", "1000000000", "--concurrency", "100000", "--budget", "900G/day",
                               "--budget", "$900000/month", "--model-budget", "m*=900G/week",
                               "--models", "m*,gpt*", "--state", argv[argv.index("--state") + 1]],
                              stdout=subprocess.PIPE, text=True, check=True)
        return "authorization: Bearer " + made.stdout.strip()

    def wait_answer(self, child, model, headers):
        argv = self.load_argv("fetch", child.port, {"model": model, "max_tokens": 1, "seconds": 5,
                                                     "header": ["x-sim-interval-ms: 0", *headers]})
        end = time.monotonic() + 60
        while time.monotonic() < end:
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if done.returncode == 0:
                return
            time.sleep(0.2)
        raise BenchError(f"{child.name} does not answer: {done.stderr}\n{child.complaint()}")

    def valet_command(self, port, sim_port, targets, models, program, governed):
        config, state = self.path(f"valet-{port}.yaml"), self.path(f"valet-{port}-state")
        os.mkdir(state)
        with open(config, "w") as file:
            file.write(VALET_SETTINGS.replace("auth: off", "auth: keys") if governed
                       else VALET_SETTINGS)
            for i in range(targets):
                file.write(f"  - {{ name: engine{i}, kind: openai, "
                           f"url: 'http://127.0.0.1:{sim_port}', models: {{ exclude: '*' }} }}\n")
            file.write("models:\n")
            for i in range(models):
                name = "m1" if models == 1 else f"m{i}"
                price = "" if program == self.args.baseline else ", price: { input: 1, output: 2 }"
                file.write(f"  - {{ name: {name}, targets: [engine{i % targets}]{price} }}\n")
        return [program, "serve", "-c", config, "--listen", f"127.0.0.1:{port}",
                "--state", state, "--workers", "1"]

    # -- measuring --

    def load_argv(self, mode, port, options):
        argv = [self.load, mode, "--port", str(port)]
        for header in self.args.header:
            argv += ["--header", header]
        for key, value in options.items():
            for item in value if isinstance(value, list) else [value]:
                argv += ["--" + key.replace("_", "-"), str(item)]
        return argv

    def measure(self, mode, child, others=(), **options):
        """A window of load on CHILD, again where other programs disturb it; OTHERS are ours."""
        results = []
        for _ in range(1 + self.args.patience):
            results.append(self.measure_once(mode, child, others, **options))
            if results[-1]["foreign"] <= QUIET_CORES:
                break
        result = min(results, key=lambda one: one["foreign"])
        self.disturbance.append(result["foreign"])
        return result

    def measure_once(self, mode, child, others, **options):
        options.setdefault("seconds", self.args.seconds)
        options.setdefault("warmup", self.args.warmup)
        pids = child.pids()
        known = set(pids).union(*(other.pids() for other in others))
        argv = self.load_argv(mode, child.port, dict(options, pid=pids))
        busy, cpu, begun = machine_busy_seconds(), cpu_seconds(known), time.monotonic()
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              preexec_fn=lambda: prepare_child(self.load_core))
        if done.returncode != 0:
            raise BenchError(f"valet-load on {child.name}: {done.stderr}\n{child.complaint()}")
        result = json.loads(done.stdout)
        foreign = (machine_busy_seconds() - busy) - (cpu_seconds(known) - cpu)
        wall = time.monotonic() - begun
        result["foreign"] = max(0.0, foreign - result["own_cpu_s"]) / wall
        if result["errors"] or result["mismatched"]:
            self.errors.append(f"{child.name}, {mode}, {options}: {result['errors']} errors, "
                               f"{result['mismatched']} bodies differ; {done.stderr.strip()}")
        result["busy"] = result["cpu_us"] / 1e6 / result["seconds"]
        return result

    def hold(self, child, **options):
        """Resident KiB of CHILD before and while IDLE_STREAMS stand open."""
        before = resident_kib(child.pids())
        argv = self.load_argv("idle", child.port, dict(options, connections=IDLE_STREAMS))
        load = Child("valet-load", argv, self.load_core, self.path("load.log"),
                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            held = load.process.stdout.readline().split()
            if held != ["held", str(IDLE_STREAMS)]:
                raise BenchError(f"{child.name} holds {' '.join(held)} of {IDLE_STREAMS} streams:"
                                 f"\n{load.complaint()}{child.complaint()}")
            time.sleep(2)  # long enough to give buffers back
            during = resident_kib(child.pids())
            lost = json.loads(load.process.communicate("\n", 20)[0])["errors"]
        finally:
            load.stop()
        if lost:
            self.errors.append(f"{child.name}: {lost} of the idle streams were lost")
        return before, during


class Samples(dict):
    """metric → who → one value a round."""

    def add(self, metric, who, value):
        self.setdefault(metric, {}).setdefault(who, []).append(value)

    def middle(self, metric, who):
        values = self.get(metric, {}).get(who)
        return statistics.median(values) if values else None

    def ratio(self, metric, who, other):
        """Median of the ratios of each round: what drifts in both cancels out."""
        pairs = zip(self.get(metric, {}).get(who, []), self.get(metric, {}).get(other, []))
        ratios = [a / b for a, b in pairs if b > 0]
        return statistics.median(ratios) if ratios else None


def running(bench, sim, **options):
    return {name: bench.start(name, sim, **options) for name in bench.proxies}


def stop(sim, proxies):
    for child in list(proxies.values()) + [sim]:
        child.stop()


def note_rates(samples, who, result, suffix=""):
    """A rate a core is the rate over the share of its core that the proxy used: what it would
    serve when the load fills that core. At a full core both are the same number."""
    if result["requests"] == 0:
        raise BenchError(f"{who} answered nothing")
    samples.add("cpu" + suffix, who, result["cpu_us"] / result["requests"])
    samples.add("rate" + suffix, who, result["rate"])
    samples.add("rate_core" + suffix, who, result["rate"] / result["busy"])
    samples.add("busy" + suffix, who, 100 * result["busy"])


def scenario_rps(bench, samples):
    sim = bench.start_sim()
    proxies = running(bench, sim)
    for turn in range(bench.args.rounds):
        for who, child in list(proxies.items()) + [("direct", sim)]:
            result = bench.measure("rps", child, [sim, *proxies.values()], connections=64)
            note_rates(samples, who, result)
            samples.add("p99", who, result["p99_us"])
            say(f"rps      round {turn + 1}  {who:8} {result['rate']:9.0f} req/s  "
                f"{samples['cpu'][who][-1]:6.2f} µs CPU  {result['busy']:4.0%} of its core")
    stop(sim, proxies)


def scenario_latency(bench, samples):
    sim = bench.start_sim()
    proxies = running(bench, sim)
    for turn in range(bench.args.rounds):
        direct = bench.measure("rps", sim, proxies.values(), connections=1)
        for who, child in proxies.items():
            result = bench.measure("rps", child, [sim, *proxies.values()], connections=1)
            for share in ("p50", "p99"):
                samples.add("added_" + share, who,
                            result[share + "_us"] - direct[share + "_us"])
            say(f"latency  round {turn + 1}  {who:8} p50 {result['p50_us']:6.1f} µs  "
                f"p99 {result['p99_us']:6.1f} µs  (direct {direct['p50_us']:.1f}, "
                f"{direct['p99_us']:.1f})")
        for share in ("p50", "p99"):
            samples.add("added_" + share, "direct", 0.0)
            samples.add("direct_" + share, "direct", direct[share + "_us"])
    stop(sim, proxies)


def worker_seconds(pids):
    """CPU of the threads that serve requests, without the ledger's and the log's."""
    ticks = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat") as file:
                name, rest = file.read().split("(", 1)[1].rsplit(")", 1)
            if name.startswith("worker"):
                ticks += sum(map(int, rest.split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def scenario_governed(bench, samples):
    """Keys, limits, budgets and the ledger on; against Valet without keys, and others that do none of it."""
    sim = bench.start_sim()
    children = {name: bench.start(name, sim, governed=name == "valet") for name in bench.proxies}
    children["open"] = bench.start("open", sim)
    if bench.args.baseline:
        children["baseline"] = bench.start("baseline", sim)
    others = [sim, *children.values()]
    for turn in range(bench.args.rounds):
        seen = {}
        for who, child in children.items():
            before, all_before = worker_seconds(child.pids()), cpu_seconds(child.pids())
            result = bench.measure("rps", child, others, connections=64, header=child.headers)
            all_used = cpu_seconds(child.pids()) - all_before
            share = (worker_seconds(child.pids()) - before) / all_used if all_used else 1
            seen[who] = (result["cpu_us"] / result["requests"], result["rate"] / result["busy"], share)
            if who in PROXIES:
                samples.add("gov_cpu", who, seen[who][0])
                samples.add("gov_worker", who, seen[who][0] * (share if who == "valet" else 1))
            say(f"governed round {turn + 1}  {who:8} {result['rate']:9.0f} req/s  {seen[who][0]:6.2f} µs CPU"
                + (f", {seen[who][0] * share:6.2f} of it the worker's" if share else ""))
        if "valet" not in seen:
            continue
        for off in [name for name in ("open", "baseline") if name in seen]:
            own, other = seen["valet"], seen[off]
            samples.add(f"gov_{off}", "valet", own[0] / other[0])
            samples.add(f"gov_{off}_worker", "valet", own[0] * own[2] / (other[0] * (other[2] or 1)))
            samples.add(f"gov_{off}_rate", "valet", own[1] / other[1])
    stop(sim, children)


def scenario_keys(bench, samples):
    """Whether the time of a refusal tells if the id of a key exists, to somebody on this machine."""
    sim = bench.start_sim()
    child = bench.start("valet", sim, governed=True)
    program = bench.built("valet-bench-keys", needed=True)
    key = child.headers[0].split()[-1]
    for turn in range(1 if bench.args.quick else 2):
        done = subprocess.run([program, str(child.port), key, "100000" if bench.args.quick else "1000000"],
                              stdout=subprocess.PIPE, text=True, check=True, preexec_fn=bench.on_load_core)
        for name, value in map(str.split, done.stdout.splitlines()):
            samples.add("keys_" + name, "valet", float(value) / (1 if name == "t" else 1e3))
        say(f"keys     round {turn + 1}  " + "  ".join(done.stdout.split("\n")))
    stop(sim, {"valet": child})


def fetch_reference(bench, sim, tokens):
    path = bench.path("reference")
    argv = bench.load_argv("fetch", sim.port, {"stream": [], "max_tokens": tokens, "seconds": 30})
    argv.append("--stream")
    bodies = [subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout for _ in range(3)]
    # The first fills the simulator's prompt cache, which the usage of the others tells of.
    if bodies[1] != bodies[2] or not bodies[1]:
        raise BenchError("the simulator gives two different answers to one request: "
                         "bytes cannot be compared")
    with open(path, "wb") as file:
        file.write(bodies[1])
    return path


def scenario_sse(bench, samples):
    sim = bench.start_sim(100, tokens=200)
    proxies = running(bench, sim, streams=True)
    reference = fetch_reference(bench, sim, 200)
    for turn in range(bench.args.rounds):
        for who, child in list(proxies.items()) + [("direct", sim)]:
            result = bench.measure("stream", child, [sim, *proxies.values()], connections=256,
                                   max_tokens=200, reference=reference, ramp_ms=1000)
            if result["events"] == 0:
                raise BenchError(f"{who} passed no event on")
            samples.add("cpu_event", who, result["cpu_us"] / result["events"])
            samples.add("events", who, result["event_rate"])
            samples.add("gap_p99", who, result["gap_p99_us"] / 1e3)
            samples.add("differ", who, result["mismatched"] + result["errors"])
            samples.add("streams", who, result["requests"])
            say(f"sse      round {turn + 1}  {who:8} {result['event_rate']:9.0f} events/s  "
                f"{samples['cpu_event'][who][-1]:6.2f} µs CPU  "
                f"{result['events'] / result['event_reads']:.2f} events a read  "
                f"{result['mismatched']} bodies differ")
    stop(sim, proxies)


def scenario_idle(bench, samples):
    sim = bench.start_sim(0.0001, tokens=100)
    for turn in range(min(bench.args.rounds, 3)):
        for who in bench.proxies:
            child = bench.start(who, sim, streams=True)
            fresh = resident_kib(child.pids())
            before, during = bench.hold(child, max_tokens=100, seconds=60, ramp_ms=2000)
            child.stop()
            samples.add("stream_kib", who, (during - before) / IDLE_STREAMS)
            samples.add("process_mib", who, fresh / 1024)
            say(f"idle     round {turn + 1}  {who:8} {(during - before) / IDLE_STREAMS:6.2f} KiB "
                f"a stream  process {fresh / 1024:.1f} MiB, {during / 1024:.1f} with the streams")
    sim.stop()


def scenario_many(bench, samples):
    sim = bench.start_sim()
    proxies = running(bench, sim, keepalive=MANY)
    levels = (64, 256) if bench.args.quick else (16, 64, 256, 1024)
    seconds = max(1, bench.args.seconds * 0.6)
    for turn in range(bench.args.rounds):
        for who, child in list(proxies.items()) + [("direct", sim)]:
            rates, cores = {}, {}
            for level in (*levels, MANY):
                result = bench.measure("rps", child, [sim, *proxies.values()], connections=level,
                                       seconds=seconds)
                rates[level], cores[level] = result["rate"], result["rate"] / result["busy"]
            samples.add("many_rate", who, cores[MANY])
            samples.add("many_share", who, 100 * rates[MANY] / max(rates.values()))
            samples.add("many_core", who, 100 * cores[MANY] / max(cores.values()))
            say(f"many     round {turn + 1}  {who:8} req/s (a core) "
                + "  ".join(f"{n}: {rates[n]:.0f} ({cores[n]:.0f})" for n in rates))
    stop(sim, proxies)


def scenario_prompt(bench, samples):
    sim = bench.start_sim()
    proxies = running(bench, sim)
    for turn in range(bench.args.rounds):
        added = {}
        for who, child in proxies.items():
            cost = [0.0, 0.0]
            for i, size in enumerate((1024, PROMPT_BYTES)):
                result = bench.measure("rps", child, [sim, *proxies.values()], connections=16,
                                       body_bytes=size)
                cost[i] = result["cpu_us"] / max(1, result["requests"])
            added[who] = cost[1] - cost[0]
            samples.add("prompt_cpu", who, cost[1])
            samples.add("prompt_added", who, added[who])
            say(f"prompt   round {turn + 1}  {who:8} {cost[0]:6.1f} µs CPU at 1 KB  "
                f"{cost[1]:7.1f} at {PROMPT_BYTES // 1024} KiB")
        plain = [cost for who, cost in added.items() if who != "valet"]
        if "valet" in added and plain:
            samples.add("prompt_parse", "valet", added["valet"] - min(plain))
    stop(sim, proxies)


def scenario_routes(bench, samples):
    if "valet" not in bench.proxies:
        return
    sim = bench.start_sim(models=ROUTE_MODELS)
    small = bench.start("valet", sim, targets=1, models=1)
    large = bench.start("valet", sim, targets=ROUTE_TARGETS, models=ROUTE_MODELS)
    for turn in range(bench.args.rounds):
        one = bench.measure("rps", small, [sim, large], connections=64)
        many = bench.measure("rps", large, [sim, small], connections=64, model="m",
                             model_count=ROUTE_MODELS)
        note_rates(samples, "valet", one, "_one_model")
        note_rates(samples, "valet", many, "_many_models")
        samples.add("routes", "valet",
                    samples["cpu_many_models"]["valet"][-1] / samples["cpu_one_model"]["valet"][-1])
        say(f"routes   round {turn + 1}  valet    {samples['cpu_one_model']['valet'][-1]:6.2f} µs "
            f"CPU with 1 model, {samples['cpu_many_models']['valet'][-1]:.2f} with {ROUTE_MODELS} "
            f"models on {ROUTE_TARGETS} targets")
    for child in (small, large, sim):
        child.stop()


SCENARIOS = {"rps": scenario_rps, "governed": scenario_governed, "latency": scenario_latency, "sse": scenario_sse,
             "idle": scenario_idle, "many": scenario_many, "prompt": scenario_prompt,
             "routes": scenario_routes, "keys": scenario_keys, "queue": capacity.scenario_queue, "capacity": capacity.scenario_capacity}

# ---- the table ----


def at_most_ratio(metric, nginx=None, haproxy=None):
    def check(samples):
        pairs = [(samples.ratio(metric, "valet", other), limit)
                 for other, limit in (("nginx", nginx), ("haproxy", haproxy)) if limit]
        if any(ratio is None for ratio, _ in pairs):
            return None
        return all(ratio <= limit for ratio, limit in pairs)
    return check


def at_least_ratio(metric, nginx):
    def check(samples):
        ratio = samples.ratio(metric, "valet", "nginx")
        return None if ratio is None else ratio >= nginx
    return check


def at_most(metric, limit):
    def check(samples):
        value = samples.middle(metric, "valet")
        return None if value is None else value <= limit
    return check


def at_least(metric, limit):
    def check(samples):
        value = samples.middle(metric, "valet")
        return None if value is None else value >= limit
    return check


def no_nginx_worse(metric):
    def check(samples):
        valet, nginx = samples.middle(metric, "valet"), samples.middle(metric, "nginx")
        return None if valet is None or nginx is None else valet <= nginx
    return check


def never(metric):
    def check(samples):
        values = samples.get(metric, {}).get("valet")
        return None if not values else sum(values) == 0
    return check


# scenario, metric, text, digits, target, check
ROWS = (
    ("rps", "cpu", "CPU a request, µs", 2, "≤ 0.65 nginx, ≤ 0.80 haproxy",
     at_most_ratio("cpu", 0.65, 0.80)),
    ("rps", "rate_core", "requests/s a core", 0, "≥ 1.3 nginx", at_least_ratio("rate_core", 1.3)),
    ("rps", "rate", "requests/s as measured", 0, "", None),
    ("rps", "busy", "share of its core used, %", 0, "", None),
    ("rps", "p99", "p99 at 64 connections, µs", 0, "", None),
    ("governed", "gov_cpu", "CPU a request, all on, µs", 2, "≤ 0.70 nginx, ≤ 0.85 haproxy",
     at_most_ratio("gov_cpu", 0.70, 0.85)),
    ("governed", "gov_worker", "the same, its worker's alone", 2, "", None),
    ("governed", "gov_open", "CPU, with a key to without", 3, "≤ 1.05", at_most("gov_open", 1.05)),
    ("governed", "gov_open_rate", "requests/s a core, the same", 3, "≥ 0.97", at_least("gov_open_rate", 0.97)),
    ("governed", "gov_baseline", "CPU, to --baseline", 3, "", None),
    ("governed", "gov_baseline_worker", "the worker's, to --baseline", 3, "", None),
    ("governed", "gov_baseline_rate", "requests/s a core, the same", 3, "", None),
    ("latency", "added_p50", "added p50, 1 connection, µs", 1, "≤ nginx",
     no_nginx_worse("added_p50")),
    ("latency", "added_p99", "added p99, 1 connection, µs", 1, "≤ nginx",
     no_nginx_worse("added_p99")),
    ("sse", "cpu_event", "CPU an event, µs", 2, "≤ 0.80 nginx, ≤ 0.90 haproxy",
     at_most_ratio("cpu_event", 0.80, 0.90)),
    ("sse", "differ", "streams not identical", 0, "0", never("differ")),
    ("sse", "events", "events/s", 0, "", None),
    ("sse", "gap_p99", "p99 between events, ms", 2, "", None),
    ("idle", "stream_kib", "an idle stream, KiB", 2, "≤ 4", at_most("stream_kib", 4)),
    ("idle", "process_mib", "idle process, MiB", 1, "≤ 8", at_most("process_mib", 8)),
    ("many", "many_core", "4,096 connections, % of peak", 1, "≥ 90", at_least("many_core", 90)),
    ("many", "many_share", "the same, as measured, %", 1, "", None),
    ("many", "many_rate", "requests/s a core at 4,096", 0, "", None),
    ("prompt", "prompt_cpu", "CPU, 220 KiB prompt, µs", 1, "", None),
    ("prompt", "prompt_added", "added to 1 KB, µs", 1, "", None),
    ("prompt", "prompt_parse", "of it parse and route, µs", 1, "≤ 150",
     at_most("prompt_parse", 150)),
    ("routes", "routes", "CPU, 10,000 models to 1", 3, "≤ 1.1", at_most("routes", 1.1)),
    ("keys", "keys_unknown_ns", "a refusal there and back, unknown key, µs", 1, "", None),
    ("keys", "keys_known_ns", "the same, wrong secret, µs", 1, "", None),
    ("keys", "keys_t", "their difference, Welch's t", 2, "≤ 4.5", at_most("keys_t", 4.5)),
) + capacity.rows(at_most, at_least, never)


def number(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def rows_of(samples):
    """One dictionary for each row for which something was measured."""
    rows = []
    for scenario, metric, text, digits, target, check in ROWS:
        if metric not in samples:
            continue
        row = {"scenario": scenario, "metric": metric, "text": text, "digits": digits,
               "target": target, "nginx_ratio": samples.ratio(metric, "valet", "nginx"),
               "haproxy_ratio": samples.ratio(metric, "valet", "haproxy")}
        for who in (*PROXIES, "direct"):
            row[who] = samples.middle(metric, who)
        verdict = check(samples) if check else None
        row["verdict"] = "" if not check else {True: "ok", False: "MISS", None: "-"}[verdict]
        rows.append(row)
    return rows


def print_table(rows):
    lines = [("", "", "valet", "nginx", "haproxy", "direct", "/nginx", "/haproxy", "target", "")]
    for row in rows:
        digits = row["digits"]
        lines.append((row["scenario"], row["text"],
                      *(number(row[who], digits) for who in (*PROXIES, "direct")),
                      number(row["nginx_ratio"], 2), number(row["haproxy_ratio"], 2),
                      row["target"], row["verdict"]))
    widths = [max(len(line[i]) for line in lines) for i in range(10)]
    for line in lines:
        cells = [cell.rjust(widths[i]) if 2 <= i <= 7 else cell.ljust(widths[i])
                 for i, cell in enumerate(line)]
        say("  ".join(cells).rstrip())


# ---- about the run ----


def first_line(argv):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              cwd=ROOT)
    except OSError:
        return ""
    return done.stdout.split("\n")[0] if done.returncode == 0 else ""


def commit():
    name = first_line(["git", "rev-parse", "--short", "HEAD"]) or "uncommitted"
    return name + ("-dirty" if first_line(["git", "status", "--porcelain"]) else "")


def cpu_model():
    with open("/proc/cpuinfo") as file:
        found = re.search(r"^model name\s*: (.*)$", file.read(), re.M)
    return found.group(1) if found else platform.machine()


def about(bench):
    with open("/proc/loadavg") as file:
        load_average = file.read().split()[0]
    versions = {"nginx": [bench.programs.get("nginx"), "-v"],
                "haproxy": [bench.programs.get("haproxy"), "-v"],
                "valet": [bench.valet, "version"]}
    shown = {"valet", *bench.proxies}
    return {"date": datetime.datetime.now().isoformat(timespec="seconds"), "commit": commit(),
            "cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(),
            "load_average": float(load_average),
            "cores_used": {"proxy": bench.proxy_core, "load": bench.load_core,
                           "simulator": bench.sim_core},
            "rounds": bench.args.rounds, "seconds": bench.args.seconds,
            "patience": bench.args.patience,
            "nginx_access_log": not bench.args.no_access_log,
            "versions": {who: first_line(argv) for who, argv in versions.items()
                         if argv[0] and who in shown}}


def print_about(facts):
    say(f"machine  {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"load average {facts['load_average']}")
    say(f"commit   {facts['commit']}; {facts['rounds']} rounds of {facts['seconds']:g} s; "
        f"proxies on core {facts['cores_used']['proxy']}, load on {facts['cores_used']['load']}, "
        f"simulator on {facts['cores_used']['simulator']}")
    for who, version in facts["versions"].items():
        say(f"{who:8} {version}")


def write_results(facts, samples, rows, bench):
    folder = os.path.join(ROOT, "bench", "results")
    os.makedirs(folder, exist_ok=True)
    stamp = facts["date"].replace(":", "").replace("T", "-")
    path = os.path.join(folder, f"{stamp}-{facts['commit']}.json")
    with open(path, "w") as file:
        json.dump({"about": facts, "rows": rows, "samples": samples,
                   "other_programs_cores": bench.disturbance, "errors": bench.errors}, file,
                  indent=1, ensure_ascii=False)
    say(f"written  {os.path.relpath(path, ROOT)}")


def names(allowed):
    def parse(text):
        chosen = [word for word in text.split(",") if word]
        for word in chosen:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"{word} is none of {', '.join(allowed)}")
        return chosen
    return parse


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, help="interleaved rounds (5)")
    parser.add_argument("--seconds", type=float, help="length of one measurement (5)")
    parser.add_argument("--only", type=names(SCENARIOS), default=list(SCENARIOS),
                        help="some of " + ",".join(SCENARIOS))
    parser.add_argument("--parts", type=names(capacity.PARTS), default=list(capacity.PARTS),
                        help="of capacity: some of " + ",".join(capacity.PARTS))
    parser.add_argument("--skip", type=names(PROXIES), default=[],
                        help="some of " + ",".join(PROXIES))
    parser.add_argument("--quick", action="store_true", help="about a minute: 1 round of 1 s")
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--patience", type=int, help="how often a measurement is made again that "
                        "other programs disturbed (2); the least disturbed one counts")
    parser.add_argument("--no-access-log", action="store_true", help="nginx without its log line")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="where Valet is built")
    parser.add_argument("--baseline", help="another valet to hold `governed` against")
    parser.add_argument("--header", action="append", default=[], help="one more request header")
    for program in ("valet", "sim", "load"):
        parser.add_argument("--" + program, help=f"path of {program}, instead of --build's")
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.seconds = args.seconds or (1 if args.quick else 5)
    if args.patience is None:
        args.patience = 0 if args.quick else 2
    args.warmup = 0.3 if args.quick else 1
    return args


def run(args):
    bench = Bench(args)
    facts = about(bench)
    print_about(facts)
    samples = Samples()
    for name in args.only:
        SCENARIOS[name](bench, samples)
    rows = rows_of(samples)
    say("")
    print_about(facts)
    if bench.disturbance:
        say(f"others   other programs used {statistics.median(bench.disturbance):.2f} cores "
            f"(median), {max(bench.disturbance):.2f} at most, while this ran")
    say("")
    print_table(rows)
    for error in bench.errors:
        say(f"error    {error}")
    write_results(facts, samples, rows, bench)
    missed = any(row["verdict"] == "MISS" for row in rows)
    return 1 if bench.errors or (missed and args.gate) else 0


def main():
    args = arguments()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _frame: sys.exit(128 + number))
    try:
        return run(args)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    finally:
        stop_all()
    return 1


if __name__ == "__main__":
    sys.exit(main())
