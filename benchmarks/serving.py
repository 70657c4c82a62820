"""What `genesis serve` stands: 50 requests a second, far too many, and a worker that is killed. All traffic goes to 127.0.0.1.

    python benchmarks/serving.py [--rate 50] [--seconds 20] [--workers 2]
"""
import argparse
import asyncio
import collections
import json
import os
import signal
import subprocess
import sys
import time
from common import save

DRAW = json.dumps({"digits": "7", "count": 4}).encode()


class Service:
    "`genesis serve` as a process of its own, on a free port"
    def __init__(self, workers):
        command = [sys.executable, "-m", "genesis_course.cli", "serve", "--port", "0", "--workers", str(workers)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"})
        line = self.process.stdout.readline()
        self.port = int(line.split("127.0.0.1:")[1].split()[0])

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try: return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired: self.process.kill()


async def ask(port, method, path, body=b"", kind="application/json"):
    "(status, body, seconds) of one request with a connection of its own; status 0 where it broke off"
    started = time.perf_counter()
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 30)
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode()+body)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body, time.perf_counter()-started
    except (OSError, asyncio.TimeoutError, IndexError): return 0, b"", time.perf_counter()-started


async def until_ready(port, workers, seconds=120):
    "Wait until every worker has answered; their numbers"
    end, found = time.monotonic()+seconds, set()
    while time.monotonic() < end and len(found) < workers:
        answers = await asyncio.gather(*(ask(port, "GET", "/health") for _ in range(8)))
        found |= {json.loads(body)["worker"] for status, body, _ in answers if status == 200}
        await asyncio.sleep(0.2)
    return found


async def load(port, rate, seconds, picture, at=None):
    "So many requests a second, each at its time whether or not earlier ones are answered; `at`: {second: function}"
    tasks, began = [], time.perf_counter()
    at = dict(at or {})
    for number in range(int(rate*seconds)):
        due = began+number/rate
        await asyncio.sleep(max(0, due-time.perf_counter()))
        for second in [each for each in at if time.perf_counter()-began >= each]: at.pop(second)()
        if number % 2: tasks.append(asyncio.create_task(ask(port, "POST", "/read", picture, "image/png")))
        else: tasks.append(asyncio.create_task(ask(port, "POST", "/draw", DRAW)))
    return await asyncio.gather(*tasks)


def row(name, rate, answers):
    "What a table shows of a run"
    good = sorted(seconds for status, _, seconds in answers if status == 200)
    def at(share): return round(1000*good[min(len(good)-1, int(share*len(good)))]) if good else None
    counts = collections.Counter(status for status, _, _ in answers)
    return {"run": name, "asked, 1/s": rate, "requests": len(answers), "answered": counts[200], "busy (503)": counts[503], "broken off": counts[0],
            "other errors": len(answers)-counts[200]-counts[503]-counts[0], "p50, ms": at(0.5), "p95, ms": at(0.95), "p99, ms": at(0.99)}


async def measure(service, rate, seconds, workers):
    port = service.port
    await until_ready(port, workers)
    _, picture, _ = await ask(port, "POST", "/draw", json.dumps({"digits": "7", "seed": 1}).encode())
    await load(port, 20, 2, picture)                                        # warm
    table = [row("steady", rate, await load(port, rate, seconds, picture))]
    found = sorted(await until_ready(port, workers))
    killed = {seconds/4: lambda: os.kill(found[0], signal.SIGKILL)}
    table.append(row("one worker killed", rate, await load(port, rate, seconds/2, picture, killed)))
    again = await until_ready(port, workers)
    table.append(row("far too many", 20*rate, await load(port, 20*rate, 2, picture)))
    return table, found[0] not in again and len(again) >= workers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    service, busy = Service(asked.workers), os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    try: table, replaced = asyncio.run(measure(service, asked.rate, asked.seconds, asked.workers))
    finally: code = service.close()
    save("serving", f"genesis serve with {asked.workers} workers: half of the requests draw four digits, half read a picture; the client runs on the same machine",
         table, ["torch", "fastapi", "uvicorn"], replaced=replaced, exit_code=code, load_before=busy)


if __name__ == "__main__": main()
