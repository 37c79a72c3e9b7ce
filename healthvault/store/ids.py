"""Row ids that are known before the row is written and sort by the time they were made."""

import os
import time
import uuid


def new_id() -> uuid.UUID:
    """A version 7 UUID (RFC 9562 section 5.7).

    48 bits of milliseconds, 12 bits of the fraction of a millisecond (section 6.2, method 3), then
    62 random bits: rows of one process sort in the order they were made, to a quarter microsecond.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76
    value |= (rest * 4096 // 1_000_000) << 64
    value |= 0b10 << 62
    value |= int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    return uuid.UUID(int=value)
