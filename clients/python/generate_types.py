#!/usr/bin/env python3
"""Writes the types of the interface as Python, from its OpenAPI document: a TypedDict for each object, an alias for everything else.

    generate_types.py openapi.json >src/order_engine_client/types.py
"""

import json
import keyword
import sys
import textwrap
from typing import Any

HEAD = '''"""The types of the interface. scripts/clients-types writes this file; change the server in its place."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict
'''
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "object": "dict[str, Any]"}


class Writer:
    """Collects definitions. Objects within others get names of their own."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self.schemas = schemas
        self.classes: dict[str, str] = {}
        self.aliases: dict[str, str] = {}

    def define(self, name: str, schema: dict[str, Any]) -> None:
        """Defines a schema under a name."""
        fields = self.fields(schema)
        if fields is None:
            doc = comment(schema)
            self.aliases[name] = f"{doc}{name}: TypeAlias = {quoted(self.type_of(schema, name))}\n"
        else:
            self.write_class(name, schema, fields)

    def fields(self, schema: dict[str, Any]) -> dict[str, tuple[dict[str, Any], bool]] | None:
        """Returns the fields of an object and whether each must be there, or nothing if it is no object with named fields."""
        schema = self.resolved(schema)
        if "allOf" in schema:
            parts = [self.fields(part) for part in schema["allOf"]]
            if any(part is None for part in parts):
                return None
            return {name: field for part in parts for name, field in (part or {}).items()}
        if "oneOf" in schema:
            # One of several objects: what is not in each of them may be missing.
            parts = [self.fields(part) for part in schema["oneOf"]]
            if any(part is None for part in parts):
                return None
            merged: dict[str, tuple[dict[str, Any], bool]] = {}
            for part in parts:
                for name, (field, is_required) in (part or {}).items():
                    everywhere = all(name in (other or {}) for other in parts)
                    merged[name] = (field, is_required and everywhere)
            return merged
        if "properties" not in schema:
            return None
        required = schema.get("required", [])
        return {name: (field, name in required) for name, field in schema["properties"].items()}

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Follows a reference."""
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def write_class(self, name: str, schema: dict[str, Any], fields: dict[str, tuple[dict[str, Any], bool]]) -> None:
        """Writes a TypedDict."""
        lines = [f"class {name}(TypedDict):"]
        if schema.get("description"):
            lines.append(docstring(schema["description"]))
        for field, (of, is_required) in fields.items():
            if keyword.iskeyword(field):
                raise SystemExit(f"{name}.{field} is no name in Python")
            type_ = self.type_of(of, name + field[0].upper() + field[1:])
            lines.append(indented(comment(of)) + f"    {field}: {type_ if is_required else f'NotRequired[{type_}]'}")
        self.classes[name] = "\n".join(lines) + "\n"

    def type_of(self, schema: Any, name: str) -> str:
        """Returns the type of a schema; the name is for objects within it."""
        if not isinstance(schema, dict) or not schema:
            return "Any"
        if "$ref" in schema:
            return str(schema["$ref"].rsplit("/", 1)[1])
        if "const" in schema:
            return f"Literal[{schema['const']!r}]"
        if "enum" in schema:
            values = [value for value in schema["enum"] if value is not None]
            literal = f"Literal[{', '.join(repr(value) for value in values)}]"
            return f"{literal} | None" if None in schema["enum"] else literal
        for union in ("oneOf", "anyOf"):
            if union in schema:
                parts = [self.type_of(part, f"{name}{n}") for n, part in enumerate(schema[union], 1)]
                return " | ".join(dict.fromkeys(parts))
        if "properties" in schema or "allOf" in schema:
            fields = self.fields(schema)
            if fields is not None:
                self.write_class(name, schema, fields)
                return name
        types = schema.get("type", "object")
        types = types if isinstance(types, list) else [types]
        return " | ".join(self.one_type(one, schema, name) for one in types)

    def one_type(self, one: str, schema: dict[str, Any], name: str) -> str:
        """Returns one of the types that a schema may have."""
        if one == "array":
            return f"list[{self.type_of(schema.get('items'), name + 'Item')}]"
        return PLAIN[one]


def quoted(type_: str) -> str:
    """Returns a type as a text, because it may name what stands below."""
    return json.dumps(type_)


def comment(schema: Any) -> str:
    """Returns a schema's description as comment lines."""
    text = schema.get("description", "") if isinstance(schema, dict) else ""
    return "".join(f"# {line}\n" for line in textwrap.wrap(" ".join(text.split()), 120))


def indented(text: str) -> str:
    """Returns lines of a class."""
    return textwrap.indent(text, "    ")


def docstring(text: str) -> str:
    """Returns a description as the docstring of a class."""
    lines = textwrap.wrap(" ".join(text.split()), 120)
    if len(lines) == 1:
        return indented(f'"""{lines[0]}"""\n')
    return indented("\n".join([f'"""{lines[0]}', *lines[1:], '"""']) + "\n")


def main() -> None:
    """Reads the document, and writes the types."""
    with open(sys.argv[1], encoding="utf-8") as file:
        schemas = json.load(file)["components"]["schemas"]
    writer = Writer(schemas)
    for name, schema in sorted(schemas.items()):
        writer.define(name, schema)
    classes = "\n\n".join(text for _, text in sorted(writer.classes.items()))
    aliases = "\n".join(text for _, text in sorted(writer.aliases.items()))
    # An alias is a text of its own: it may name what stands anywhere.
    head = HEAD.replace("NotRequired, ", "NotRequired, TypeAlias, ") if aliases else HEAD
    sys.stdout.write(f"{head}\n\n{classes}\n\n{aliases}".rstrip() + "\n")


if __name__ == "__main__":
    main()
