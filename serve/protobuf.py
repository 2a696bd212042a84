"""Protobuf classes built from a table of fields, where no compiled schema is at hand.

A schema names only the fields that are used; protobuf skips all others when it reads. Each message
is a line of words name:number:type; a star after the name makes a field repeated. Types are
protobuf's own, or other messages and enumerations of the schema. An enumeration is a line of words
NAME=number.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto


def message_class(package: str, root: str, schema: Mapping[str, str]) -> Any:
    """Build the class of one message, in a pool of its own.

    Args:
        package: Any name.
        root: The message whose class is wanted.
        schema: Fields of each message and values of each enumeration, by name.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto2"
    )
    enums = {name for name, words in schema.items() if "=" in words}
    for name in enums:
        target = file.enum_type.add(name=name)
        for word in schema[name].split():
            value, number = word.split("=")
            target.value.add(name=value, number=int(number))
    for name in schema.keys() - enums:
        _add_fields(file.message_type.add(name=name), package, schema, enums)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{root}"))


def _add_fields(
    target: descriptor_pb2.DescriptorProto,
    package: str,
    schema: Mapping[str, str],
    enums: set[str],
) -> None:
    for word in schema[target.name].split():
        label, number, kind = word.split(":")
        added = target.field.add(name=label.rstrip("*"), number=int(number))
        added.label = _Field.LABEL_REPEATED if "*" in label else _Field.LABEL_OPTIONAL
        if kind in schema:
            added.type = _Field.TYPE_ENUM if kind in enums else _Field.TYPE_MESSAGE
            added.type_name = f".{package}.{kind}"
        else:
            added.type = getattr(_Field, f"TYPE_{kind.upper()}")
