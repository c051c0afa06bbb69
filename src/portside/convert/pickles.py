"""Reads which classes a pickle names and how many tensors it holds, without running any of it."""

from __future__ import annotations

import pickletools
import re

import msgspec

_HARMLESS = re.compile(
    r"(collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.\w*Storage|torch\.\w+\.\w*Storage|torch\.Size"
    r"|torch\.serialization\._get_layout|torch\.(float|b?float16|float32|float64|double|half|u?int\d+|long|bool"
    r"|device|bfloat16)|torch\.\w*Tensor|torch\.nn\.parameter\.Parameter|numpy\S*|_codecs\.encode|builtins\.(set|dict"
    r"|list|tuple|int|float|bool|complex|bytearray|slice|range)|argparse\.Namespace|__builtin__\.(set|dict))\Z"
)
_STRINGS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
_STREAMS = 8


class Globals(msgspec.Struct, frozen=True):
    """What a pickle names.

    Attributes:
        foreign: dotted names of classes and functions that a plain checkpoint of tensors does not need.
        tensors: how many persistent storages it refers to.
    """

    foreign: tuple[str, ...]
    tensors: int


def globals_of(data: bytes) -> Globals:
    """Scans the opcodes of up to eight pickles that follow each other; stops at the first malformed one."""
    found: dict[str, None] = {}
    tensors = 0
    start = 0
    for _ in range(_STREAMS):
        strings: list[str] = []
        try:
            for opcode, argument, position in pickletools.genops(data[start:]):
                if opcode.name in _STRINGS:
                    strings.append(str(argument))
                elif opcode.name in {"GLOBAL", "INST"}:
                    found[str(argument).replace(" ", ".")] = None
                elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                    found[f"{strings[-2]}.{strings[-1]}"] = None
                tensors += opcode.name in {"BINPERSID", "PERSID"}
                if opcode.name == "STOP" and position is not None:
                    start += position + 1
        except (ValueError, IndexError, UnicodeDecodeError):
            break
        if start >= len(data):
            break
    return Globals(tuple(name for name in found if _HARMLESS.match(name) is None), tensors)
