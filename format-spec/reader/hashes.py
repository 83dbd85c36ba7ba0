"""The two published hash functions of the format that Python's library lacks: XXH64 and BLAKE3.

Written from their public descriptions, for clearness rather than speed. The tests hold them to published values. CRC-32
is `zlib.crc32`, whose second argument is the start value of the pages' `crc(start, bytes)`.
"""

import struct
import zlib

_MASK64 = (1 << 64) - 1
_P1 = 0x9E3779B185EBCA87
_P2 = 0xC2B2AE3D27D4EB4F
_P3 = 0x165667B19E3779F9
_P4 = 0x85EBCA77C2B2AE63
_P5 = 0x27D4EB2F165667C5


def crc(start, data):
    """CRC-32/ISO-HDLC of `data`, continued from `start`."""
    return zlib.crc32(data, start) & 0xFFFFFFFF


def _round(lane, word):
    lane = (lane + word * _P2) & _MASK64
    return (((lane << 31) | (lane >> 33)) * _P1) & _MASK64


def xxh64(seed, data):
    """XXH64 of `data`."""
    length = len(data)
    at = 0
    if length >= 32:
        a, b = (seed + _P1 + _P2) & _MASK64, (seed + _P2) & _MASK64
        c, d = seed, (seed - _P1) & _MASK64
        at = length & ~31
        p1, p2, mask = _P1, _P2, _MASK64
        for w, x, y, z in struct.iter_unpack("<4Q", memoryview(data)[:at]):
            a = (a + w * p2) & mask
            a = (((a << 31) | (a >> 33)) * p1) & mask
            b = (b + x * p2) & mask
            b = (((b << 31) | (b >> 33)) * p1) & mask
            c = (c + y * p2) & mask
            c = (((c << 31) | (c >> 33)) * p1) & mask
            d = (d + z * p2) & mask
            d = (((d << 31) | (d >> 33)) * p1) & mask
        total = 0
        for lane, turn in ((a, 1), (b, 7), (c, 12), (d, 18)):
            total += ((lane << turn) | (lane >> (64 - turn))) & _MASK64
        total &= _MASK64
        for lane in (a, b, c, d):
            total = ((total ^ _round(0, lane)) * _P1 + _P4) & _MASK64
    else:
        total = (seed + _P5) & _MASK64
    total = (total + length) & _MASK64
    while at + 8 <= length:
        (word,) = struct.unpack_from("<Q", data, at)
        total ^= _round(0, word)
        total = ((((total << 27) | (total >> 37)) & _MASK64) * _P1 + _P4) & _MASK64
        at += 8
    if at + 4 <= length:
        (word,) = struct.unpack_from("<I", data, at)
        total ^= (word * _P1) & _MASK64
        total = ((((total << 23) | (total >> 41)) & _MASK64) * _P2 + _P3) & _MASK64
        at += 4
    for byte in data[at:]:
        total ^= (byte * _P5) & _MASK64
        total = ((((total << 11) | (total >> 53)) & _MASK64) * _P1) & _MASK64
    total ^= total >> 33
    total = (total * _P2) & _MASK64
    total ^= total >> 29
    total = (total * _P3) & _MASK64
    return total ^ (total >> 32)


_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_MIXES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
          (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8


def _schedule():
    """Which message words each of the seven rounds uses."""
    order = tuple(range(16))
    rounds = []
    for _ in range(7):
        rounds.append(order)
        order = tuple(order[i] for i in _PERMUTATION)
    return rounds


_ROUNDS = _schedule()


def _compress(chaining, words, counter, length, flags):
    """The compression function: the first eight words of its output."""
    m32 = 0xFFFFFFFF
    v = [*chaining, *_IV[:4], counter & m32, counter >> 32, length, flags]
    for order in _ROUNDS:
        for k, (a, b, c, d) in enumerate(_MIXES):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + words[order[2 * k]]) & m32
            vd ^= va
            vd = (vd >> 16 | vd << 16) & m32
            vc = (vc + vd) & m32
            vb ^= vc
            vb = (vb >> 12 | vb << 20) & m32
            va = (va + vb + words[order[2 * k + 1]]) & m32
            vd ^= va
            vd = (vd >> 8 | vd << 24) & m32
            vc = (vc + vd) & m32
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, (vb >> 7 | vb << 25) & m32, vc, vd
    return [v[i] ^ v[i + 8] for i in range(8)]


def _chunk(data, number, root):
    """The chaining value of one chunk of at most 1024 bytes."""
    value = list(_IV)
    blocks = max(1, (len(data) + 63) // 64)
    for i in range(blocks):
        block = data[64 * i:64 * i + 64]
        flags = (_CHUNK_START if i == 0 else 0) | (_CHUNK_END | root if i == blocks - 1 else 0)
        words = struct.unpack("<16I", bytes(block).ljust(64, b"\0"))
        value = _compress(value, words, number, len(block), flags)
    return value


def blake3(data):
    """BLAKE3 of `data`: 32 bytes."""
    view = memoryview(data)
    chunks = max(1, (len(view) + 1023) // 1024)
    if chunks == 1:
        return struct.pack("<8I", *_chunk(view, 0, _ROOT))
    stack = []
    for i in range(chunks):
        value = _chunk(view[1024 * i:1024 * i + 1024], i, 0)
        if i == chunks - 1:
            break
        count = i + 1
        while count & 1 == 0:
            value = _compress(_IV, stack.pop() + value, 0, 64, _PARENT)
            count >>= 1
        stack.append(value)
    while stack:
        flags = _PARENT | (_ROOT if len(stack) == 1 else 0)
        value = _compress(_IV, stack.pop() + value, 0, 64, flags)
    return struct.pack("<8I", *value)
