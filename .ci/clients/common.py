"""What the Python client tests share: the input, digests, and waiting with an end."""

import hashlib
import os
import sys
import time

BOOTSTRAP, INPUT, PREFIX = sys.argv[1:4]
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# Every codec with acks=all, and each lesser acks once.
COMBOS = [(codec, "all") for codec in CODECS] + [("none", "1"), ("lz4", "0")]
T0 = 1_700_000_000_000


def lines():
    with open(INPUT, "rb") as f:
        return f.read().splitlines()


def digest(values):
    """The checksum of the sorted lines: equal when the same messages came, each as often."""
    return hashlib.sha256(b"\n".join(sorted(values))).hexdigest()


def same(what, want, got):
    if digest(want) != digest(got):
        missing, extra = len(set(want) - set(got)), len(set(got) - set(want))
        sys.exit(f"{what}: {len(want)} wanted, {len(got)} came, {missing} missing, {extra} foreign, {len(got) - len(set(got))} twice")


def check(what, fact):
    if not fact:
        sys.exit(f"{what}: not so")


# acks=0 loses what meets a leader that is not ready yet, so such a topic has one partition, and its first line goes with acks=1.
def parts(acks):
    return 1 if acks == "0" else 3


def rest(acks, values):
    return values[1:] if acks == "0" else values


def topic(word):
    return f"{PREFIX}-{word}"


def until(what, seconds, done):
    """Calls `done` until it says yes; a client that never gets there has failed."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {seconds} s")


def ok(detail=""):
    print(f"{os.path.basename(sys.argv[0])} ok {detail}".rstrip(), flush=True)
