"""Types and constants of the device in TypeScript, made from the JSON Schema of the frames and the code."""

import json
from typing import Any, Final

import msgspec

from hub.base.version import VERSION
from protocol.errors import CLOSE_MEANINGS, CloseCode
from protocol.frame import MAX_RESULT_BYTES
from protocol.tables import TABLES
from tests.support.protocol_schema import json_schema
from tests.support.source import ROOT
from tests.support.web_types import typescript_of

PACKAGE: Final = ROOT / "hub" / "device" / "typescript"
TYPES: Final = PACKAGE / "src" / "protocol.ts"
HEAD: Final = "// Written by 'make documents' from protocol/schema.json and the tables of the protocol.\n"


def device_types() -> str:
    """Return the types of all frames, the built-in tables, meanings of close codes, and the version."""
    schemas: dict[str, Any] = json.loads(json_schema())["$defs"]
    types = (
        f"{_comment(schema)}export type {name} = {typescript_of(schema)};\n"
        for name, schema in schemas.items()
    )
    tables = {name: msgspec.to_builtins(table) for name, table in TABLES.items()}
    shared = [msgspec.to_builtins(column) for column in next(iter(TABLES.values())).columns]
    fields = next(iter(tables.values()))["fields"]
    closes = {int(code): CLOSE_MEANINGS[code] for code in CloseCode}
    return "".join(
        (
            HEAD,
            *types,
            f"\n/** Version of this package. */\nexport const VERSION = {json.dumps(VERSION)};\n",
            f"\nexport const MAX_RESULT_BYTES = {MAX_RESULT_BYTES};\n",
            f"\nexport const TABLES: readonly DeviceTable[] = {json.dumps([*tables.values()], indent=2)};\n",
            "\n/** Columns that every table has. */\nexport const SHARED_COLUMNS: readonly Column[] = ",
            f"{json.dumps([column for column in shared if column not in fields], indent=2)};\n",
            "\nexport const CLOSE_MEANINGS: Readonly<Record<number, string>> = ",
            f"{json.dumps(closes, indent=2)};\n",
        )
    )


def _comment(schema: dict[str, Any]) -> str:
    line, *_ = schema.get("description", "").split("\n")
    return f"/** {line} */\n" if line else ""
