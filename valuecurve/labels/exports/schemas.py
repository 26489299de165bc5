"""The metadata that `datasets` keeps in the schemas of its parquet files."""

import json

import pyarrow as pa


def declared(schema: pa.Schema, kinds: dict[str, dict]) -> pa.Schema:
    """The schema with features added to its `huggingface` metadata, where it has that."""
    metadata = dict(schema.metadata or {})
    if b"huggingface" not in metadata or not kinds:
        return schema
    content = json.loads(metadata[b"huggingface"])
    content.setdefault("info", {}).setdefault("features", {}).update(kinds)
    return schema.with_metadata({**metadata, b"huggingface": json.dumps(content).encode()})
