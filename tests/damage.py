"""Kinds of damage that a feed file can take, each done to the lines of a real one."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from typing import Any

import zstandard

Lines = list[bytes]
Damage = Callable[[Lines, random.Random], bytes]

DAMAGES: dict[str, tuple[Damage, int, str]] = {}
"""Name -> what it does, how many lines it makes bad, and what is appended to the file's name."""


def damage(bad: int, suffix: str = "") -> Callable[[Damage], Damage]:
    """Enter a kind of damage under the function's name."""

    def enter(function: Damage) -> Damage:
        DAMAGES[function.__name__] = (function, bad, suffix)
        return function

    return enter


def whole(lines: Lines) -> bytes:
    """A file of the lines."""
    return b"\n".join(lines) + b"\n"


def places(lines: Lines, rng: random.Random, n: int = 3) -> list[int]:
    """Some places of the file, never the first or the last."""
    return sorted(rng.sample(range(1, len(lines) - 1), n))


def changed(line: bytes, **values: Any) -> bytes:
    """The line with other values; ``...`` takes a key out."""
    row = json.loads(line) | values
    return json.dumps({name: value for name, value in row.items() if value is not ...}).encode()


def each(lines: Lines, rng: random.Random, change: Callable[[bytes], bytes], n: int = 3) -> bytes:
    """A file in which some lines are changed."""
    out = list(lines)
    for place in places(lines, rng, n):
        out[place] = change(out[place])
    return whole(out)


def number_of(line: bytes) -> str:
    """A field of the line that must be a positive number."""
    return "price" if b'"price"' in line else "tick_total_ms"


# --- what a crash leaves ---


@damage(bad=3)
def lines_cut_in_the_middle(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: line[: len(line) // 2])


@damage(bad=3)
def two_lines_grown_together(lines: Lines, rng: random.Random) -> bytes:
    """A torn line, to which the next process appended: both are lost in one."""
    return each(lines, rng, lambda line: line[:40] + line)


@damage(bad=2)
def writers_in_each_others_lines(lines: Lines, rng: random.Random) -> bytes:
    """Two processes without a lock: the halves of two lines change places."""
    (place,) = places(lines[:-2], rng, 1)
    out, first, second = list(lines), lines[place], lines[place + 1]
    out[place], out[place + 1] = first[:60] + second[:30], first[60:] + second[30:]
    return whole(out)


@damage(bad=2)
def a_run_of_nul_bytes(lines: Lines, rng: random.Random) -> bytes:
    """Blocks that a power failure left unwritten."""
    out = list(lines)
    for place in places(lines, rng, 2):
        out[place] = b"\0" * 5000
    return whole(out)


@damage(bad=0)
def blank_lines(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: b"\n  \n\t\n" + line)


@damage(bad=0)
def no_last_line_end(lines: Lines, rng: random.Random) -> bytes:
    return whole(lines)[:-1]


# --- what another program writes ---


@damage(bad=3)
def nan_and_infinity(lines: Lines, rng: random.Random) -> bytes:
    words = iter((b"NaN", b"Infinity", b"-Infinity"))
    return each(
        lines, rng, lambda line: changed(line, fee=0.5, **{number_of(line): "@"}).replace(b'"@"', next(words))
    )


@damage(bad=3)
def numbers_beyond_any_float(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, **{number_of(line): "@"}).replace(b'"@"', b"1e999"))


@damage(bad=3)
def numbers_as_text(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, **{number_of(line): "1.5"}))


@damage(bad=3)
def negative_where_it_cannot_be(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, **{number_of(line): -1}))


@damage(bad=3)
def flags_and_words_of_another_kind(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, cache_hit=1, side="BUY"))


@damage(bad=3)
def an_arm_that_is_none(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, arm="C"))


@damage(bad=3)
def a_field_left_out(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, symbol=...))


@damage(bad=3)
def keys_in_capitals(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: line.replace(b'"symbol"', b'"Symbol"').replace(b'"ts"', b'"TS"'))


@damage(bad=3)
def another_schema_version(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, schema=3))


@damage(bad=3)
def log_lines_between(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: b"2025-01-15 00:00:01,123 WARNING reconnecting\n" + line)


@damage(bad=30)
def objects_over_several_lines(lines: Lines, rng: random.Random) -> bytes:
    def spread(line: bytes) -> bytes:
        values = {"symbol": "X", "list": [1, 2], "n": 1}
        return json.dumps(values, indent=1).encode() + b"\n]\n}\n" + line

    return each(lines, rng, spread)


