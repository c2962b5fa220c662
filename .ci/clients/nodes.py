"""Several klamm processes on loopback, each broker and controller: formatted, started, killed by their ids, and asked who leads."""

import base64
import os
import signal
import socket
import struct
import subprocess
import time
import uuid


def name():
    """A new id, as Kafka writes them."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


class Cluster:
    def __init__(self, klamm, folder, port, count=3, **more):
        self.klamm, self.folder, self.port, self.ids, self.processes, self.cluster = klamm, os.path.abspath(folder), port, range(1, count + 1), {}, name()
        self.voters = ",".join(f"{n}@127.0.0.1:{port + 100 + n}:{name()}" for n in self.ids)
        self.bootstrap = ",".join(f"127.0.0.1:{port + n}" for n in self.ids)
        for n in self.ids:
            self.configure(n, more)
            self.format(n, "--initial-controllers", self.voters)

    def path(self, n):
        return os.path.join(self.folder, f"n{n}")

    def configure(self, n, more):
        os.makedirs(self.path(n), exist_ok=True)
        listeners = f"PLAINTEXT://127.0.0.1:{self.port + n},CONTROLLER://127.0.0.1:{self.port + 100 + n}"
        rf = min(3, len(self.ids))
        lines = {
            "process.roles": "broker,controller",
            "node.id": n,
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "controller.quorum.bootstrap.servers": ",".join(f"127.0.0.1:{self.port + 100 + i}" for i in self.ids),
            "log.dirs": os.path.join(self.path(n), "data"),
            "default.replication.factor": rf,
            "min.insync.replicas": min(2, rf),
            "offsets.topic.replication.factor": rf,
            "group.initial.rebalance.delay.ms": 0,
        }
        with open(os.path.join(self.path(n), "server.properties"), "w") as f:
            f.writelines(f"{key}={value}\n" for key, value in (lines | {k.replace("_", "."): v for k, v in more.items()}).items())

    def format(self, n, *how):
        done = subprocess.run([self.klamm, "format", "--cluster-id", self.cluster, *how, os.path.join(self.path(n), "server.properties")], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"format of node {n}: {done.stdout}{done.stderr}")

    def start(self, n):
        log = open(os.path.join(self.path(n), "node.log"), "ab")
        begin = log.tell()
        command = [self.klamm, "serve", os.path.join(self.path(n), "server.properties")]
        self.processes[n] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        limit = time.monotonic() + 60
        while True:
            ended = self.processes[n].poll()
            if ended is not None or time.monotonic() > limit:
                raise SystemExit(f"node {n} does not listen (exit {ended}), see {log.name}")
            # Its own word, since somebody else may listen at its port.
            with open(log.name, "rb") as told:
                told.seek(begin)
                if b"klamm is ready" in told.read():
                    return
            time.sleep(0.005)

    def start_all(self):
        for n in self.ids:
            self.start(n)

    def signal(self, n, which=signal.SIGKILL):
        process = self.processes.pop(n)
        process.send_signal(which)
        return process.wait()

    def kill_all(self):
        for n in list(self.processes):
            self.signal(n)

    def controller(self):
        """The active controller, as a living node knows it; 0 where none does."""
        topic = b"__cluster_metadata"
        header = struct.pack(">hhih", 55, 0, 1, -1) + b"\0"
        body = header + b"\x02" + bytes([len(topic) + 1]) + topic + b"\x02" + struct.pack(">i", 0) + b"\0\0\0"
        for n in list(self.processes):
            try:
                with socket.create_connection(("127.0.0.1", self.port + n), 2) as s:
                    s.settimeout(6)
                    s.sendall(struct.pack(">i", len(body)) + body)
                    answer = s.makefile("rb")
                    answer = answer.read(struct.unpack(">i", answer.read(4))[0])
            except (OSError, struct.error):
                continue
            # Correlation, tags, error, one topic by its name, one partition: index, error, leader.
            at = 4 + 1 + 2 + 1 + 1 + len(topic) + 1 + 4
            if len(answer) >= at + 6 and struct.unpack(">h", answer[at : at + 2])[0] == 0:
                return struct.unpack(">i", answer[at + 2 : at + 6])[0]
        return 0
