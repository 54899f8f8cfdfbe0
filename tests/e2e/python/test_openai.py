"""test_openai.py - proves: the official SDK for Python works with Valet: chat, streams, tools, embeddings, models, errors.

Run by `./dev test python`. Starts valet-sim and valet on free ports; VALET_BUILD names the build folder. The last line of the
output is "passed failed skipped".

SPDX-License-Identifier: Apache-2.0
"""
import asyncio
import atexit
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import openai

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = ROOT / os.environ.get('VALET_BUILD', 'build')
MESSAGES = [{'role': 'user', 'content': 'Say something'}]


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def wait_for(url, process, limit_s=20):
    end = time.monotonic() + limit_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f'{process.args[0]} does not answer at {url}')
        time.sleep(0.01)


class Gateway:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='valet-python-')
        self.children = []
        atexit.register(self.stop)
        self.log = open(os.path.join(self.dir, 'log'), 'w+', encoding='utf-8')
        sim, port, admin = free_port(), free_port(), free_port()
        self.spawn(f'http://127.0.0.1:{sim}/v1/models', 'valet-sim', '--port', sim, '--dialect', 'openai', '--models', 'm,org/m:1',
                   '--slots', 8, '--ttft-ms', 0, '--tokens-per-second', 10000, '--quiet')
        config = os.path.join(self.dir, 'valet.yaml')
        with open(config, 'w', encoding='utf-8') as file:
            file.write(f'listen: 127.0.0.1:{port}\nadmin_listen: 127.0.0.1:{admin}\ndiscovery: off\n'
                       f'targets:\n  - name: sim\n    kind: openai\n    url: http://127.0.0.1:{sim}/v1\n')
        self.spawn(f'http://127.0.0.1:{port}/ready', 'valet', 'serve', '-c', config, '--state', os.path.join(self.dir, 'state'))
        self.base = f'http://127.0.0.1:{port}/v1'

    def spawn(self, url, name, *args):
        child = subprocess.Popen([str(BUILD / name), *map(str, args)], stdout=self.log, stderr=self.log)
        self.children.append(child)
        wait_for(url, child)

    def stop(self):
        for child in reversed(self.children):
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
        self.children = []
        shutil.rmtree(self.dir, ignore_errors=True)


gateway = Gateway()
client = openai.OpenAI(base_url=gateway.base, api_key='none', max_retries=0)


class Chat(unittest.TestCase):
    def test_whole(self):
        answer = client.chat.completions.create(model='m', messages=MESSAGES)
        self.assertTrue(answer.choices[0].message.content)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertTrue(answer._request_id)

    def test_stream(self):
        ask = {'model': 'm', 'messages': MESSAGES, 'seed': 1}
        whole = client.chat.completions.create(**ask).choices[0].message.content
        chunks = list(client.chat.completions.create(stream=True, **ask))
        self.assertEqual(''.join(c.choices[0].delta.content or '' for c in chunks), whole)
        self.assertEqual(chunks[-1].choices[0].finish_reason, 'stop')
        self.assertTrue(all(len(c.choices) == 1 for c in chunks))

    def test_usage_on_request(self):
        chunks = list(client.chat.completions.create(model='m', messages=MESSAGES, stream=True, stream_options={'include_usage': True}))
        self.assertEqual(chunks[-1].choices, [])
        self.assertGreater(chunks[-1].usage.total_tokens, 0)

    def test_stream_helper(self):
        with client.chat.completions.stream(model='m', messages=MESSAGES) as stream:
            for _ in stream:
                pass
            self.assertTrue(stream.get_final_completion().choices[0].message.content)

    def test_async(self):
        async def ask(count):
            async with openai.AsyncOpenAI(base_url=gateway.base, api_key='none', max_retries=0) as many:
                return await asyncio.gather(*[many.chat.completions.create(model='m', messages=MESSAGES) for _ in range(count)])

        self.assertEqual(len(asyncio.run(ask(20))), 20)

    def test_leaving_a_stream(self):
        stream = client.chat.completions.create(model='m', messages=MESSAGES, stream=True, max_tokens=5000)
        next(iter(stream))
        stream.close()
        self.test_whole()


class Others(unittest.TestCase):
    def test_embeddings(self):
        decoded = client.embeddings.create(model='m', input=['a', 'b'])
        plain = client.embeddings.create(model='m', input=['a', 'b'], encoding_format='float')
        for one, other in zip(decoded.data, plain.data):
            self.assertEqual(len(one.embedding), len(other.embedding))
            for x, y in zip(one.embedding, other.embedding):
                self.assertAlmostEqual(x, y, places=5)

    def test_models(self):
        self.assertEqual(sorted(m.id for m in client.models.list()), ['m', 'org/m:1'])
        self.assertEqual(client.models.retrieve('org/m:1').id, 'org/m:1')

    def test_errors(self):
        with self.assertRaises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model='nope', messages=MESSAGES)
        self.assertEqual(unknown.exception.code, 'model_not_found')
        with self.assertRaises(openai.BadRequestError):
            client.chat.completions.create(model='m', messages=MESSAGES, extra_body={'stream': 'yes'})


def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(verbosity=0, stream=sys.stdout).run(suite)
    bad = len(result.failures) + len(result.errors)
    if bad:
        gateway.log.seek(0)
        print(gateway.log.read()[-4000:])
    print(result.testsRun - bad - len(result.skipped), bad, len(result.skipped), flush=True)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