@damage(bad=3)
def commas_too_many(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: line[:-1] + b",}")


@damage(bad=0)
def a_key_that_stands_twice(lines: Lines, rng: random.Random) -> bytes:
    """Of repeated keys, the last counts."""
    return each(lines, rng, lambda line: b'{"symbol":"EARLIER",' + line[1:])


@damage(bad=1)
def a_key_that_stands_twice_and_ends_badly(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: line[:-1] + b',"symbol":""}', 1)


# --- encodings ---


@damage(bad=3)
def bytes_that_are_no_utf8(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, note="@").replace(b"@", "café".encode("latin-1")))


@damage(bad=2)
def half_a_surrogate(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, note="@").replace(b"@", rb"\ud800"), 2)


@damage(bad=0)
def a_byte_order_mark(lines: Lines, rng: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + whole(lines)


@damage(bad=0)
def windows_line_ends(lines: Lines, rng: random.Random) -> bytes:
    return b"\r\n".join(lines) + b"\r\n"


@damage(bad=0)
def line_separators_within_a_text(lines: Lines, rng: random.Random) -> bytes:
    """What some languages take for a line end is none in JSON Lines."""
    mark = "\u2028 \u0085 \x1c".replace("\x1c", "\\u001c")
    return each(lines, rng, lambda line: changed(line, note="@").replace(b"@", mark.encode()))


# --- time ---


@damage(bad=3)
def days_that_do_not_exist(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, ts="2025-02-30T00:00:00Z"))


@damage(bad=3)
def times_without_a_zone(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, ts="2025-01-15T00:00:00"))


@damage(bad=0)
def units_of_time_mixed(lines: Lines, rng: random.Random) -> bytes:
    """Seconds, milli-, micro- and nanoseconds, offsets: all mean a time."""
    ns = 1_736_899_205_000_000_000
    written = iter((ns // 10**9, ns // 10**6, str(ns // 10**3), ns, "2025-01-15T02:30:05+02:30"))
    marks = iter(range(9))
    return each(lines, rng, lambda line: _unique(changed(line, ts=next(written)), next(marks)), 5)


def _unique(line: bytes, mark: int) -> bytes:
    """A tick that differs from others of the same time; fills have their ids."""
    return changed(line, errors=mark) if b'"errors"' in line else line


@damage(bad=0)
def lines_in_no_order(lines: Lines, rng: random.Random) -> bytes:
    return whole(rng.sample(lines, len(lines)))


@damage(bad=4)
def lines_repeated_much_later(lines: Lines, rng: random.Random) -> bytes:
    return whole([*lines, *(lines[place] for place in places(lines, rng, 4))])


# --- size and shape ---


@damage(bad=0)
def a_line_of_many_megabytes(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: changed(line, note="x" * (18 << 20)), 1)


@damage(bad=1)
def brackets_without_end(lines: Lines, rng: random.Random) -> bytes:
    return each(lines, rng, lambda line: b'{"a":' * 100_000, 1)


@damage(bad=0)
def columns_that_appear_later(lines: Lines, rng: random.Random) -> bytes:
    """A new release writes more; its types may even differ from line to line."""
    half = len(lines) // 2
    return whole(
        [*lines[:half], *(changed(line, build=k if k % 2 else str(k)) for k, line in enumerate(lines[half:]))]
    )


@damage(bad=0)
def columns_that_go_away(lines: Lines, rng: random.Random) -> bytes:
    gone = dict.fromkeys(("rss_mb", "cache_age_ms", "queue_ahead_qty", "latency_ms"), ...)
    half = len(lines) // 2
    return whole([*lines[:half], *(changed(line, **gone) for line in lines[half:])])


# --- compressed ---


@damage(bad=0, suffix=".gz")
def zipped_again(lines: Lines, rng: random.Random) -> bytes:
    half = len(lines) // 2
    return gzip.compress(whole(lines[:half])) + gzip.compress(whole(lines[half:]))


@damage(bad=0, suffix=".zst")
def zipped_by_zstd(lines: Lines, rng: random.Random) -> bytes:
    half = len(lines) // 2
    packer = zstandard.ZstdCompressor()
    return packer.compress(whole(lines[:half])) + packer.compress(whole(lines[half:]))


def unpacked(data: bytes, suffix: str) -> bytes:
    """The text of a damaged file."""
    if suffix == ".gz":
        return gzip.decompress(data)
    if suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    return data
