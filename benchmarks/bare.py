"""The yardstick: one Starlette endpoint that answers a constant, under the daemon's own HTTP server and event loop."""

from __future__ import annotations

import argparse
import asyncio
import socket
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.sampler import Sampler


async def answer(request: Request) -> Response:  # noqa: ARG001 - it answers whatever is asked
    """Answer as small a JSON object as `/health` does."""
    return JSONResponse({"status": "ok"})


def main() -> None:
    """Serve on a free port of the loopback interface, and say which."""
    parser = argparse.ArgumentParser(prog="benchmarks.bare")
    parser.add_argument("--samples", type=Path, help="see benchmarks/sampler.py")
    samples = parser.parse_args().samples
    if samples:
        Sampler(samples).listen()
    app = Starlette(routes=[Route("/", answer)])
    config = uvicorn.Config(app, loop="none", http="httptools", access_log=False, log_level="warning")
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(f"listens on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
